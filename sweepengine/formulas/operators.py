"""Operators that layers are made of.

`tokens` (T) tokens pass through each; widths are in channels. A layer that a model has not got
has width 0 and costs nothing.
"""

from sweepengine.formulas.cost import Cost, formula


@formula
def linear(tokens: int, width_in: int, width_out: int, bias: int) -> Cost:
    """Linear layer: tensor `2*T*in*out`; reads its input, writes its output."""
    weights = width_in * width_out + bias * width_out
    moved = tokens * (width_in + width_out) * min(width_in * width_out, 1)
    return Cost(
        2 * tokens * width_in * width_out, 0, moved, weights, 0, 0, moved, moved, weights
    )  # fmt: skip


@formula
def mlp(
    tokens: int, hidden: int, width: int, matrices: int, activation_flops: int, bias: int
) -> Cost:
    """MLP of inner `width` i and m matrices: tensor `2*T*m*h*i`; CUDA activation_flops x `T*i`.

    A gated one (SwiGLU) has 3 matrices: tensor `6*T*h*i`, CUDA `4*T*i`; a plain one 2. Moves
    `T*(2h+i)`, gate, up and activation being fused; alive at once: input, m inner values, output.
    """
    present = min(width, 1)
    weights = matrices * hidden * width + bias * ((matrices - 1) * width + hidden) * present
    moved = tokens * (2 * hidden + width) * present
    return Cost(
        2 * tokens * matrices * hidden * width,
        activation_flops * tokens * width,
        moved,
        weights,
        0,
        0,
        tokens * (2 * hidden + matrices * width) * present,
        moved,
        weights,
    )


@formula
def read_by_expert(experts: Cost, held: int) -> Cost:
    """Weights of a routed expert are read for each distinct one that the pass touches."""
    return Cost(
        experts.tensor_flops,
        experts.cuda_flops,
        experts.activation_io,
        0,
        experts.weights,
        0,
        experts.activation_peak,
        experts.activation_sum,
        held * experts.weights,
    )


@formula
def router(
    tokens: int, hidden: int, experts: int, chosen: int, flops: int, bias: int, normed: int
) -> Cost:
    """Router: one logit an expert. tensor `2*T*h*E`; CUDA router_flops x `T*E`.

    Reads h, writes logits and the weights of the k chosen: `T*(h+E+k)`. The published sum holds
    what it writes. One that norms its input has `h+E` weights more, scales of channels and of
    experts: CUDA `T*(3h + 2h + k)`, moves `2*T*h` more.
    """
    present = min(experts, 1)
    written = tokens * (experts + chosen)
    moved = (tokens * hidden * (1 + 2 * normed) + written) * present
    weights = experts * (hidden + bias) + normed * (hidden + experts)
    return Cost(
        2 * tokens * hidden * experts,
        flops * tokens * experts + normed * tokens * (5 * hidden + chosen),
        moved,
        weights,
        0,
        0,
        moved,
        written,
        weights,
    )


@formula
def norm(values: int, flops: int, weights: int, kept: int) -> Cost:
    """Norm of `values` values: `flops` CUDA FLOPs each (RMSNorm 3, LayerNorm 5); reads, writes.

    The published sum of activations holds `kept` values.
    """
    return Cost(0, flops * values, 2 * values, weights, 0, 0, 2 * values, kept, weights)


@formula
def rms_norm(tokens: int, width: int) -> Cost:
    """RMSNorm: CUDA `3*T*h`; reads and writes, `2*T*h`."""
    values = tokens * width
    return norm(values, 3, width, 2 * values)


@formula
def residual_add(values: int) -> Cost:
    """Residual addition: CUDA one a value; reads two operands, writes the sum."""
    return Cost(0, values, 3 * values, 0, 0, 0, 2 * values, 0, 0)


@formula
def held(weights: int) -> Cost:
    """Weights that a pass reads and that take part in no product: tables, separators."""
    return Cost(0, 0, 0, weights, 0, 0, 0, 0, weights)


@formula
def block_peak(
    norms: Cost, projections: Cost, attention: Cost, mlp: Cost, residual: int, scores: int
) -> int:
    """Values alive at once in an encoder's block: the residual stream beside its widest part.

    That is attention with its projections, the MLP or the norms; eager attention's probabilities,
    `scores` values, stand beside the MLP too.
    """
    attending = projections.activation_peak + attention.activation_peak
    return residual + max(attending, mlp.activation_peak + scores, norms.activation_peak)
