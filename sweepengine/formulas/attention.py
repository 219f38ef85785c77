"""Attention of one layer: grouped heads or latent, windows, compressed entries, indexers.

`tokens` (T) run through a layer and meet `keys` (L) keys each, their own among them, and beside
them `entries` (E) that stand for earlier tokens together.
"""

from sweepengine.formulas.architecture import Attention
from sweepengine.formulas.cost import (
    Cost,
    add,
    attention_cost,
    element_wise_cost,
    formula,
    gemm_cost,
    with_weights,
)
from sweepengine.formulas.gemms import (
    compressor_gemm,
    feature_gemms,
    gemm_weights,
    indexer_gemms,
    indexer_query,
    into_attention,
    latent_up,
    out_of_attention,
)
from sweepengine.formulas.tokens import ceil_div


@formula
def with_heads(attention: Attention, heads: int, key_value_heads: int) -> Attention:
    """The same attention split into other heads: all queries together stay as wide.

    Parameters
    ----------
    attention : Attention
        Grouped heads.
    heads, key_value_heads : int
        How many; 0: its own.
    """
    if heads == 0:
        return attention
    width = attention.heads * attention.key_width // heads
    return attention._replace(
        heads=heads,
        key_value_heads=key_value_heads,
        key_width=width,
        value_width=attention.heads * attention.value_width // heads,
        rotary_width=attention.rotary_width * width // attention.key_width,
        output_gate=attention.heads * attention.output_gate // heads,
    )


@formula
def cached_values(attention: Attention) -> int:
    """Values that the KV cache holds of a token in one layer, the key of an indexer among them.

    An indexer of entries keeps keys of entries alone.
    """
    indexed = min(attention.index_heads, 1) * (1 - min(attention.stride, 1))
    own = (1 - max(attention.borrowed_cache, attention.crossed)) * attended_values(attention)
    return own + indexed * attention.index_width


@formula
def entry_values(attention: Attention) -> int:
    """Values that the KV cache holds of an entry in one layer, the key of an indexer among them."""
    indexed = min(attention.index_heads, 1) * attention.index_width
    return min(attention.stride, 1) * (attention.key_width + indexed)


@formula
def feature_values(attention: Attention) -> int:
    """Values that the KV cache holds of a feature of an image in one layer of cross attention."""
    return attention.crossed * attended_values(attention)


@formula
def attended_values(attention: Attention) -> int:
    """Keys and values of a token in one layer: `Nkv*(dk+dv)`; latent `c+r`; shared `Nkv*dk`."""
    if attention.latent > 0:
        return attention.latent + attention.rotary_width
    values = (1 - attention.shared_cache) * attention.value_width
    return attention.key_value_heads * (attention.key_width + values)


@formula
def projections(attention: Attention, hidden: int, tokens: int, keys: int, absorbed: int) -> Cost:
    """Projections around attention: tensor `2*T*P`, P the weights of their GEMMs (`gemms.py`).

    Grouped heads: `P = h*(Nh*dk + Nkv*(dk+dv)) + O`, `O = Nh*dv*h`. Latent:
    `P = h*q + q*Nh*dk + h*(c+r) + U + O`, without a rank `h*Nh*dk` for the first two.
    Expanded, every earlier latent expands again: `2*(L-T)*U` more; absorbed, `U` is applied to
    queries and mixed latents, which costs what expanding T tokens costs. An output gate of
    g values a head has `h*Nh*g` more, CUDA `T*Nh*(3g + dv)`. Moves `T*2h`. Biases are of what the
    hidden state is projected to, but not of queries beside a latent without a rank.

    Parameters
    ----------
    attention : Attention
        A device's share of it.
    hidden, tokens, keys : int
        h, T and L.
    absorbed : int
        1: latents are absorbed, as engines decode.
    """
    into, out = into_attention(attention, hidden), out_of_attention(attention, hidden)
    up = latent_up(attention)
    expanded = up.rows * up.columns
    matrices = gemm_weights(into) + expanded + gemm_weights(out)
    gates = attention.heads * attention.output_gate
    gated = 3 * gates + min(gates, 1) * attention.heads * attention.value_width
    again = (1 - absorbed) * (keys - tokens) * expanded
    projected = into.query.rows + into.key.rows + into.value.rows + into.latent.rows
    projected -= attention.unbiased_keys * into.key.rows
    unranked = min(attention.latent, 1) * (1 - min(attention.query_rank, 1))
    projected -= unranked * into.query.rows
    biases = attention.input_bias * projected + attention.output_bias * hidden
    biases += attention.gate_bias * gates + attention.gate_head_bias * attention.heads
    moved = 2 * tokens * hidden * min(attention.heads, 1)
    return gemm_cost(
        2 * tokens * matrices + 2 * again, tokens * gated, moved, moved, moved, matrices + biases
    )


@formula
def score_values(heads: int, tokens: int, keys: int, flash: int) -> int:
    """Values of the score matrix that eager attention writes out; flash keeps none."""
    return (1 - flash) * heads * tokens * keys


@formula
def attention_core(
    attention: Attention, tokens: int, keys: int, entries: int, flash: int, absorbed: int
) -> Cost:
    """Scores, softmax and mixing over the full rectangle: no causal saving, as torch counts.

    tensor `2*Nh*T*L*(dk+dv)`, absorbed latents `2*Nh*T*L*(2c+r)`; CUDA softmax
    `5*Nh*T*(L+sinks)`, softcap `3*Nh*T*L`; where entries stand for tokens, L+E instead of L.
    Moves queries, keys and values once, eager also
    writes and reads the scores. KV: cached values of L tokens, or a device's part where some
    share them; prefill (L=T) writes them, a
    decode step reads L-1 and writes one; of E entries likewise. Alive at once: what it moves,
    mixed values; eager: scores and probabilities. Keys and values of earlier tokens are the
    cache's. Differential attention does all of it twice, subtracts and norms what is mixed, CUDA
    `5*T*Nh*dv`, and has `4*dk` weights. Cross attention meets S features for L keys; of streams it
    moves queries alone, as `feature_keys` makes the others.
    """
    heads = attention.heads
    queries = heads * attention.key_width
    both = attention.key_width + attention.value_width
    new = (1 - attention.crossed) * attended_values(attention)
    streams = tokens * (queries + new + attention.query_rank)
    if attention.latent > 0:
        if absorbed > 0:
            both = 2 * attention.latent + attention.rotary_width
            streams += tokens * heads * both
        else:
            streams += keys * heads * both
    times = 1 + attention.difference
    scores = times * heads * tokens * (keys + entries)
    moved = streams + 2 * times * score_values(heads, tokens, keys + entries, flash)
    mixed = tokens * heads * attention.value_width
    read = cached_values(attention) + attention.borrowed_cache * attended_values(attention)
    read += feature_values(attention)
    softmax = 5 * times * heads * tokens * (keys + entries + attention.sinks)
    subtracted = 5 * attention.difference * mixed
    return attention_cost(
        2 * scores * both,
        softmax + 3 * attention.softcap * scores + subtracted,
        moved,
        keys * ceil_div(read, attention.cache_devices) + entries * entry_values(attention),
        moved + mixed,
        moved + flash * mixed,
        attention.sinks * heads + 4 * attention.difference * attention.key_width,
    )


@formula
def feature_keys(attention: Attention, hidden: int, made: int, flops: int) -> Cost:
    """Keys and values of F features for cross attention: tensor `2*F*h*Nkv*(dk+dv)`.

    Moves `F*(h + Nkv*(dk+dv))`. A norm of keys has CUDA `f*F*Nkv*dk`, f 3 (RMSNorm) or 5
    (LayerNorm), moves `2*F*Nkv*dk` and has the weights of `key_norm`. A pass that makes none reads
    none of the weights `h*Nkv*(dk+dv)`.

    Parameters
    ----------
    attention : Attention
        A device's share.
    hidden, made : int
        h and F.
    flops : int
        f.
    """
    gemms = feature_gemms(attention, hidden)
    keys, values = gemms.key.rows, gemms.value.rows
    normed = min(attention.key_norm, 1) * keys
    biases = attention.input_bias * ((1 - attention.unbiased_keys) * keys + values)
    biases += attention.crossed * (1 + attention.norm_biases) * attention.key_norm
    weights = gemm_weights(gemms) + biases
    moved = made * (attention.crossed * hidden + keys + values + 2 * normed)
    made_of = gemm_cost(
        2 * made * gemm_weights(gemms), flops * made * normed, moved, moved, moved, weights
    )
    return with_weights(made_of, min(made, 1) * weights, weights)


@formula
def compressor(attention: Attention, width: int, hidden: int, tokens: int) -> Cost:
    """Makes one entry of d values of m tokens, s values of a token: tensor `2*T*2*s*h*d`.

    An entry is the softmax-weighted sum of s*m values, channel by channel, of which the last pass
    may have left some: CUDA `8*T*s*d`. Its norm, once in m tokens, is not counted. Weights
    `2*s*h*d + m*s*d + d`; source: transformers 5.23, modeling_deepseek_v4.py.
    """
    made = compressor_gemm(attention, width, hidden)
    given, matrix = made.rows // 2, made.rows * hidden
    weights = matrix + attention.stride * given + min(given, width)
    moved = tokens * (hidden * min(given, 1) + 2 * given)
    return gemm_cost(2 * tokens * matrix, 8 * tokens * given, moved, moved, moved, weights)


@formula
def indexer(attention: Attention, hidden: int, tokens: int, keys: int, entries: int) -> Cost:
    """Indexer of sparse attention, I heads of d: tensor `2*T*(q*I*d + h*d + h*I) + 2*T*L*I*(d+1)`.

    Weights `q*I*d + h*d + h*I + 2*d`. Without a query rank h stands for q; heads that are not
    weighted have no `h*I` and no `+1`. Of entries, E for L: a `compressor` of its own makes keys
    instead of `h*d + 2*d`, and the weighted sum is element-wise, CUDA `2*T*E*I` instead of `+1`.
    """
    heads, width = attention.index_heads, attention.index_width
    present = min(heads, 1)
    query, others = indexer_query(attention, hidden), indexer_gemms(attention, hidden)
    single = min(others.key.rows, 1)
    matrices = query.rows * query.columns + gemm_weights(others)
    moved = tokens * (heads * width + 2 * width + heads) * present
    scores = tokens * (single * keys + entries) * heads
    flops = 2 * tokens * matrices + 2 * scores * (width + attention.index_weighted * single)
    summed = 2 * scores * attention.index_weighted * (1 - single)
    own = gemm_cost(flops, summed, moved, moved, moved, matrices + 2 * others.key.rows)
    return add(own, compressor(attention, present * width, hidden, tokens))


@formula
def rotary(attention: Attention, tokens: int, angle_products: int) -> Cost:
    """Rotary embedding: CUDA `3*T*(Nh+Nkv)*r` to apply (latent: one rotated key).

    Keys that are values too are rotated back in what is mixed of them: `Nh` twice.
    Where angles are a matrix multiplication (`LlamaRotaryEmbedding` of the release) also tensor
    `T*r`, `2*T*r/2`. Cosines and sines are a rounding error of the layer's I/O and are not counted.
    """
    keys = 1 if attention.latent > 0 else own_heads(attention)
    width = attention.rotary_width
    applied = 3 * tokens * (attention.heads * (1 + attention.shared_cache) + keys) * width
    return gemm_cost(angle_products * tokens * width, applied, 0, 0, 0, 0)


@formula
def chooses(attention: Attention) -> int:
    """1 where an indexer chooses keys of a latent attention one by one (DeepSeek-V3.2), else 0."""
    return min(attention.latent, 1) * min(attention.index_heads, 1) * (1 - min(attention.stride, 1))


@formula
def own_heads(attention: Attention) -> int:
    """Key-value heads that a layer makes of tokens, not of features nor in an earlier layer."""
    return (1 - max(attention.borrowed_cache, attention.crossed)) * attention.key_value_heads


@formula
def inner_norms(attention: Attention, tokens: int, flops: int, mixed_weights: int) -> Cost:
    """Norms of queries, keys, values, latents and mixed values; each reads and writes.

    CUDA 3 a value (RMSNorm), 5 of queries, keys and mixed values where a model has LayerNorms.

    Parameters
    ----------
    attention, tokens : Attention, int
        A device's share of it, and T.
    flops : int
        A value of queries, keys and mixed values.
    mixed_weights : int
        A channel of mixed values: 1, with a bias 2.
    """
    normed = min(attention.query_norm, 1) + attention.query_unit
    queries = normed * attention.heads * attention.key_width
    keys = (min(attention.key_norm, 1) + attention.key_unit) * own_heads(attention)
    keys *= attention.key_width
    mixed = attention.mixed_norm * attention.heads * attention.value_width
    latents = attention.query_rank + attention.latent
    made = attention.value_norm * own_heads(attention) * attention.value_width
    headed, others = tokens * (queries + keys + mixed), tokens * (made + latents)
    own = attention.query_norm + (1 - attention.crossed) * attention.key_norm
    weights = (1 + attention.norm_biases) * own
    moved = 2 * (headed + others)
    worked = flops * headed + 3 * others
    weights += mixed_weights * mixed + latents
    return element_wise_cost(worked, moved, moved, moved, weights)
