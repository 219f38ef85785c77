"""One decoder layer of any kind (decoders.md, section 3; DeepSeek-OCR's: formulas.md, section 5).

`tokens` (T) run through a layer and meet `keys` (L) keys each, their own among them.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import Attention, FeedForward, Group, Trunk
from sweepengine.formulas.cost import Cost, add, formula, scaled
from sweepengine.formulas.operators import (
    linear,
    mlp,
    norm,
    read_by_expert,
    residual_add,
    router,
)
from sweepengine.formulas.recurrent import recurrent_layer


class Layer(NamedTuple):
    """Operators of one pre-norm layer; what it has not got costs nothing."""

    norms: Cost
    projections: Cost
    rotary: Cost
    attention: Cost
    indexer: Cost
    recurrent: Cost
    router: Cost
    routed: Cost
    shared_gate: Cost
    mlp: Cost
    """The MLP that every token takes: dense, or the shared experts."""
    residuals: Cost


class Ends(NamedTuple):
    """What stands before and behind the layers."""

    embedding: Cost
    final_norm: Cost
    head: Cost


@formula
def with_heads(attention: Attention, heads: int, key_value_heads: int) -> Attention:
    """The same attention split into other heads: all queries together stay as wide; 0: its own."""
    if heads == 0:
        return attention
    width = attention.heads * attention.key_width // heads
    return Attention(
        heads,
        key_value_heads,
        width,
        attention.heads * attention.value_width // heads,
        attention.rotary_width * width // attention.key_width,
        attention.window,
        attention.query_rank,
        attention.latent,
        attention.query_norm,
        attention.key_norm,
        attention.input_bias,
        attention.output_bias,
        attention.sinks,
        attention.softcap,
        attention.heads * attention.output_gate // heads,
        attention.index_heads,
        attention.index_width,
        attention.index_keys,
        attention.keys_as_values,
        attention.value_norm,
    )


@formula
def cached_values(attention: Attention) -> int:
    """Values that the cache holds of a token in one layer, the key of an indexer among them."""
    return attended_values(attention) + min(attention.index_heads, 1) * attention.index_width


@formula
def attended_values(attention: Attention) -> int:
    """Keys and values of a token in one layer: `Nkv*(dk+dv)`; latent `c+r`."""
    if attention.latent > 0:
        return attention.latent + attention.rotary_width
    return attention.key_value_heads * (attention.key_width + attention.value_width)


@formula
def expansion(attention: Attention) -> int:
    """Weights that expand a latent into keys and values, `U = c*Nh*(dk-r+dv)`; grouped: none."""
    plain = attention.key_width - attention.rotary_width + attention.value_width
    return attention.latent * attention.heads * plain


@formula
def projected(attention: Attention) -> int:
    """Values a token that projections put out of the hidden state, biases included.

    Grouped heads: queries, keys, values. Latent: down to queries' rank (or queries at once), and
    to the latent with the rotated part. Keys that serve as values are projected once.
    """
    queries = attention.heads * attention.key_width
    if attention.latent > 0:
        down = attention.query_rank if attention.query_rank > 0 else queries
        return down + attention.latent + attention.rotary_width
    shared = attention.keys_as_values * attention.key_value_heads * attention.value_width
    return queries + attended_values(attention) - shared


@formula
def projections(attention: Attention, hidden: int, tokens: int, keys: int, absorbed: int) -> Cost:
    """Projections around attention: tensor `2*T*P`.

    Grouped heads: `P = h*(Nh*dk + Nkv*(dk+dv)) + Nh*dv*h`. Latent:
    `P = h*q + q*Nh*dk + h*(c+r) + U + Nh*dv*h`, without a rank `h*Nh*dk` for the first two.
    Expanded, every earlier latent expands again: `2*(L-T)*U` more; absorbed, `U` is applied to
    queries and mixed latents, which costs what expanding T tokens costs. An output gate of
    g values a head has `h*Nh*g` more, CUDA `T*Nh*(3g + dv)`. Moves `T*2h`.
    """
    queries = attention.heads * attention.key_width
    expanded = expansion(attention)
    matrices = (
        hidden * projected(attention)
        + attention.query_rank * queries
        + expanded
        + attention.heads * attention.value_width * hidden
    )
    gates = attention.heads * attention.output_gate
    gated = 3 * gates + min(gates, 1) * attention.heads * attention.value_width
    matrices += hidden * gates
    again = (1 - absorbed) * (keys - tokens) * expanded
    weights = matrices + attention.input_bias * projected(attention)
    weights += attention.output_bias * hidden
    moved = 2 * tokens * hidden * min(attention.heads, 1)
    return Cost(
        2 * tokens * matrices + 2 * again,
        tokens * gated,
        moved,
        weights,
        0,
        0,
        moved,
        moved,
        weights,
    )


@formula
def score_values(heads: int, tokens: int, keys: int, flash: int) -> int:
    """Values of the score matrix that eager attention writes out; flash keeps none."""
    return (1 - flash) * heads * tokens * keys


@formula
def attention_core(attention: Attention, tokens: int, keys: int, flash: int, absorbed: int) -> Cost:
    """Scores, softmax and mixing over the full rectangle: no causal saving, as torch counts.

    tensor `2*Nh*T*L*(dk+dv)`, absorbed latents `2*Nh*T*L*(2c+r)`; CUDA softmax
    `5*Nh*T*(L+sinks)`, softcap `3*Nh*T*L`. Moves queries, keys and values once, eager also
    writes and reads the scores. KV: cached values of L tokens; prefill (L=T) writes them, a
    decode step reads L-1 and writes one. Alive at once: what it moves, mixed values; eager:
    scores and probabilities. Keys and values of earlier tokens are the cache's.
    """
    heads = attention.heads
    queries = heads * attention.key_width
    both = attention.key_width + attention.value_width
    streams = tokens * (queries + attended_values(attention))
    if attention.latent > 0:
        streams += tokens * attention.query_rank
        if absorbed > 0:
            both = 2 * attention.latent + attention.rotary_width
            streams += tokens * heads * both
        else:
            streams += keys * heads * both
    scores = heads * tokens * keys
    moved = streams + 2 * score_values(heads, tokens, keys, flash)
    mixed = tokens * heads * attention.value_width
    softmax = 5 * heads * tokens * (keys + attention.sinks)
    return Cost(
        2 * scores * both,
        softmax + 3 * attention.softcap * scores,
        moved,
        attention.sinks * heads,
        0,
        keys * cached_values(attention),
        moved + mixed,
        moved + flash * mixed,
        attention.sinks * heads,
    )


@formula
def indexer(attention: Attention, hidden: int, tokens: int, keys: int) -> Cost:
    """Indexer of sparse attention, I heads of d: tensor `2*T*(q*I*d + h*d + h*I) + 2*T*L*I*(d+1)`.

    Weights `q*I*d + h*d + h*I + 2*d`.
    """
    heads, width = attention.index_heads, attention.index_width
    present = min(heads, 1)
    matrices = attention.query_rank * heads * width + present * hidden * width + hidden * heads
    weights = matrices + 2 * width * present
    moved = tokens * (heads * width + 2 * width + heads) * present
    flops = 2 * tokens * (matrices + keys * heads * (width + 1))
    return Cost(flops, 0, moved, weights, 0, 0, moved, moved, weights)


@formula
def rotary(attention: Attention, tokens: int, angle_products: int) -> Cost:
    """Rotary embedding: CUDA `3*T*(Nh+Nkv)*r` to apply (latent: one rotated key).

    Where angles are a matrix product (`LlamaRotaryEmbedding` of the release) also tensor `T*r`,
    `2*T*r/2`. Cosines and sines are a rounding error of the layer's I/O and are not counted.
    """
    keys = 1 if attention.latent > 0 else attention.key_value_heads
    width = attention.rotary_width
    applied = 3 * tokens * (attention.heads + keys) * width
    return Cost(angle_products * tokens * width, applied, 0, 0, 0, 0, 0, 0, 0)


@formula
def rms_norm(tokens: int, width: int) -> Cost:
    """RMSNorm: CUDA `3*T*h`; reads and writes, `2*T*h`."""
    values = tokens * width
    return norm(values, 3, width, 2 * values)


@formula
def inner_norms(attention: Attention, tokens: int) -> Cost:
    """Norms of queries, keys and values, and of latents: CUDA 3 a value; each reads and writes."""
    queries = min(attention.query_norm, 1) * attention.heads * attention.key_width
    keys = min(attention.key_norm, 1) * attention.key_value_heads * attention.key_width
    mixed = attention.value_norm * attention.key_value_heads * attention.value_width
    latents = attention.query_rank + attention.latent
    values = tokens * (queries + keys + mixed + latents)
    weights = attention.query_norm + attention.key_norm + latents
    return norm(values, 3, weights, 2 * values)


@formula
def routed_experts(experts: FeedForward, hidden: int, tokens: int) -> Cost:
    """Routed experts: each token goes through k of them, k times an MLP.

    tensor `2*T*k*m*h*e`; in a latent of l instead of h, also `2*T*2*h*l` to go there and back.
    Weights are read by expert: `expert_io` for each distinct one that the
    pass touches.
    """
    copies = tokens * experts.experts_per_token
    latent = experts.expert_latent
    one = mlp(
        copies,
        latent if latent > 0 else hidden,
        experts.expert_width,
        experts.matrices,
        experts.activation_flops,
        experts.bias,
    )
    down = linear(tokens, hidden, latent, 0)
    up = linear(tokens, latent, hidden, 0)
    around = scaled(add(down, up), min(latent, 1), min(latent, 1))
    return add(read_by_expert(one, experts.experts_held), around)


@formula
def shared_gate(experts: FeedForward, hidden: int, tokens: int) -> Cost:
    """Gate of shared experts: tensor `2*T*h`; CUDA sigmoid and product, `T*(h+3)`."""
    there = experts.shared_gate
    moved = there * tokens * (2 * hidden + 1)
    weights = there * hidden
    return Cost(
        2 * tokens * weights, there * tokens * (hidden + 3), moved, weights, 0, 0, 0, 0, weights
    )  # fmt: skip


@formula
def decoder_layer(
    group: Group, trunk: Trunk, tokens: int, keys: int, flash: int, absorbed: int, cached: int
) -> Layer:
    """Pre-norm layer over T tokens that meet L keys each: `x + attention`, `x + feed-forward`.

    `cached` says how many tokens went before; a layer of one branch has one norm and one add.
    """
    attention, forward, hidden = group.attention, group.feed_forward, trunk.hidden
    return Layer(
        add(scaled(rms_norm(tokens, hidden), group.norms, group.norms),
            inner_norms(attention, tokens)),
        projections(attention, hidden, tokens, keys, absorbed),
        rotary(attention, tokens, trunk.angle_products),
        attention_core(attention, tokens, keys, flash, absorbed),
        indexer(attention, hidden, tokens, keys),
        recurrent_layer(group.recurrent, hidden, tokens, cached),
        router(tokens, hidden, forward.experts, forward.experts_per_token, forward.router_flops,
               forward.bias, forward.router_norm),
        routed_experts(forward, hidden, tokens),
        shared_gate(forward, hidden, tokens),
        mlp(tokens, hidden, forward.width, forward.matrices, forward.activation_flops,
            forward.bias),
        scaled(residual_add(tokens * hidden), min(group.norms, 2), min(group.norms, 2)),
    )  # fmt: skip


@formula
def attention_peak(layer: Layer, stream: int) -> int:
    """Values alive at once while a layer attends: the residual stream of `stream`, and its own."""
    attending = layer.projections.activation_peak + layer.attention.activation_peak
    return stream + max(attending + layer.indexer.activation_peak, layer.recurrent.activation_peak)


@formula
def feed_forward_peak(layer: Layer, stream: int, scores: int) -> int:
    """Values alive at once in a layer's feed-forward, beside the residual stream.

    A mixture holds the router's values beside the larger of its experts and the shared ones,
    whose input stays alive for them. An eager attention module returns its probabilities
    (`scores` values) to the layer, which holds them until it ends.
    """
    shared = layer.mlp.activation_peak + min(layer.routed.activation_peak, 1) * stream
    widest = max(layer.routed.activation_peak, shared)
    return stream + scores + layer.router.activation_peak + widest


@formula
def decoder_ends(trunk: Trunk, tokens: int) -> Ends:
    """Token table, last norm and head, over all T positions.

    Table: held, read one row a token (`figures.expected_reads`); scaled: CUDA `T*h`. Head:
    tensor `2*T*h*V`; moves `T*(h+V)`, all positions' logits being written; softcap CUDA `3*T*V`;
    tied to the table it is read, but held once.
    """
    hidden, vocabulary = trunk.hidden, trunk.vocabulary
    table = hidden * vocabulary
    scaling = trunk.scaled_embedding * tokens * hidden
    head = linear(tokens, hidden, vocabulary, 0)
    capped = 3 * trunk.logit_softcap * tokens * vocabulary
    return Ends(
        Cost(0, scaling, 0, 0, 0, 0, 0, 0, table),
        norm(tokens * hidden, 3, hidden, 0),
        Cost(
            head.tensor_flops,
            capped,
            head.activation_io,
            table,
            0,
            0,
            head.activation_peak,
            head.activation_sum,
            (1 - trunk.tied) * table,
        ),
    )
