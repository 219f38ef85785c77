"""Operators of vision towers: a block of attention and an MLP, and the joins around blocks.

One view of an image runs through them at a time (docs/vision.md, "Blocks" and "Joins").
"""

from typing import NamedTuple

from sweepengine.formulas.cost import (
    Cost,
    add,
    attention_cost,
    element_wise_cost,
    formula,
    gemm_cost,
    scaled,
    with_weights,
)
from sweepengine.formulas.gemms import mlp_gemms
from sweepengine.formulas.operators import block_peak, mlp, norm, residual_add
from sweepengine.formulas.tokens import ceil_div
from sweepengine.formulas.towers import Blocks, Join
from sweepengine.formulas.views import View


class Block(NamedTuple):
    """Operators of one block; what it has not got costs nothing."""

    norms: Cost
    projections: Cost
    rotary: Cost
    positions: Cost
    """Decomposed relative positions."""
    attention: Cost
    convolutions: Cost
    mlp: Cost
    residuals: Cost


class Rows(NamedTuple):
    """Rows of one view in a group of blocks."""

    own: int
    """S, that run through norms and MLP."""
    attended: int
    """That queries are projected for: S, and the padding of windows."""
    source: int
    """That keys and values are projected for."""
    pairs: int
    """Q, pairs of queries and keys."""
    windows: int
    edges: int
    """Relative positions that a query meets: along both edges."""


@formula
def cut_pairs(patches: int, window: int) -> int:
    """Pairs along an edge that is cut into windows: `sum a^2`, the last window being the rest."""
    rest = patches % window
    return patches // window * window * window + rest * rest


@formula
def patch_rows(view: View, merge: int) -> int:
    """Rows of a view of which each stands for `merge x merge` patches, rounded up."""
    return ceil_div(view.rows, merge) * ceil_div(view.columns, merge)


@formula
def rows_of_blocks(blocks: Blocks, view: View) -> Rows:
    """Rows of a view in blocks: full attention, windows, another source, or channels.

    `Q = S^2`; windows of w cut at the edge `(sum a^2)*(sum b^2)`, padded `n*w^4` with
    `n = ceil(rows/w)*ceil(columns/w)`; a source of R rows `S*R`; g groups of channels `S*d/g`.
    """
    high, wide = ceil_div(view.rows, blocks.merge), ceil_div(view.columns, blocks.merge)
    patches = high * wide
    own = patches + blocks.extra + blocks.queries * view.queries
    if blocks.rows > 0:
        own = blocks.rows
    if blocks.source > 0:
        source = patches + blocks.source_extra
        if blocks.source_rows > 0:
            source = blocks.source_rows
        source += (blocks.source - 1) * own
        return Rows(own, own, source, own * source, 1, 0)
    if blocks.channel_groups > 0:
        return Rows(own, own, own, own * blocks.width // blocks.channel_groups, 1, 0)
    window = blocks.window
    if window == 0:
        return Rows(own, own, own, own * own, 1, high + wide)
    windows = ceil_div(high, window) * ceil_div(wide, window)
    inside = window * window
    if blocks.padded > 0:
        padded = windows * inside
        return Rows(own, padded, padded, padded * inside, windows, 2 * window)
    pairs = cut_pairs(high, window) * cut_pairs(wide, window)
    return Rows(own, own, own, pairs, windows, 2 * window)


@formula
def score_pairs(blocks: Blocks, rows: Rows) -> int:
    """Scores of all heads of a block: `N*Q`; of channels `d*d/g`."""
    if blocks.channel_groups > 0:
        return blocks.width * (blocks.width // blocks.channel_groups)
    return blocks.heads * rows.pairs


@formula
def block_norms(blocks: Blocks, rows: int) -> Cost:
    """Norms, layer scales and norms of heads of a block; CUDA LayerNorm 5 a value, RMSNorm 3.

    A scale multiplies each value once. The published sum holds RMSNorms alone.
    """
    values = rows * blocks.width
    kind = blocks.norm_weights
    summed = values * 2 * (2 - kind)
    norms = norm(values, 1 + 2 * kind, kind * blocks.width, summed)
    found = scaled(norms, blocks.norms, blocks.norms)
    moved = 2 * values * blocks.scales
    scales = element_wise_cost(values * blocks.scales, moved, 0, 0, blocks.width * blocks.scales)
    heads = (blocks.heads + blocks.key_value_heads) * blocks.head_width * rows
    heads *= min(blocks.head_norm, 1)
    normed = element_wise_cost(3 * heads, 2 * heads, 2 * heads, 0, blocks.head_norm)
    return add(found, add(scales, normed))


@formula
def block_projections(blocks: Blocks, rows: Rows) -> Cost:
    """Queries, keys, values and output: tensor `2*A*d*2*N*e + 2*R*s*2*K*e`, s the source's width.

    A rows have queries, R keys. Moves input and output, `2*A*d`, and a source of its own.
    """
    width, wide = blocks.width, blocks.heads * blocks.head_width
    keys = blocks.key_value_heads * blocks.head_width
    queries, both = 2 * width * wide, 2 * blocks.source_width * keys
    bias = blocks.input_bias * (wide + keys * (1 + blocks.key_bias)) + blocks.output_bias * width
    present = min(blocks.heads, 1)
    moved = 2 * rows.attended * width * present
    moved += min(blocks.source, 1) * rows.source * (blocks.source_width + 2 * keys)
    return gemm_cost(
        2 * rows.attended * queries + 2 * rows.source * both,
        0,
        moved,
        moved,
        moved,
        queries + both + bias * present,
    )


@formula
def block_rotary(blocks: Blocks, rows: Rows) -> Cost:
    """Rotation of queries and keys: CUDA `3*S*(N+K)*e`."""
    heads = (blocks.heads + blocks.key_value_heads) * blocks.head_width
    return element_wise_cost(blocks.rotary * 3 * rows.own * heads, 0, 0, 0, 0)


@formula
def relative_positions(blocks: Blocks, rows: Rows) -> Cost:
    """Relative positions along both edges: tensor `relative_flops*N*A*edges`, and their tables."""
    flops = blocks.relative_flops * blocks.heads * rows.attended * rows.edges
    return gemm_cost(flops, 0, 0, 0, 0, blocks.tables)


@formula
def block_attention(blocks: Blocks, rows: Rows, flash: int) -> Cost:
    """Scores, softmax, mixing of Q pairs: tensor `4*Q*N*e`; CUDA softmax `5*N*Q`.

    Moves queries, keys and values, eager also the scores of all heads twice. Alive at once: those,
    mixed values, and for eager scores and probabilities.

    Parameters
    ----------
    blocks : Blocks
        A group of blocks.
    rows : Rows
        Of one view in it.
    flash : int
        1: flash attention; 0: eager.
    """
    wide = blocks.heads * blocks.head_width
    keys = blocks.key_value_heads * blocks.head_width
    values = rows.attended * wide + 2 * rows.source * keys
    scores = score_pairs(blocks, rows)
    widths = flash * blocks.flash_widths + (1 - flash) * blocks.eager_widths
    moved = values + rows.attended * blocks.width * widths
    moved += (1 - flash) * (blocks.eager_scores * rows.pairs + blocks.eager_head_scores * scores)
    alive = values + rows.attended * wide + 2 * (1 - flash) * scores
    summed = moved
    if blocks.summed_widths > 0:
        summed = blocks.summed_widths * rows.attended * blocks.width
    return attention_cost(4 * rows.pairs * wide, 5 * scores, moved, 0, alive, summed, 0)


@formula
def depthwise(blocks: Blocks, rows: int) -> Cost:
    """Depthwise convolutions of n taps: tensor `2*S*n*d` each; with biases."""
    values = blocks.convolutions * rows * blocks.width
    weights = blocks.convolutions * blocks.width * (blocks.taps + 1)
    return gemm_cost(2 * values * blocks.taps, 0, 2 * values, 2 * values, 2 * values, weights)


@formula
def block(blocks: Blocks, view: View, flash: int) -> Block:
    """One block on one view: `x + attention`, `x + MLP`.

    Parameters
    ----------
    blocks : Blocks
        A group of blocks.
    view : View
        What runs through it.
    flash : int
        1: flash attention; 0: eager.
    """
    rows = rows_of_blocks(blocks, view)
    branches = min(blocks.heads, 1) + min(blocks.mlp_width, 1)
    return Block(
        norms=block_norms(blocks, rows.own),
        projections=block_projections(blocks, rows),
        rotary=block_rotary(blocks, rows),
        positions=relative_positions(blocks, rows),
        attention=block_attention(blocks, rows, flash),
        convolutions=depthwise(blocks, rows.own),
        mlp=mlp(
            rows.own,
            mlp_gemms(blocks.mlp_width, blocks.width, blocks.matrices),
            blocks.activation_flops,
            blocks.mlp_bias,
        ),
        residuals=scaled(residual_add(rows.own * blocks.width), branches, branches),
    )


@formula
def peak_of_block(operators: Block, blocks: Blocks, view: View, flash: int) -> int:
    """Values alive at once in a block, `operators.block_peak`.

    Parameters
    ----------
    operators : Block
        Of the block on the view.
    blocks, view, flash : Blocks, View, int
        As `block` takes them.
    """
    rows = rows_of_blocks(blocks, view)
    return block_peak(
        operators.norms,
        operators.projections,
        operators.attention,
        operators.mlp,
        rows.own * blocks.width,
        (1 - flash) * score_pairs(blocks, rows),
    )


@formula
def rows_of_join(join: Join, view: View, merge: int, features: int) -> int:
    """Rows of a view in a join, of which each stands for `merge x merge` patches.

    Parameters
    ----------
    join : Join
    view : View
    merge : int
        Of the rows that it reads, or of those that it writes.
    features : int
        Of all views together, for a join over the whole image.
    """
    if join.whole > 0:
        return features
    if join.rows > 0:
        return join.rows
    if join.alone > 0:
        return view.queries
    lines = ceil_div(view.rows, merge)
    found = lines * (ceil_div(view.columns, merge) + join.line)
    return found + join.extra + join.queries * view.queries


@formula
def join_cost(join: Join, view: View, features: int) -> Cost:
    """A linear layer or convolution, a norm, or a table, on one view.

    Linear: tensor `2*R*taps*matrices*in*out` for R rows, CUDA activation_flops x `R*out`; reads
    its rows, writes its own. Norm: CUDA 5 a value (LayerNorm) or 3.

    Parameters
    ----------
    join : Join
    view : View
    features : int
        Of all views together.
    """
    rows = rows_of_join(join, view, join.merge, features)
    values = rows * join.outputs
    tables = join.tables
    if join.inputs > 0:
        read = rows
        if join.reads_merge > 0:
            read = rows_of_join(join, view, join.reads_merge, features)
        taken = read * join.inputs
        moved = join.moves_in * taken + join.moves_out * values
        matrix = join.taps * join.matrices * join.inputs * join.outputs
        weights = (1 - join.weightless) * matrix + join.bias * join.outputs + tables
        summed = join.sums_in * taken + join.sums_out * values
        cost = gemm_cost(
            2 * rows * matrix, join.activation_flops * values, moved, moved, summed, weights
        )
    else:
        kind = join.norm_weights
        fixed = join.fixed_moves * join.outputs
        moved = join.moves * values + fixed
        alive = max(2 * values * min(kind, 1), moved * (1 - min(kind, 1)))
        flops = (1 + 2 * kind) * values * min(kind, 1)
        weights = kind * join.outputs + tables
        cost = element_wise_cost(flops, moved, alive, join.sums_out * values + fixed, weights)
    return with_weights(cost, cost.weight_io, cost.weights + join.unread)
