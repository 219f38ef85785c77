"""Recurrent layers: gated delta nets and Mamba-2 (docs/decoders.md, "Recurrent layers").

Their state is as large whatever the context; a pass over many tokens works in chunks.
"""

from sweepengine.formulas.architecture import Recurrent
from sweepengine.formulas.cost import Cost, add, attention_cost, formula, gemm_cost
from sweepengine.formulas.gemms import convolved_width, gemm_weights, recurrent_gemms
from sweepengine.formulas.tokens import ceil_div


@formula
def state_values(recurrent: Recurrent) -> int:
    """Values of the state of one layer, and of its convolution: `Hv*dk*dv + D*w`."""
    state = recurrent.heads * recurrent.key_width * recurrent.value_width
    return state + convolved_width(recurrent) * recurrent.convolution


@formula
def convolved_columns(recurrent: Recurrent, tokens: int, cached: int) -> int:
    """Columns that the convolution makes, as torch pads it.

    First pass `max(T, w) + w - 1`; a later chunk `T + 2w - 1`; a step 2.
    """
    width = recurrent.convolution
    if cached == 0:
        return max(tokens, width) + width - 1
    return 2 if tokens == 1 else tokens + 2 * width - 1


@formula
def recurrent_layer(recurrent: Recurrent, hidden: int, tokens: int, cached: int) -> Cost:
    """Projections, short convolution and the chunks of a recurrent layer.

    Delta net: weights `h*(D + Hv*dv + 2*Hv) + Hv*dv*h + D*w + 2*Hv + dv`; tensor
    `2*T*h*(D + 2*Hv*dv + 2*Hv)`, n = ceil(T/64) chunks
    `2*Hv*n*64*(128*dk + 3*dk*dv + 64*dv)`; a step's update is element-wise, CUDA `7*Hv*dk*dv`.
    Mamba-2: weights `h*(D + H*p + H) + H*p*h + D*(w+1) + 3*H + H*p`; tensor
    `2*T*h*(D + 2*H*p + H)`, chunks `2*H*(n*c*(c*s + c*p + 2*s*p) + (n+1)^2*s*p)`, a step
    `2*H*s*p`. Both: convolution `2*w*D` a column; the state is read and written each step.
    """
    heads, keys, values = recurrent.heads, recurrent.key_width, recurrent.value_width
    present = min(heads, 1)
    inner = heads * values
    gemms = recurrent_gemms(recurrent, hidden)
    wide = convolved_width(recurrent)
    width, chunk = recurrent.convolution, recurrent.chunk
    mamba = recurrent.mamba
    matrices = gemm_weights(gemms)
    tables = wide * (width + mamba) + 2 * heads + mamba * (heads + inner) + (1 - mamba) * values
    convolution = 2 * width * wide * convolved_columns(recurrent, tokens, cached)
    step = 1 if tokens == 1 and cached > 0 else 0
    chunks = ceil_div(tokens, max(chunk, 1))
    delta = 2 * chunks * chunk * (2 * chunk * keys + 3 * keys * values + chunk * values)
    scan = 2 * chunks * chunk * (chunk * keys + chunk * values + 2 * keys * values)
    scan += 2 * (chunks + 1) * (chunks + 1) * keys * values
    at_once = heads * (mamba * scan + (1 - mamba) * delta)
    one = heads * mamba * 2 * keys * values
    moved = present * tokens * (2 * hidden + wide + 2 * inner)
    work = gemm_cost(
        present * (2 * tokens * matrices + convolution + (1 - step) * at_once + step * one),
        step * (1 - mamba) * 7 * heads * keys * values,
        moved,
        moved,
        moved,
        present * (matrices + tables),
    )
    return add(work, attention_cost(0, 0, 0, 2 * present * state_values(recurrent), 0, 0, 0))
