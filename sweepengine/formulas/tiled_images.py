"""Image rules of processors that cut an image into tiles (docs/vision.md, "Image rules").

A grid is (columns, rows) of tiles. Divisions are floats, as in the processors. Sources are files
of transformers 5.23 unless another is named.
"""

import math
import struct

from sweepengine.formulas.crops import CropRule, crop_views, crops_of_image
from sweepengine.formulas.tile_grids import Grid, nearest_grid, tile_grids
from sweepengine.formulas.tokens import ceil_div
from sweepengine.formulas.views import NO_VIEWS, ImageRule, ImageViews, View
from sweepengine.formulas.whole_images import bounded_view

LARGEST_EDGE = 4096
"""Pixels, `MAX_IMAGE_SIZE` of `image_processing_idefics3.py`."""
LARGE = 2
"""Pixels over the most of one view, `max_pixels_tolerance`, above which LFM2-VL cuts tiles."""
OVERSIZE = 1.1
"""Edge over the allowed one, above which LLaVA-OneVision shrinks its features."""


def _grids(rule: ImageRule) -> list[Grid]:
    return tile_grids(rule.least, rule.most, rule.longest)


def _tile_views(rule: ImageRule, count: int) -> ImageViews:
    """`count` tiles, each m x m patches a feature, and what each and all add to the prompt."""
    edge = rule.tile // rule.patch
    features = count * (edge // rule.merge) ** 2
    tokens = features + count * rule.breaks + rule.ends
    return ImageViews(View(count, edge, edge), NO_VIEWS, features, tokens)


def _with_thumbnail(rule: ImageRule, grid: Grid) -> ImageViews:
    """Tiles of a grid, and the whole image as one more where there are several."""
    tiles = grid[0] * grid[1]
    return _tile_views(rule, tiles + (tiles > 1))


def _with_tags(rule: ImageRule, grid: Grid) -> ImageViews:
    """Tiles and thumbnail; 2 tokens before a tile, 1 behind a row, 3 around the last view.

    Source: `replace_image_token` of `processing_idefics3.py` and `processing_granite_docling.py`.
    """
    columns, rows = grid
    plain = _with_thumbnail(rule, grid)
    each = plain.features // plain.views.count
    tokens = each + 3
    if plain.views.count > 1:
        tokens += rows * (columns * (each + 2) + 1)
    return plain._replace(tokens=tokens + rule.ends)


def _aspect_tiles(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Tiles of the grid of the nearest aspect, and a thumbnail (InternVL)."""
    return _with_thumbnail(rule, nearest_grid(_grids(rule), rule.tile, height, width))


def _tagged_tiles(rule: ImageRule, height: int, width: int) -> ImageViews:
    """As `aspect_tiles`, with a tag before each tile (Granite-Docling).

    Source: `image_processing_granite_docling.py`.
    """
    return _with_tags(rule, nearest_grid(_grids(rule), rule.tile, height, width))


def _least_upscaling(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Tiles of the grid that enlarges the image least, else shrinks it least (Command A Vision).

    Source: `get_optimal_tiled_canvas` of `image_processing_cohere2_vision.py`.
    """
    scales = {
        (columns, rows): min(columns * rule.tile / width, rows * rule.tile / height)
        for columns, rows in _grids(rule)
    }
    enlarging = [grid for grid in scales if scales[grid] >= 1]
    choose = min if enlarging else max
    best = choose(enlarging or scales, key=scales.__getitem__)
    return _with_thumbnail(rule, best)


def _single(value: float) -> float:
    """A value rounded to float32."""
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded


def _best_grid(rule: ImageRule, height: int, width: int) -> Grid:
    """As `least_upscaling`, scales in float32, and of equal ones the fewest tiles.

    Source: `get_best_fit` of `image_processing_llama4.py`.
    """
    scales = {
        (columns, rows): min(
            _single(columns * rule.tile / width), _single(rows * rule.tile / height)
        )
        for columns, rows in _grids(rule)
    }
    enlarging = [scale for scale in scales.values() if scale >= 1]
    chosen = min(enlarging) if enlarging else max(scales.values())
    return next(grid for grid in scales if scales[grid] == chosen)


def _best_fit(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Tiles of the best grid, and a thumbnail; a separator follows each tile (Llama 4).

    Source: `_prompt_split_image` of `processing_llama4.py`.
    """
    plain = _with_thumbnail(rule, _best_grid(rule, height, width))
    return plain._replace(tokens=plain.tokens + plain.views.count - 1)


def _best_pinpoint(rule: ImageRule, height: int, width: int) -> tuple[int, int]:
    """The allowed size that keeps most of the image's pixels, and of those wastes fewest.

    Source: `select_best_resolution` of `image_processing_utils.py`.
    """

    def kept(size: tuple[int, int]) -> tuple[int, int]:
        scale = min(size[1] / width, size[0] / height)
        pixels = min(int(width * scale) * int(height * scale), width * height)
        return pixels, pixels - size[0] * size[1]

    return max(rule.pinpoints, key=kept)


def _anyres(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Tiles of the best pinpoint and the whole image; features of the padding are dropped.

    A newline follows each row of features. `most`: features are shrunk to those of about so many
    tiles; 0: they are not. Sources: `processing_llava_next.py`, `processing_llava_onevision.py`.
    """
    high, wide = _best_pinpoint(rule, height, width)
    edge = rule.tile // rule.patch
    down, across = high // rule.tile, wide // rule.tile
    rows, columns = edge * down, edge * across
    if width / height > columns / rows:
        rows -= (rows - int(round(height * (columns / width), 7))) // 2 * 2
    else:
        columns -= (columns - int(round(width * (rows / height), 7))) // 2 * 2
    return _with_newlines(rule, down * across, rows, columns)


def _with_newlines(rule: ImageRule, tiles: int, rows: int, columns: int) -> ImageViews:
    """Features of the whole image, and of its tiles, shrunk and with a newline behind each row.

    Parameters
    ----------
    rule : ImageRule
        Of the model.
    tiles : int
        Beside the whole image.
    rows, columns : int
        Of features of all tiles together.
    """
    edge = rule.tile // rule.patch
    if rule.most:
        ratio = math.sqrt(rows * columns / (rule.most * edge**2))
        if ratio > OVERSIZE:
            rows, columns = int(rows // ratio), int(columns // ratio)
    features = edge**2 + rows * columns + rows
    return ImageViews(View(1 + tiles, edge, edge), NO_VIEWS, features, features + rule.ends)


def _stretched_anyres(rule: ImageRule, height: int, width: int) -> ImageViews:
    """As `anyres`, of an image that is stretched to the pinpoint, so that nothing is padding.

    Source: MinerU 2, `vlm_sglang_model/image_processor.py` and `model.py`.
    """
    high, wide = _best_pinpoint(rule, height, width)
    edge, down, across = rule.tile // rule.patch, high // rule.tile, wide // rule.tile
    return _with_newlines(rule, down * across, edge * down, edge * across)


def _candidate_tiles(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Tiles of the best of the allowed sizes, and the whole image; newlines end rows of features.

    The grid of a view is padded to whole features. A separator stands between the whole image and
    its tiles, whose rows run across all of them. Sizes are width and height. Source: DeepSeek-VL2,
    `processing_deepseek_vl_v2.py` and `modeling_deepseek_vl_v2.py`.
    """
    sizes = tuple((high, wide) for wide, high in rule.pinpoints)
    high, wide = _best_pinpoint(rule._replace(pinpoints=sizes), height, width)
    edge = rule.tile // rule.patch
    down, across, each = high // rule.tile, wide // rule.tile, ceil_div(edge, rule.merge)
    features = each * (each + 1) + 1 + down * each * (across * each + 1)
    return ImageViews(View(1 + down * across, edge, edge), NO_VIEWS, features, features)


def _rescaled(height: int, width: int, longest: int) -> tuple[int, int]:
    """Edges with the longer one exactly `longest`, the other in proportion, at least 1."""
    aspect = width / height
    if width >= height:
        return max(int(longest / aspect), 1), longest
    return longest, max(int(longest * aspect), 1)


def _longest_grid(rule: ImageRule, height: int, width: int) -> Grid:
    """The grid of an image whose longer edge becomes `longest`, then whole tiles.

    Source: `image_processing_idefics3.py`.
    """
    high, wide = (edge + edge % 2 for edge in _rescaled(height, width, rule.longest))
    if max(high, wide) > LARGEST_EDGE:
        high, wide = _rescaled(high, wide, LARGEST_EDGE)
    longer = ceil_div(max(high, wide), rule.tile) * rule.tile
    high, wide = _rescaled(high, wide, longer)
    return ceil_div(wide, rule.tile), ceil_div(high, rule.tile)


def _split_longest(rule: ImageRule, height: int, width: int) -> ImageViews:
    """Tiles of the grid of the longest edge, the whole image, and tags (Idefics3, SmolVLM)."""
    return _with_tags(rule, _longest_grid(rule, height, width))


def _tiles_of_large(rule: ImageRule, height: int, width: int) -> ImageViews:
    """The whole image; one of more than twice `most` features becomes tiles too (LFM2-VL).

    `longest`: most tiles. A token stands before each tile and before the whole image behind them.
    Sources: `image_processing_lfm2_vl.py`, `processing_lfm2_vl.py`.
    """
    whole, block = bounded_view(rule, height, width), rule.patch * rule.merge
    high, wide = (max(rule.patch, round(edge / block) * block) for edge in (height, width))
    if high * wide <= LARGE * rule.most * block**2:
        return whole
    columns, rows = nearest_grid(tile_grids(2, rule.longest), rule.tile, height, width)
    edge = rule.tile // rule.patch
    tiles = View(columns * rows, edge, edge)
    features = whole.features + tiles.count * ceil_div(edge, rule.merge) ** 2
    tokens = features + tiles.count + 1 + rule.ends
    return ImageViews(whole.views, tiles, features, tokens)


def _joint_tiles(rule: ImageRule, height: int, width: int) -> ImageViews:
    """`most` tiles in one view, as they attend to each other (Llama 3.2 Vision).

    Each has a class token beside its patches, and all are keys of cross attention. Source:
    `modeling_mllama.py`.
    """
    edge = rule.tile // rule.patch
    view = View(1, edge, rule.most * edge)
    return ImageViews(view, NO_VIEWS, rule.most * (edge**2 + 1), rule.ends)


def _deepseek_ocr(rule: ImageRule, height: int, width: int) -> ImageViews:
    """A global view, and tiles where an edge of the image is longer than a tile (DeepSeek-OCR).

    Sources: `dynamic_preprocess` and `infer` of `modeling_deepseekocr.py` and
    `modeling_deepseekocr2.py` of the releases; `image_processing_deepseek_ocr2.py`.
    """
    queries = (rule.few_queries, rule.many_queries)
    crops = CropRule(rule.patch, rule.merge, *queries, rule.least, rule.most)
    seen = crop_views(crops, rule.view, rule.tile, *crops_of_image(crops, rule.tile, height, width))
    return seen._replace(tokens=seen.tokens + rule.ends)


TILED_IMAGES = {
    "aspect_tiles": _aspect_tiles,
    "tagged_tiles": _tagged_tiles,
    "least_upscaling": _least_upscaling,
    "best_fit": _best_fit,
    "anyres": _anyres,
    "stretched_anyres": _stretched_anyres,
    "candidate_tiles": _candidate_tiles,
    "split_longest": _split_longest,
    "tiles_of_large": _tiles_of_large,
    "joint_tiles": _joint_tiles,
    "deepseek_ocr": _deepseek_ocr,
}
"""Rules by name."""
