"""DeepSeek-OCR's images: a global view and a grid of tiles, whose sizes a point states."""

from functools import lru_cache
from typing import NamedTuple

from sweepengine.formulas.tile_grids import nearest_grid, tile_grids
from sweepengine.formulas.views import ImageViews, View


class CropRule(NamedTuple):
    """How view, tile and crops become features and tokens."""

    patch_size: int
    patches_per_token: int
    few_queries: int
    """Queries that become the tokens of a view of at most as many features; 0: features do."""
    many_queries: int
    """Of larger views."""
    least_tiles: int
    """Fewest and most tiles that an image is cut into, by its own size."""
    most_tiles: int
    newline_tokens: int = 0
    """1: the projector takes newlines too, as the published accounting says."""
    repeats_tiles: int = 0
    """1: it takes the tokens of all tiles once for each tile, as the published accounting says."""


def tokens_per_edge(rule: CropRule, side: int) -> int:
    """Features along the edge of a view: `q = ceil(g/4)`, `g = s/16` patches."""
    return -(-(side // rule.patch_size) // rule.patches_per_token)


def queries_of_view(rule: CropRule, side: int) -> int:
    """Queries that become a view's tokens, few where they are enough for its features; or none."""
    edge = tokens_per_edge(rule, side)
    return rule.few_queries if edge * edge <= rule.few_queries else rule.many_queries


def features_of_view(rule: CropRule, side: int) -> int:
    """Features of a view that go through the projector: one a query, or `q*q`."""
    edge = tokens_per_edge(rule, side)
    return queries_of_view(rule, side) or edge * edge


@lru_cache(1 << 14)
def crop_views(
    rule: CropRule, view_size: int, tile_size: int, crop_rows: int, crop_cols: int
) -> ImageViews:
    """One image as views (docs/vision.md, "Image geometry and tokens").

    The global view gives `q_G*(q_G+1) + 1` tokens and the tiles `r*q_T * (c*q_T + 1)`, which is
    0 without tiles. Tokens of queries have no newlines: `view + 1` and `r*c*tile`. The projector
    takes `q_G^2 + n*q_T^2` rows, or one for each query; in the published accounting `q_G*(q_G+1)`
    and the tokens of all tiles once for each tile, which grow with the square of the tiles.

    Parameters
    ----------
    rule : CropRule
        Of the model.
    view_size, tile_size : int
        Sides of the global view and of a tile, pixels.
    crop_rows, crop_cols : int
        Grid of tiles; 0 without tiles.
    """
    tiles = crop_rows * crop_cols
    view_patches, tile_patches = view_size // rule.patch_size, tile_size // rule.patch_size
    seen, tile = features_of_view(rule, view_size), features_of_view(rule, tile_size)
    if rule.many_queries:
        joined, tokens = seen + tiles * tile, seen + 1 + tiles * tile
    else:
        edge, tile_edge = tokens_per_edge(rule, view_size), tokens_per_edge(rule, tile_size)
        tile_tokens = crop_rows * tile_edge * (crop_cols * tile_edge + 1)
        tokens = edge * (edge + 1) + 1 + tile_tokens
        plain = tiles * tile
        projected = plain + rule.newline_tokens * (tile_tokens - plain)
        joined = edge * (edge + rule.newline_tokens)
        joined += projected * (1 + rule.repeats_tiles * (max(tiles, 1) - 1))
    return ImageViews(
        views=View(1, view_patches, view_patches, queries_of_view(rule, view_size)),
        tiles=View(tiles, tile_patches, tile_patches, queries_of_view(rule, tile_size)),
        features=tokens,
        tokens=tokens,
        joined=joined,
    )


def crops_of_image(rule: CropRule, tile_size: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tiles that an image is cut into; 0 where no edge exceeds a tile.

    Of the grids of fewest to most tiles the one whose aspect ratio is nearest; at a tie the larger
    one where the image has more than half of its pixels. Sources: `dynamic_preprocess` of
    `modeling_deepseekocr.py` and `modeling_deepseekocr2.py` of the releases.

    Parameters
    ----------
    rule : CropRule
        Of the model.
    tile_size : int
        Side of a tile, pixels.
    height, width : int
        Of the image as given, pixels.
    """
    if rule.most_tiles < 2 or max(height, width) <= tile_size:
        return 0, 0
    grids = tile_grids(rule.least_tiles, rule.most_tiles)
    columns, rows = nearest_grid(grids, tile_size, height, width)
    return (rows, columns) if rows * columns > 1 else (0, 0)
