"""Operators that layers are made of.

`tokens` (T) tokens pass through each; widths are in channels. A layer that a model has not got
has width 0 and costs nothing.
"""

from sweepengine.formulas.cost import Cost, add, element_wise_cost, formula, gemm_cost, scaled
from sweepengine.formulas.gemms import MlpGemms, gemm_weights


@formula
def linear(tokens: int, width_in: int, width_out: int, bias: int) -> Cost:
    """Linear layer: tensor `2*T*in*out`; reads its input, writes its output.

    Parameters
    ----------
    tokens : int
        T, tokens that pass through.
    width_in, width_out : int
        Channels; one of width 0 is absent.
    bias : int
        1: it has one.
    """
    matrix = width_in * width_out
    moved = tokens * (width_in + width_out) * min(matrix, 1)
    return gemm_cost(2 * tokens * matrix, 0, moved, moved, moved, matrix + bias * width_out)


@formula
def mlp(tokens: int, gemms: MlpGemms, activation_flops: int, bias: int) -> Cost:
    """MLP of inner width i and m matrices: tensor `2*T*m*h*i`; CUDA activation_flops x `T*i`.

    A gated one (SwiGLU) has 3 matrices: tensor `6*T*h*i`, CUDA `4*T*i`; a plain one 2. Moves
    `T*(2h+i)`, gate, up and activation being fused; alive at once: input, m inner values, output.

    Parameters
    ----------
    tokens : int
        T, tokens that pass through.
    gemms : MlpGemms
        Its matrices.
    activation_flops : int
        CUDA-core FLOPs a hidden value.
    bias : int
        1: all its matrices have one.
    """
    width, hidden = gemms.up.rows, gemms.down.rows
    present = min(width, 1)
    inner = gemms.gate.rows + width
    matrices = gemm_weights(gemms)
    return gemm_cost(
        2 * tokens * matrices,
        activation_flops * tokens * width,
        tokens * (2 * hidden + width) * present,
        tokens * (2 * hidden + inner + width) * present,
        tokens * (2 * hidden + width) * present,
        matrices + bias * (inner + hidden) * present,
    )


@formula
def router(
    tokens: int,
    hidden: int,
    experts: int,
    chosen: int,
    flops: int,
    bias: int,
    normed: int,
    corrected: int,
) -> Cost:
    """Router: one logit an expert. tensor `2*T*h*E`; CUDA router_flops x `T*E`.

    Reads h, writes logits and the weights of the k chosen: `T*(h+E+k)`. The published sum holds
    what it writes. One that norms its input has `h+E` weights more, scales of channels and of
    experts: CUDA `T*(3h + 2h + k)`, moves `2*T*h` more.

    Parameters
    ----------
    tokens, hidden, experts, chosen : int
        T, h, E and k.
    flops : int
        CUDA-core FLOPs a logit.
    bias, normed, corrected : int
        1: it has a bias; it norms its input; the bias that corrects its scores is a parameter.
    """
    present = min(experts, 1)
    written = tokens * (experts + chosen)
    moved = (tokens * hidden * (1 + 2 * normed) + written) * present
    return gemm_cost(
        2 * tokens * hidden * experts,
        flops * tokens * experts + normed * tokens * (5 * hidden + chosen),
        moved,
        moved,
        written,
        experts * (hidden + bias + corrected) + normed * (hidden + experts),
    )


@formula
def norm(values: int, flops: int, weights: int, summed: int) -> Cost:
    """Norm of `values` values: `flops` CUDA FLOPs each (RMSNorm 3, LayerNorm 5); reads, writes.

    The published sum of activations holds `summed` values.
    """
    return element_wise_cost(flops * values, 2 * values, 2 * values, summed, weights)


@formula
def hidden_norm(tokens: int, width: int, flops: int, weights: int) -> Cost:
    """Norm of T tokens: CUDA `f*T*h`, f 3 (RMSNorm) or 5 (LayerNorm); reads and writes, `2*T*h`.

    Parameters
    ----------
    tokens, width, flops : int
        T, h and f.
    weights : int
        A channel: 1, with a bias 2, without weights 0.
    """
    values = tokens * width
    return norm(values, flops, weights * width, 2 * values)


@formula
def rms_norm(tokens: int, width: int) -> Cost:
    """RMSNorm: CUDA `3*T*h`; reads and writes, `2*T*h`."""
    values = tokens * width
    return norm(values, 3, width, 2 * values)


@formula
def residual_add(values: int) -> Cost:
    """Residual addition: CUDA one a value; reads two operands, writes the sum."""
    return element_wise_cost(values, 3 * values, 2 * values, 0, 0)


@formula
def branch_sums(values: int, branches: int, gates: int) -> Cost:
    """Residual additions of all branches, `residual_add`; a gate scales what one adds.

    A gate is one weight: CUDA one a value.
    """
    scaling = element_wise_cost(gates * values, 0, 0, 0, gates)
    return add(scaled(residual_add(values), branches, branches), scaling)


@formula
def table(weights: int) -> Cost:
    """Weights that a pass reads and that are part of no GEMM: position tables, separators."""
    return element_wise_cost(0, 0, 0, 0, weights)


@formula
def block_peak(
    norms: Cost, projections: Cost, attention: Cost, mlp: Cost, residual: int, scores: int
) -> int:
    """Values alive at once in an encoder's block: the residual stream beside its widest part.

    That is attention with its projections, the MLP or the norms; eager attention's probabilities
    stand beside the MLP too.

    Parameters
    ----------
    norms, projections, attention, mlp : Cost
        Operators of the block.
    residual : int
        Values of the residual stream.
    scores : int
        Values of eager attention's probabilities; 0 for flash.
    """
    attending = projections.activation_peak + attention.activation_peak
    return residual + max(attending, mlp.activation_peak + scores, norms.activation_peak)
