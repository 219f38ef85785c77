"""Views of an image, and the numbers of the rule that makes them (docs/vision.md)."""

from typing import NamedTuple


class View(NamedTuple):
    """Views of one size, each of which a tower encodes alone."""

    count: int  # type: ignore[assignment]  # tuple.count is of no use here
    rows: int
    """Patches high."""
    columns: int
    """Patches wide."""
    queries: int = 0
    """Learned queries that run with the patches of each view (DeepSeek-OCR 2)."""


NO_VIEWS = View(0, 0, 0)


class ImageViews(NamedTuple):
    """What an image becomes."""

    views: View
    """The views; of DeepSeek-OCR the global view."""
    tiles: View
    """Views of another size; count 0: none."""
    features: int
    """Rows that enter the decoder, of the whole image."""
    tokens: int
    """Prompt tokens of the whole image, separators included."""
    joined: int = 0
    """Rows of all views that joins over the whole image run on."""


NO_IMAGE = ImageViews(NO_VIEWS, NO_VIEWS, 0, 0)
"""Of a model without vision."""


class ImageRule(NamedTuple):
    """The numbers of a rule; 0 where a rule does not use one."""

    name: str
    """Key of `RULES`."""
    patch: int
    """Edge of a patch, pixels."""
    merge: int = 1
    """Patches an edge that become one feature."""
    tile: int = 0
    """Edge of a tile, or height of a fixed view, pixels."""
    tile_width: int = 0
    """Width of a fixed view that is not square, pixels."""
    view: int = 0
    """Edge of the global view where it differs from a tile, pixels."""
    least: int = 0
    """Fewest pixels, tiles, or pixels of an edge, as the rule counts."""
    most: int = 0
    """Most pixels, tiles, patches, features, or pixels of an edge, as the rule counts."""
    longest: int = 0
    """Most pixels, patches or tiles along one edge, as the rule counts."""
    frames: int = 1
    """Times an image counts against the limits of pixels."""
    learned: int = 0
    """Features of a view where their number is fixed: queries, latents, pooled features."""
    extra: int = 0
    """Features of an image besides those of its patches."""
    ends: int = 0
    """Tokens added once an image, such as its start and end."""
    breaks: int = 0
    """Tokens added to each view."""
    crossed: int = 0
    """1: features are keys of cross attention, and no prompt tokens."""
    quarters: int = 0
    """1: an image is also cut into quarters."""
    few_queries: int = 0
    """Queries of a view of at most as many features; 0: features are used themselves."""
    many_queries: int = 0
    """Queries of larger views."""
    pinpoints: tuple[tuple[int, int], ...] = ()
    """Allowed heights and widths, pixels."""


class ImageSizeError(ValueError):
    """An image that the processor of a model refuses; the text names size and reason."""


def refused(height: int, width: int, reason: str) -> ImageSizeError:
    """The error to raise for an image.

    Parameters
    ----------
    height, width : int
        Of the image, pixels.
    reason : str
        Why it is refused, or what is expected.
    """
    return ImageSizeError(f"image of {height} x {width} pixels: {reason}")
