"""Image rules of processors that keep an image whole (docs/vision.md, "Image rules").

Divisions are floats and `round` halves to even, as in the processors. Sources are files of
transformers 5.23.
"""

import math

from sweepengine.formulas.tokens import ceil_div
from sweepengine.formulas.views import NO_VIEWS, ImageRule, ImageViews, View, refused

LARGEST_ASPECT = 200
"""Long edge over short edge, above which `smart_resize` refuses an image."""


def _smart_resize(rule: ImageRule, height: int, width: int) -> tuple[int, int]:
    """Edges in whole blocks of m x m patches, within the limits of pixels.

    Source: `smart_resize` of `image_processing_qwen2_vl.py` and `image_processing_glm4v.py`.
    """
    if max(height, width) / min(height, width) > LARGEST_ASPECT:
        raise refused(height, width, f"expected an aspect ratio of at most {LARGEST_ASPECT}")
    block = rule.patch * rule.merge
    rounded = round(height / block) * block, round(width / block) * block
    return _within_pixels(rule, height, width, *rounded)


def _within_pixels(
    rule: ImageRule, height: int, width: int, high: int, wide: int
) -> tuple[int, int]:
    """Edges `high` and `wide`, or those in whole blocks that keep the limits of pixels."""
    block, frames = rule.patch * rule.merge, rule.frames
    if frames * high * wide > rule.most:
        shrink = math.sqrt(frames * height * width / rule.most)
        high = max(block, math.floor(height / shrink / block) * block)
        wide = max(block, math.floor(width / shrink / block) * block)
    elif frames * high * wide < rule.least:
        grow = math.sqrt(rule.least / (frames * height * width))
        high = math.ceil(height * grow / block) * block
        wide = math.ceil(width * grow / block) * block
    return high, wide


def _whole_view(rule: ImageRule, height: int, width: int) -> ImageViews:
    """One view of edges in whole patches: a feature each m x m patches, or `learned`."""
    view = View(1, height // rule.patch, width // rule.patch)
    features = rule.learned or (view.rows // rule.merge) * (view.columns // rule.merge)
    return ImageViews(view, NO_VIEWS, features, features + rule.ends)


def _native(rule: ImageRule, height: int, width: int) -> ImageViews:
    """The image's own size in whole blocks, between `least` and `most` pixels (Qwen)."""
    return _whole_view(rule, *_smart_resize(rule, height, width))


def bounded_view(rule: ImageRule, height: int, width: int) -> ImageViews:
    """As `native`; an edge is at least a block, and `least` and `most` count features (LFM2-VL).

    Source: `smart_resize` of `image_processing_lfm2_vl.py`.
    """
    block = rule.patch * rule.merge
    pixels = rule._replace(least=rule.least * block**2, most=rule.most * block**2)
    rounded = (max(block, round(edge / block) * block) for edge in (height, width))
    return _whole_view(rule, *_within_pixels(pixels, height, width, *rounded))


def _native_scaled(rule: ImageRule, height: int, width: int) -> ImageViews:
    """As `native`; an image with an edge below a block is first scaled up (GLM).

    Source: `image_processing_glm4v.py`.
    """
    block = rule.patch * rule.merge
    if min(height, width) < block:
        scale = max(block / height, block / width)
        height, width = int(height * scale), int(width * scale)
    return _native(rule, height, width)


def _native_widened(rule: ImageRule, height: int, width: int) -> ImageViews:
    """As `native`; an edge below a block becomes one, the other grows with it (PaddleOCR-VL).

    Source: `image_processing_paddleocr_vl.py`.
    """
    block = rule.patch * rule.merge
    if height < block:
        height, width = block, round(width * block / height)
    if width < block:
        height, width = round(height * block / width), block
    return _native(rule, height, width)


def _native_newlines(rule: ImageRule, height: int, width: int) -> ImageViews:
    """As `native`, and a newline a row of features and `extra` ends are features (HunyuanOCR).

    Source: `processing_hunyuan_vl.py`.
    """
    plain = _native(rule, height, width)
    features = plain.features + plain.views.rows // rule.merge + rule.extra
    return plain._replace(features=features, tokens=features + rule.ends)


def _longest_edge(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Edges of at most `most` pixels, up to whole blocks; a break token a row (Pixtral).

    Source: `image_processing_pixtral.py`, `processing_pixtral.py`.
    """
    ratio = max(height / rule.most, width / rule.most)
    high, wide = height, width
    if ratio > 1:
        high, wide = math.floor(height / ratio), math.floor(width / ratio)
    if min(high, wide) < 1:
        raise refused(height, width, f"its short edge is 0 pixels within {rule.most:,}")
    block = rule.patch * rule.merge
    rows, columns = ceil_div(high, block), ceil_div(wide, block)
    view = View(1, rows * rule.merge, columns * rule.merge)
    return ImageViews(view, NO_VIEWS, rows * columns, rows * (columns + 1) + rule.ends)


def _budget(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Largest size of the same aspect with at most `most` features (Gemma 4).

    Source: `get_aspect_ratio_preserving_size` of `image_processing_gemma4.py`.
    """
    block = rule.patch * rule.merge
    pixels = rule.most * block**2
    scale = math.sqrt(pixels / (height * width))
    high = math.floor(scale * height / block) * block
    wide = math.floor(scale * width / block) * block
    if high == 0 and wide == 0:
        raise refused(height, width, f"both edges are below {block} pixels")
    if high == 0:
        high, wide = block, min(width // height, rule.most) * block
    elif wide == 0:
        high, wide = min(height // width, rule.most) * block, block
    if high * wide > pixels:
        raise refused(height, width, f"needs more than {rule.most:,} features")
    return _whole_view(rule, high, wide)


def _patch_budget(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Largest grid of about the same aspect with at most `most` patches (Kosmos-2.5).

    Source: `extract_flattened_patches` of `image_processing_kosmos2_5.py`.
    """
    patch = rule.patch
    scale = math.sqrt(rule.most * (patch / height) * (patch / width))
    rows = max(min(math.floor(scale * height / patch), rule.most), 1)
    columns = max(min(math.floor(scale * width / patch), rule.most), 1)
    return _whole_view(rule, rows * patch, columns * patch)


def _navit(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Shrunk to `most` patches and `longest` an edge, padded to whole blocks (Kimi).

    Source: `navit_resize` of `image_processing_kimi_k25.py`.
    """
    limit = rule.longest * rule.patch
    patches = max(1, height // rule.patch) * max(1, width // rule.patch)
    scale = min(1.0, math.sqrt(rule.most / patches), limit / height, limit / width)
    high = min(max(1, int(height * scale)), limit)
    wide = min(max(1, int(width * scale)), limit)
    block = rule.patch * rule.merge
    return _whole_view(rule, ceil_div(high, block) * block, ceil_div(wide, block) * block)


def _between_edges(rule: ImageRule, height: int, width: int) -> tuple[int, int]:
    """Edges with the longer one at most `most` and both at least `least` pixels."""
    aspect = width / height
    if width >= height and width > rule.most:
        width = rule.most
        height = int(width / aspect)
    elif height > width and height > rule.most:
        height = rule.most
        width = int(height * aspect)
    return max(height, rule.least), max(width, rule.least)


def _bounded_edges(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Edges between `least` and `most` pixels; `learned` features a view (Idefics2).

    With `quarters` the four quarters of the image are views too, and all are padded to the
    largest. Neighbours share the token between them. Source: `image_processing_idefics2.py`.
    """
    sizes = [(height, width)]
    if rule.quarters:
        high, wide = height // 2, width // 2
        if min(high, wide) < 1:
            raise refused(height, width, "expected at least 2 x 2 to cut into quarters")
        sizes += [(a, b) for a in (high, height - high) for b in (wide, width - wide)]
    edges = [_between_edges(rule, *size) for size in sizes]
    rows = max(high for high, _ in edges) // rule.patch
    columns = max(wide for _, wide in edges) // rule.patch
    features = len(sizes) * rule.learned
    tokens = features + (len(sizes) - 1) * rule.breaks + rule.ends
    return ImageViews(View(len(sizes), rows, columns), NO_VIEWS, features, tokens)


def _fixed(rule: ImageRule, height: int, width: int) -> ImageViews:
    """One view of a fixed size, whatever the image."""
    plain = _whole_view(rule, rule.tile, rule.tile_width or rule.tile)
    features = plain.features + rule.extra
    tokens = rule.ends + (0 if rule.crossed else features)
    return plain._replace(features=features, tokens=tokens)


WHOLE_IMAGES = {
    "native": _native,
    "native_scaled": _native_scaled,
    "native_widened": _native_widened,
    "native_newlines": _native_newlines,
    "longest_edge": _longest_edge,
    "budget": _budget,
    "patch_budget": _patch_budget,
    "navit": _navit,
    "bounded_edges": _bounded_edges,
    "fixed": _fixed,
}
"""Rules by name."""
