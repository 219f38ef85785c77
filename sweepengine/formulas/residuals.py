"""What residual streams go through beside adding: AltUp, LAuReL, inputs of layers.

Source: transformers 5.23, modeling_gemma3n.py and modeling_gemma4.py (docs/decoders.md, "Inputs of
single layers, AltUp and LAuReL").
"""

from sweepengine.formulas.architecture import Backbone
from sweepengine.formulas.cost import Cost, add, formula, gemm_cost, scaled
from sweepengine.formulas.gemms import (
    gemm_weights,
    into_streams,
    laurel_gemms,
    layer_input_gemms,
    layer_inputs_gemm,
)
from sweepengine.formulas.operators import hidden_norm, linear


@formula
def altup(backbone: Backbone, tokens: int) -> Cost:
    """AltUp around one layer, A streams: tensor `2*T*(2*h*A + A^3 + A^2) + 2*T*h*A^2`.

    The layer's input and its output each choose, through a norm and a GEMM to A values, the
    weights that predict all streams from one another (A^2) and that correct them (A). Weights
    `2*h + A*h + A^3 + A^2`; CUDA `T*h*(8 + 3*A)`; moves `T*h*(4*A + 1)`.
    """
    streams, hidden = backbone.alternatives, backbone.hidden
    present = min(streams, 1)
    mixes = streams * streams * (streams + 1)
    flops = 2 * tokens * (2 * hidden * streams + mixes + hidden * streams * streams)
    moved = tokens * hidden * (4 * streams + present)
    weights = 2 * hidden * present + streams * hidden + mixes
    element_wise = tokens * hidden * (8 * present + 3 * streams)
    return gemm_cost(flops, element_wise, moved, moved, moved, weights)


@formula
def laurel(backbone: Backbone, tokens: int) -> Cost:
    """LAuReL of rank R beside attention: tensor `2*T*2*h*R`, weights `2*h*R + h`.

    Its norm and addition: CUDA `4*T*h`; moves `T*(4*h + 2*R)`.
    """
    rank, hidden = backbone.laurel_rank, backbone.hidden
    present = min(rank, 1)
    matrices = gemm_weights(laurel_gemms(backbone))
    moved = tokens * (2 * hidden * present + 2 * rank)
    project = gemm_cost(2 * tokens * matrices, 0, moved, moved, moved, matrices)
    normed = hidden_norm(tokens, present * hidden, 4, 1)
    return add(project, normed)


@formula
def layer_input(backbone: Backbone, tokens: int) -> Cost:
    """Input of one layer, p channels: tensor `2*T*2*h*p`, weights `2*h*p + h`.

    The hidden state is projected to p, gated by the input (CUDA `5*T*p`), projected back, normed
    and added (CUDA `4*T*h`); moves `T*(4*h + 3*p)`.
    """
    width, hidden = backbone.input_width, backbone.hidden
    present = min(width, 1)
    matrices = gemm_weights(layer_input_gemms(backbone))
    moved = tokens * (2 * hidden * present + 3 * width)
    project = gemm_cost(2 * tokens * matrices, 5 * tokens * width, moved, moved, moved, matrices)
    normed = hidden_norm(tokens, present * hidden, 4, 1)
    return add(project, normed)


@formula
def layer_inputs(backbone: Backbone, tokens: int) -> Cost:
    """Inputs of all n layers, before the first: tensor `2*T*h*n*p`, weights `h*n*p + p`.

    The embedding is projected to n*p channels, normed, and added to the token's row of a table of
    its own; both are scaled: CUDA `6*T*n*p`; moves `T*(h + 3*n*p)`. The table itself stands beside
    the token table.
    """
    gemm = layer_inputs_gemm(backbone)
    matrix = gemm.rows * gemm.columns
    moved = tokens * (min(gemm.rows, 1) * gemm.columns + 3 * gemm.rows)
    weights = matrix + min(gemm.rows, 1) * backbone.input_width
    return gemm_cost(2 * tokens * matrix, 6 * tokens * gemm.rows, moved, moved, moved, weights)


@formula
def streams_around(backbone: Backbone, tokens: int) -> Cost:
    """AltUp's streams out of the embedding: tensor `2*T*(A-1)*h*h`, weights `(A-1)*h*h`.

    Their magnitudes are made equal: CUDA `3*T*(A-1)*h`; moves `T*(h + 2*(A-1)*h)`. Behind the
    layers as much again brings them back into one.
    """
    gemm = into_streams(backbone)
    matrix = gemm.rows * gemm.columns
    moved = tokens * (min(gemm.rows, 1) * gemm.columns + 2 * gemm.rows)
    return gemm_cost(2 * tokens * matrix, 3 * tokens * gemm.rows, moved, moved, moved, matrix)


@formula
def fused_input(backbone: Backbone, tokens: int) -> Cost:
    """What a draft's layers take: tensor `2*T*2*h*h`, of a token's row and a hidden state, normed.

    Source: DeepSeek-V3 Technical Report, section 2.2; EAGLE (arXiv:2401.15077), section 4.1.
    """
    hidden, count = backbone.hidden, backbone.fused_norms
    width = min(count, 1) * hidden
    normed = hidden_norm(tokens, width, backbone.norm_flops, backbone.norm_weights)
    projected = linear(tokens, 2 * backbone.fused * hidden, hidden, 0)
    return add(projected, scaled(normed, count, count))
