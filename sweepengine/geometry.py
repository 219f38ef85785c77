"""Workload geometry: how many patches, tokens and tiles an image becomes."""

from typing import NamedTuple

from sweepengine.architecture import Architecture
from sweepengine.cost import formula


class VisionWorkload(NamedTuple):
    """One image as the encoder sees it: a global view and `tiles` tiles."""

    view_size: int
    """Side of the global view, pixels."""
    tile_size: int
    """Side of a tile, pixels."""
    tiles: int
    """Number of tiles, rows x columns."""
    view_tokens: int
    """Tokens of the global view with a newline a row and one separator."""
    tile_tokens: int
    """Tokens of all tiles with a newline a row; 0 without tiles."""


@formula
def ceil_div(numerator: int, denominator: int) -> int:
    """`numerator / denominator`, rounded up."""
    return (numerator + denominator - 1) // denominator


@formula
def patches_per_edge(arch: Architecture, side: int) -> int:
    """Patches along the edge of a view: `g = s/16`."""
    return side // arch.image.patch_size


@formula
def tokens_per_edge(arch: Architecture, side: int) -> int:
    """Projected tokens along the edge of a view: `q = ceil(g/4)`."""
    return ceil_div(patches_per_edge(arch, side), arch.image.patches_per_token)


@formula
def vision_workload(
    arch: Architecture, view_size: int, tile_size: int, crop_rows: int, crop_cols: int
) -> VisionWorkload:
    """Geometry of one image (formulas.md, section 1).

    The global view gives `q_G*(q_G+1) + 1` tokens and the tiles `r*q_T * (c*q_T + 1)`, which is
    0 without tiles.
    """
    view_edge = tokens_per_edge(arch, view_size)
    tile_edge = tokens_per_edge(arch, tile_size)
    return VisionWorkload(
        view_size,
        tile_size,
        crop_rows * crop_cols,
        view_edge * (view_edge + 1) + 1,
        crop_rows * tile_edge * (crop_cols * tile_edge + 1),
    )


@formula
def image_tokens(workload: VisionWorkload) -> int:
    """Tokens that one image puts into the decoder's context."""
    return workload.view_tokens + workload.tile_tokens
