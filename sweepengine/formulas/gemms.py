"""The weight matrices of a layer, each stated once.

A matrix has `rows` outputs and `columns` inputs. FLOPs, weight bytes in a number format and
microseconds are folds over tuples of them (docs/decoders.md, "One layer").
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import (
    GATED_DELTA_NET,
    KIMI_DELTA_ATTENTION,
    MAMBA_1,
    MAMBA_2,
    RG_LRU,
    SHORT_CONVOLUTION,
    Attention,
    Backbone,
    FeedForward,
    Recurrent,
)
from sweepengine.formulas.cost import formula
from sweepengine.formulas.operator_rates import GemmRates
from sweepengine.formulas.seconds import gemm


class Gemm(NamedTuple):
    """One weight matrix; absent ones have 0 rows or 0 columns."""

    rows: int
    columns: int
    fused: int
    """1: serving engines run it in one kernel with the matrix before it. It decides times alone."""


class IntoAttention(NamedTuple):
    """What the hidden state is projected to before attention."""

    query: Gemm
    """Down to the rank of queries, where they have one."""
    key: Gemm
    value: Gemm
    latent: Gemm
    """Latent and rotated part together."""
    gate: Gemm
    query_up: Gemm


class OutOfAttention(NamedTuple):
    """What mixed values are projected to."""

    grouped: Gemm
    """Groups of heads, side by side."""
    output: Gemm


class MlpGemms(NamedTuple):
    """A gated MLP has all three, a plain one no gate."""

    gate: Gemm
    up: Gemm
    down: Gemm


class RecurrentGemms(NamedTuple):
    """Of a recurrent mixer."""

    into: Gemm
    selection: Gemm
    """Mamba-1: time steps, keys and queries, from its channels."""
    gates: Gemm
    """Per channel, from a rank or from the channels of a block."""
    out: Gemm


class LowRank(NamedTuple):
    """Down from the hidden width, and back up."""

    down: Gemm
    up: Gemm


class FeatureGemms(NamedTuple):
    """Of cross attention, over the features of images; one kernel."""

    key: Gemm
    value: Gemm


class IndexerGemms(NamedTuple):
    """Of what chooses keys, from its own keys; of entries a compressor makes those."""

    key: Gemm
    head_weights: Gemm


@formula
def into_attention(attention: Attention, hidden: int) -> IntoAttention:
    """Matrices before attention; those over the hidden state run as one kernel.

    Keys that serve as values, or are them, are projected once. Latent attention projects to a
    latent (`latent_up` expands it) instead of keys and values; cross attention makes those of
    features (`feature_gemms`).
    """
    queries = attention.heads * attention.key_width
    ranked = min(attention.query_rank, 1)
    grouped = (1 - min(attention.latent, 1)) * (1 - attention.borrowed_cache)
    grouped *= 1 - attention.crossed
    single = 1 - max(attention.keys_as_values, attention.shared_cache)
    keys = grouped * attention.key_value_heads * attention.key_width
    values = grouped * single * attention.key_value_heads * attention.value_width
    latent = min(attention.latent, 1) * (attention.latent + attention.rotary_width)
    return IntoAttention(
        query=Gemm(attention.query_rank + (1 - ranked) * queries, hidden, 0),
        key=Gemm(keys, hidden, 1),
        value=Gemm(values, hidden, 1),
        latent=Gemm(latent, hidden, 1),
        gate=Gemm(attention.heads * attention.output_gate, hidden, 1),
        query_up=Gemm(ranked * queries, attention.query_rank, 0),
    )


@formula
def feature_gemms(attention: Attention, hidden: int) -> FeatureGemms:
    """Matrices that make keys and values of features, `Nkv*dk x h` and `Nkv*dv x h`."""
    heads = attention.crossed * attention.key_value_heads
    return FeatureGemms(
        key=Gemm(heads * attention.key_width, hidden, 0),
        value=Gemm(heads * attention.value_width, hidden, 1),
    )


@formula
def latent_up(attention: Attention) -> Gemm:
    """The matrix that expands a latent into keys and values, `U = c*Nh*(dk-r+dv)`; grouped: none.

    Engines that absorb it apply it to queries and to mixed latents instead.
    """
    widths = attention.key_width - attention.rotary_width + attention.value_width
    return Gemm(min(attention.latent, 1) * attention.heads * widths, attention.latent, 0)


@formula
def out_of_attention(attention: Attention, hidden: int) -> OutOfAttention:
    """Output projection `Nh*dv x h`; in g groups of rank r `Nh*dv/g x r` each, then `g*r x h`."""
    mixed = attention.heads * attention.value_width
    groups = max(attention.output_groups, 1)
    wide = attention.output_groups * attention.output_rank
    direct = 1 - min(attention.output_rank, 1)
    return OutOfAttention(
        grouped=Gemm(wide, mixed // groups, 0),
        output=Gemm(hidden, direct * mixed + (1 - direct) * wide, 0),
    )


@formula
def indexer_query(attention: Attention, hidden: int) -> Gemm:
    """Queries of an indexer, out of the queries' rank, or of the hidden state without one."""
    source = attention.query_rank if attention.query_rank > 0 else hidden
    return Gemm(attention.index_heads * attention.index_width, source, 0)


@formula
def indexer_gemms(attention: Attention, hidden: int) -> IndexerGemms:
    """Keys of an indexer and the weights of its heads; one of entries has no keys of its own."""
    single = min(attention.index_heads, 1) * (1 - min(attention.stride, 1))
    return IndexerGemms(
        key=Gemm(single * attention.index_width, hidden, 0),
        head_weights=Gemm(attention.index_weighted * attention.index_heads, hidden, 1),
    )


@formula
def compressor_gemm(attention: Attention, width: int, hidden: int) -> Gemm:
    """Values and gates that tokens give to entries of `width`: `2*s*d` rows."""
    return Gemm(2 * min(attention.stride, 1) * attention.series * width, hidden, 0)


@formula
def mlp_gemms(width: int, hidden: int, matrices: int) -> MlpGemms:
    """Gate and up in one kernel, then down; of m matrices, 2 have no gate."""
    return MlpGemms(
        gate=Gemm((matrices - 2) * width, hidden, 0),
        up=Gemm(width, hidden, 1),
        down=Gemm(hidden, width, 0),
    )


@formula
def expert_gemms(forward: FeedForward, hidden: int) -> MlpGemms:
    """One routed expert, which works in the experts' latent where they have one."""
    outer = forward.expert_latent if forward.expert_latent > 0 else hidden
    return mlp_gemms(forward.expert_width, outer, forward.matrices)


@formula
def image_expert_gemms(forward: FeedForward, hidden: int) -> MlpGemms:
    """One routed expert of those that tokens of images take."""
    return mlp_gemms(forward.image_width, hidden, forward.matrices)


@formula
def recurrent_gemms(recurrent: Recurrent, hidden: int) -> RecurrentGemms:
    """Into convolved channels, gates of I = Hv*dv channels and gates a head; gates; out.

    Rows into: delta net `D + I + 2*Hv`; Mamba-2 `D + I + H`; Mamba-1, RG-LRU and lightning
    attention `D + I`; short convolution `D + I + h`; Kimi delta attention `D + H` and both gates,
    `2*I` or, of rank r, `2*r`. Gates: Mamba-1 `I x R`, behind a selection `(R + 2*s) x I`;
    Kimi `2*I x r`; RG-LRU `2*l x l/N`.
    """
    kind, heads, rank = recurrent.kind, recurrent.heads, recurrent.rank
    inner = heads * recurrent.value_width
    rows = convolved_width(recurrent) + inner
    selection, gates, narrow = 0, 0, 0
    if kind == GATED_DELTA_NET:
        rows += 2 * heads
    elif kind in (MAMBA_2, SHORT_CONVOLUTION):
        rows += heads
    elif kind == MAMBA_1:
        selection, gates, narrow = rank + 2 * recurrent.key_width, inner, rank
    elif kind == KIMI_DELTA_ATTENTION:
        rows += heads + inner
        if rank > 0:
            rows += 2 * rank - 2 * inner
            gates, narrow = 2 * inner, rank
    elif kind == RG_LRU:
        gates, narrow = 2 * inner, recurrent.value_width
    return RecurrentGemms(
        into=Gemm(rows, hidden, 0),
        selection=Gemm(selection, inner, 0),
        gates=Gemm(gates, narrow, 0),
        out=Gemm(hidden, inner, 0),
    )


@formula
def convolved_width(recurrent: Recurrent) -> int:
    """Channels of the short convolution: delta net `D = 2*Hk*dk + Hv*dv`, Mamba-2 `H*p + 2*g*s`.

    Mamba heads H, head width p, groups g and state s stand as heads, value width, key heads and key
    width. Mamba-1, RG-LRU and a short convolution have no key heads: D is their inner width.
    """
    values = recurrent.heads * recurrent.value_width
    return values + 2 * recurrent.key_heads * recurrent.key_width


@formula
def stream_gemm(backbone: Backbone) -> Gemm:
    """Weights of a hyper-connection: n streams give `n*(n+2)` numbers a token."""
    streams = backbone.streams
    return Gemm(streams * (streams + 2), streams * backbone.hidden, 0)


@formula
def laurel_gemms(backbone: Backbone) -> LowRank:
    """Matrices of LAuReL: to its rank and back."""
    rank, hidden = backbone.laurel_rank, backbone.hidden
    return LowRank(Gemm(rank, hidden, 0), Gemm(hidden, rank, 0))


@formula
def layer_input_gemms(backbone: Backbone) -> LowRank:
    """Matrices around the input of one layer: to its width and back."""
    width, hidden = backbone.input_width, backbone.hidden
    return LowRank(Gemm(width, hidden, 0), Gemm(hidden, width, 0))


@formula
def layer_inputs_gemm(backbone: Backbone) -> Gemm:
    """The matrix that makes inputs of all layers out of the embedding, `n*p x h`."""
    return Gemm(backbone.input_layers * backbone.input_width, backbone.hidden, 0)


@formula
def into_streams(backbone: Backbone) -> Gemm:
    """Matrices that make the A-1 further streams of AltUp out of one, `(A-1)*h x h` together."""
    further = max(backbone.alternatives, 1) - 1
    return Gemm(further * backbone.hidden, backbone.hidden, 0)


@formula
def gemm_weights(gemms: tuple[Gemm, ...]) -> int:
    """Weight values of matrices."""
    found = 0
    for index in range(len(gemms)):
        found += gemms[index].rows * gemms[index].columns
    return found


@formula
def gemms_us(gemms: tuple[Gemm, ...], tokens: float, rates: GemmRates) -> float:
    """Time of `tokens` activations through matrices, us; fused ones as one kernel."""
    found = 0.0
    rows = gemms[0].rows
    for index in range(1, len(gemms)):
        if gemms[index].fused > 0:
            rows += gemms[index].rows
        else:
            found += gemm(tokens, rows, gemms[index - 1].columns, rates)
            rows = gemms[index].rows
    return found + gemm(tokens, rows, gemms[len(gemms) - 1].columns, rates)
