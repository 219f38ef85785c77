"""SAM encoder on one view (docs/vision.md, "SAM"). Its tokens are patches (`P`)."""

from typing import NamedTuple

from sweepengine.formulas.attention import score_values
from sweepengine.formulas.cost import (
    Cost,
    add,
    attention_cost,
    element_wise_cost,
    formula,
    gemm_cost,
    scaled,
)
from sweepengine.formulas.gemms import mlp_gemms
from sweepengine.formulas.operators import block_peak, linear, mlp, norm, residual_add, table
from sweepengine.formulas.tokens import ceil_div, patches_per_edge
from sweepengine.formulas.towers import Image, Sam


class SamBlock(NamedTuple):
    """Operators of one pre-norm block."""

    norms: Cost
    projections: Cost
    positions: Cost
    """Decomposed relative positions."""
    attention: Cost
    mlp: Cost
    residuals: Cost


class SamEnds(NamedTuple):
    """What stands before and behind the blocks."""

    patches: Cost
    tables: Cost
    """Position tables."""
    neck: Cost
    neck_norms: Cost


@formula
def sam_block(sam: Sam, grid_edge: int, window_edge: int, flash: int) -> SamBlock:
    """Block on a grid of patches, over the whole grid (`window_edge` 0) or in padded windows.

    Attention over `b = W = ceil(g/14)^2` windows of edge e (`S = e*e`): tensor
    `8*b*S*768^2 + 4*b*S^2*768 + rel`, `rel = rel_pos_flops * b*12*S*(2e)`; CUDA softmax
    `5*12*b*S^2`. MLPBlock: tensor `4*P*768*3072`, CUDA (GELU) `4*P*3072`. Norms and MLP see the
    patches without padding.
    """
    patches = grid_edge * grid_edge
    edge = window_edge if window_edge > 0 else grid_edge
    windows_per_edge = ceil_div(grid_edge, edge)
    return SamBlock(
        scaled(norm(patches * sam.width, 5, 2 * sam.width, 0), 2, 2),
        sam_projections(sam, windows_per_edge * windows_per_edge * edge * edge),
        relative_positions(sam, windows_per_edge * windows_per_edge, edge),
        sam_attention(sam, windows_per_edge * windows_per_edge, edge, flash),
        mlp(patches, mlp_gemms(sam.mlp_width, sam.width, 2), 4, sam.bias),
        scaled(residual_add(patches * sam.width), 2, 2),
    )


@formula
def sam_projections(sam: Sam, tokens: int) -> Cost:
    """Queries, keys, values and output: tensor `8*T*768^2`; moves input and output."""
    weights = 4 * sam.width * sam.width + 4 * sam.width * sam.bias
    moved = 2 * tokens * sam.width
    flops = 8 * tokens * sam.width * sam.width
    return gemm_cost(flops, 0, moved, moved, moved, weights)


@formula
def relative_positions(sam: Sam, windows: int, edge: int) -> Cost:
    """Relative positions: tensor `rel = rel_pos_flops * b*12*S*(2e)`, two tables of `2e-1` rows."""
    flops = sam.relative_position_flops * windows * sam.heads * edge * edge * 2 * edge
    tables = 2 * (2 * edge - 1) * (sam.width // sam.heads)
    return gemm_cost(flops, 0, 0, 0, 0, tables)


@formula
def sam_attention(sam: Sam, windows: int, edge: int, flash: int) -> Cost:
    """Scores, softmax, mixing of b windows of S tokens: tensor `4*b*S^2*768`; CUDA `5*12*b*S^2`.

    Moves Q, K and V, eager also `eager_io_scores` values a token pair. Alive at once: those,
    mixed values, and for eager scores and probabilities. The published sum holds 4 widths a
    token, however attention is done.
    """
    window = edge * edge
    tokens = windows * window
    moved_scores = (1 - flash) * sam.eager_io_scores * tokens * window
    alive = 4 * tokens * sam.width + 2 * score_values(sam.heads, tokens, window, flash)
    return attention_cost(
        4 * tokens * window * sam.width,
        5 * sam.heads * tokens * window,
        3 * tokens * sam.width + moved_scores,
        0,
        alive,
        4 * tokens * sam.width,
        0,
    )


@formula
def sam_block_peak(block: SamBlock, sam: Sam, grid_edge: int, window_edge: int, flash: int) -> int:
    """Values alive at once, `block_peak`."""
    edge = window_edge if window_edge > 0 else grid_edge
    padded = ceil_div(grid_edge, edge) * edge
    scores = score_values(sam.heads, padded * padded, edge * edge, flash)
    residual = grid_edge * grid_edge * sam.width
    return block_peak(block.norms, block.projections, block.attention, block.mlp, residual, scores)


@formula
def layer_norm_2d(sam: Sam, tokens: int) -> Cost:
    """LayerNorm2d of the neck: CUDA `5*256*P`; moves `4*256*P` (statistics, then the scaling)."""
    values = tokens * sam.neck_width
    weights = 2 * sam.neck_width
    return element_wise_cost(5 * values, 4 * values, 2 * values, values, weights)


@formula
def convolution(tokens_in: int, tokens_out: int, width_in: int, width_out: int, side: int) -> Cost:
    """Convolution of the neck without bias: tensor `2*P_out*side^2*in*out`; input + output moved.

    The published activation sum holds the output alone.
    """
    weights = side * side * width_in * width_out
    out = tokens_out * width_out
    moved = tokens_in * width_in + out
    return gemm_cost(2 * tokens_out * weights, 0, moved, moved, out, weights)


@formula
def neck(sam: Sam, grid_edge: int) -> Cost:
    """Neck and downsampling: 1x1, 3x3, then two 3x3 of stride 2, whose sizes are `ceil`.

    tensor `2*P*768*256`, `2*P*9*256*256`, `2*(P/4)*9*256*512`, `2*(P/16)*9*512*1024`.
    """
    patches = grid_edge * grid_edge
    half_edge = ceil_div(grid_edge, 2)
    half = half_edge * half_edge
    quarter_edge = ceil_div(half_edge, 2)
    quarter = quarter_edge * quarter_edge
    width, downsampled = sam.neck_width, sam.downsample_width
    shrink = add(
        convolution(patches, half, width, downsampled, 3),
        convolution(half, quarter, downsampled, sam.output_width, 3),
    )
    project = add(
        convolution(patches, patches, sam.width, width, 1),
        convolution(patches, patches, width, width, 3),
    )
    return add(project, shrink)


@formula
def position_tables(sam: Sam, grid_edge: int) -> Cost:
    """Position tables, corrected to the size that the checkpoint holds.

    The model is stored for `position_edge` patches an edge (its relative tables of the global
    blocks too) and interpolates for other views, so it holds and reads the stored tables
    whatever the view.
    """
    stored = sam.position_edge
    relative = 4 * (stored - grid_edge) * (sam.width // sam.heads) * sam.global_blocks
    return table(stored * stored * sam.width + relative)


@formula
def sam_ends(image: Image, sam: Sam, side: int) -> SamEnds:
    """Patches (PatchEmbed, tensor `2*P*16*16*3*768`), neck with two LayerNorm2d, tables."""
    edge = patches_per_edge(image, side)
    patches = edge * edge
    fan_in = image.patch_size * image.patch_size * image.channels
    return SamEnds(
        linear(patches, fan_in, sam.width, sam.bias),
        position_tables(sam, edge),
        neck(sam, edge),
        scaled(layer_norm_2d(sam, patches), 2, 2),
    )
