"""The pre-norm residual block that SAM, CLIP and the decoder share."""

from sweepengine.architecture import Architecture
from sweepengine.cost import Cost, add, formula, layer_cost, times, with_peak

EAGER = 0
FLASH = 1
ATTENTIONS = ("eager", "flash")
"""Attention implementations; the position in this tuple is their code in the kernel."""


@formula
def score_values(attention: int, heads: int, queries: int, keys: int) -> int:
    """Values of the score matrix that eager attention writes out; flash keeps none."""
    return (1 - attention) * heads * queries * keys


@formula
def layer_norm(arch: Architecture, tokens: int, width: int) -> Cost:
    """Layer norm inside a block: CUDA `5*T*width`, reads and writes its input, scale and shift.

    Where the accounting leaves block norms out (formulas.md, section 7), only memory remains.
    """
    values = tokens * width
    weights = 2 * width * arch.accounting.block_norm_weights
    return layer_cost(
        cuda_flops=5 * values * arch.accounting.elementwise_cuda,
        activation_io=2 * values * arch.accounting.norm_and_residual_io,
        weight_io=weights,
        activation_peak=2 * values,
        weights=weights,
    )


@formula
def residual_add(arch: Architecture, tokens: int, width: int) -> Cost:
    """Residual addition: CUDA `T*width`; reads two operands, writes the sum."""
    values = tokens * width
    return layer_cost(
        cuda_flops=values * arch.accounting.elementwise_cuda,
        activation_io=3 * values * arch.accounting.norm_and_residual_io,
        activation_peak=2 * values,
    )


@formula
def residual_block(
    arch: Architecture, mixer: Cost, feed_forward: Cost, norm: Cost, stream: int, scores: int
) -> Cost:
    """`x + mixer(norm(x))`, then `x + feed_forward(norm(x))`, on a stream of `stream` values.

    The peak is the residual stream beside the wider of the two branches. An eager attention
    module returns its probabilities (`scores` values) to the block, which holds them until it
    ends, so they stand beside the feed-forward too.
    """
    adds = times(residual_add(arch, stream, 1), 2)
    total = add(add(mixer, feed_forward), add(times(norm, 2), adds))
    widest = max(mixer.activation_peak, feed_forward.activation_peak + scores)
    return with_peak(total, stream + max(widest, norm.activation_peak))
