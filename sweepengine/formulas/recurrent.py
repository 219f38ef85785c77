"""Recurrent layers: projections, a convolution, a state (docs/decoders.md, "Recurrent layers").

Their state is as large whatever the context. What sets their kinds apart stands in `mixers.py`.
"""

from sweepengine.formulas.architecture import (
    GATED_DELTA_NET,
    KIMI_DELTA_ATTENTION,
    LIGHTNING_ATTENTION,
    MAMBA_1,
    MAMBA_2,
    RG_LRU,
    SHORT_CONVOLUTION,
    Recurrent,
)
from sweepengine.formulas.cost import Cost, add, attention_cost, formula, gemm_cost
from sweepengine.formulas.gemms import convolved_width, gemm_weights, recurrent_gemms
from sweepengine.formulas.mixers import (
    Mixing,
    gated_delta_net,
    kimi_delta_attention,
    lightning_attention,
    mamba_1,
    mamba_2,
    rg_lru,
    short_convolution,
)


@formula
def state_values(recurrent: Recurrent) -> int:
    """Values of the state of one layer, and of its convolution: `Hv*dk*dv + D*w`.

    RG-LRU keeps one column less, so that both together are `l*w`.
    """
    state = recurrent.heads * recurrent.key_width * recurrent.value_width
    columns = recurrent.convolution
    if recurrent.kind == RG_LRU:
        columns -= 1
    return state + convolved_width(recurrent) * columns


@formula
def convolved_columns(recurrent: Recurrent, tokens: int, cached: int) -> int:
    """Columns that the convolution makes, as torch pads it.

    First pass `max(T, w) + w - 1`; a later chunk `T + 2w - 1`; a step 2. RG-LRU `T + w - 1`, and
    none of one token, for which it is element-wise.
    """
    width = recurrent.convolution
    if recurrent.kind == RG_LRU:
        return 0 if tokens == 1 else tokens + width - 1
    if cached == 0:
        return max(tokens, width) + width - 1
    return 2 if tokens == 1 else tokens + 2 * width - 1


MIXINGS = {
    GATED_DELTA_NET: gated_delta_net,
    MAMBA_2: mamba_2,
    MAMBA_1: mamba_1,
    SHORT_CONVOLUTION: short_convolution,
    KIMI_DELTA_ATTENTION: kimi_delta_attention,
    LIGHTNING_ATTENTION: lightning_attention,
    RG_LRU: rg_lru,
}
"""The formula that states each kind, for people; `mixing` is what is compiled."""


@formula
def mixing(recurrent: Recurrent, tokens: int, cached: int) -> Mixing:
    """What the kind of a mixer adds to projections and convolution."""
    kind = recurrent.kind
    if kind == GATED_DELTA_NET:
        return gated_delta_net(recurrent, tokens, cached)
    if kind == MAMBA_2:
        return mamba_2(recurrent, tokens, cached)
    if kind == MAMBA_1:
        return mamba_1(recurrent, tokens, cached)
    if kind == SHORT_CONVOLUTION:
        return short_convolution(recurrent, tokens, cached)
    if kind == KIMI_DELTA_ATTENTION:
        return kimi_delta_attention(recurrent, tokens, cached)
    if kind == LIGHTNING_ATTENTION:
        return lightning_attention(recurrent, tokens, cached)
    return rg_lru(recurrent, tokens, cached)


@formula
def recurrent_layer(recurrent: Recurrent, hidden: int, tokens: int, cached: int) -> Cost:
    """Projections, short convolution and state of a recurrent layer, of any kind.

    tensor `2*T*P + 2*w*D*columns`, P the weights of its GEMMs (`gemms.py`), and what its kind adds
    (`mixers.py`). Weights `P + D*w`, biases of projections, and tables. Moves
    `T*(2*h + D + 2*I)`, I = Hv*dv; the state is read and written once a pass.

    Parameters
    ----------
    recurrent : Recurrent
        A device's share of the mixer.
    hidden, tokens, cached : int
        h, T and C.
    """
    present = min(recurrent.heads, 1)
    inner = recurrent.heads * recurrent.value_width
    gemms = recurrent_gemms(recurrent, hidden)
    mixed = mixing(recurrent, tokens, cached)
    wide, width = convolved_width(recurrent), recurrent.convolution
    matrices = gemm_weights(gemms)
    biases = recurrent.bias * (gemms.into.rows + hidden)
    convolution = 2 * width * wide * convolved_columns(recurrent, tokens, cached)
    moved = present * tokens * (2 * hidden + wide + 2 * inner + mixed.moved)
    work = gemm_cost(
        present * (2 * tokens * matrices + convolution + mixed.tensor_flops),
        present * mixed.cuda_flops,
        moved,
        moved,
        moved,
        present * (matrices + wide * width + biases + mixed.tables),
    )
    return add(work, attention_cost(0, 0, 0, 2 * present * state_values(recurrent), 0, 0, 0))
