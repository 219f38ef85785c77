"""Image rules: from an image's height and width to views, features and prompt tokens.

One function a family of image processors (docs/vision.md, "Image rules"): plain Python, which runs
once for each distinct size, outside the kernel.
"""

from collections.abc import Callable
from functools import lru_cache

from sweepengine.formulas.tiled_images import TILED_IMAGES
from sweepengine.formulas.towers import Towers
from sweepengine.formulas.views import ImageRule, ImageSizeError, ImageViews, View, refused
from sweepengine.formulas.whole_images import WHOLE_IMAGES

__all__ = ["RULES", "ImageRule", "ImageSizeError", "ImageViews", "View", "image_views"]

RULES: dict[str, Callable[[ImageRule, int, int], ImageViews]] = {**WHOLE_IMAGES, **TILED_IMAGES}
"""Rules by name: of a rule's numbers, and an image's height and width in pixels."""


@lru_cache(1 << 14)
def image_views(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Views, features and prompt tokens of one image.

    Parameters
    ----------
    rule : ImageRule
        Of the model.
    height, width : int
        Of the image as given, pixels.

    Raises
    ------
    ImageSizeError
        When the processor refuses an image of this size.
    """
    if min(height, width) < 1:
        raise refused(height, width, "expected at least 1 x 1")
    return RULES[rule.name](rule, height, width)


def image_of_size(towers: Towers, height: int, width: int) -> ImageViews:
    """As `image_views`, for a model that takes images as given.

    Parameters
    ----------
    towers : Towers
        Of the model, with a rule.
    height, width : int
        Of the image, pixels.

    Raises
    ------
    ImageSizeError
        When the processor refuses an image of this size.
    """
    assert towers.rule is not None
    return image_views(towers.rule, height, width)
