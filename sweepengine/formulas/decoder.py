"""One decoder layer of any kind (docs/decoders.md, "One layer").

`tokens` (T) run through a layer and meet `keys` (L) keys each, their own among them.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import FeedForward, Group, Trunk
from sweepengine.formulas.attention import (
    attention_core,
    compressor,
    indexer,
    inner_norms,
    projections,
    rotary,
)
from sweepengine.formulas.cost import Cost, add, formula, scaled, spread
from sweepengine.formulas.operators import (
    linear,
    mlp,
    norm,
    read_by_expert,
    residual_add,
    rms_norm,
    router,
)
from sweepengine.formulas.recurrent import recurrent_layer


class Layer(NamedTuple):
    """Operators of one pre-norm layer; what it has not got costs nothing."""

    norms: Cost
    projections: Cost
    rotary: Cost
    attention: Cost
    compressor: Cost
    indexer: Cost
    recurrent: Cost
    router: Cost
    routed: Cost
    shared_gate: Cost
    mlp: Cost
    """The MLP that every token takes: dense, or the shared experts."""
    residuals: Cost
    streams: Cost
    """Hyper-connections, where residual streams are mixed instead of added to."""


class Ends(NamedTuple):
    """What stands before and behind the layers."""

    embedding: Cost
    collapse: Cost
    """Of residual streams to one."""
    final_norm: Cost
    head: Cost


@formula
def routed_experts(experts: FeedForward, hidden: int, tokens: int) -> Cost:
    """Routed experts: each token goes through k of them, k times an MLP.

    tensor `2*T*k*m*h*e`; in a latent of l instead of h, also `2*T*2*h*l` to go there and back.
    Where experts are spread over devices one does its part, in expectation. Weights are read by
    expert: `expert_io` for each distinct one that the pass touches.
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
    return add(read_by_expert(spread(one, experts.apart), experts.experts_held), around)


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
def hyper_connection(trunk: Trunk, tokens: int) -> Cost:
    """Hyper-connection around one branch, n streams: tensor `2*T*n*h*n*(n+2) + 2*T*n*n*h`.

    All streams project to n weights that collapse them into the branch's input, n that spread its
    output and n*n that mix streams; R rounds scale the last to rows and columns of one. Weights
    `n*(n+2)*(n*h+1) + 3`; CUDA `T*(8*n*h + n*n*(4*R+5))`: norm 3, collapse 2, spread and add 2,
    one residual sum. Moves `T*(3*n*h + 2*h)`. Source: transformers 5.23, modeling_deepseek_v4.py.
    """
    streams, hidden = trunk.streams, trunk.hidden
    present = min(streams, 1)
    wide, mixes = streams * hidden, streams * (streams + 2)
    weights = mixes * (wide + 1) + 3 * present
    flops = 2 * tokens * wide * (mixes + streams)
    element_wise = 8 * wide + streams * streams * (4 * trunk.stream_rounds + 5)
    moved = tokens * (3 * wide + 2 * hidden * present)
    return Cost(flops, tokens * element_wise, moved, weights, 0, 0, moved, moved, weights)


@formula
def decoder_layer(
    group: Group,
    trunk: Trunk,
    tokens: int,
    keys: int,
    entries: int,
    flash: int,
    absorbed: int,
    cached: int,
) -> Layer:
    """Pre-norm layer over T tokens that meet L keys each: `x + attention`, `x + feed-forward`.

    `cached` says how many tokens went before, `entries` which stand for earlier tokens are met;
    a layer of one branch has one norm and one add.
    """
    attention, forward, hidden = group.attention, group.feed_forward, trunk.hidden
    branches = min(group.norms, 2)
    added = branches * (1 - min(trunk.streams, 1))
    return Layer(
        add(scaled(rms_norm(tokens, hidden), group.norms, group.norms),
            inner_norms(attention, tokens)),
        projections(attention, hidden, tokens, keys, absorbed),
        rotary(attention, tokens, trunk.angle_products),
        attention_core(attention, tokens, keys, entries, flash, absorbed),
        compressor(attention, attention.key_width, hidden, tokens),
        indexer(attention, hidden, tokens, keys, entries),
        recurrent_layer(group.recurrent, hidden, tokens, cached),
        router(tokens, hidden, forward.experts, forward.experts_per_token, forward.router_flops,
               forward.bias, forward.router_norm),
        routed_experts(forward, hidden, tokens),
        shared_gate(forward, hidden, tokens),
        mlp(tokens, hidden, forward.width, forward.matrices, forward.activation_flops,
            forward.bias),
        scaled(residual_add(tokens * hidden), added, added),
        scaled(hyper_connection(trunk, tokens), branches, branches),
    )  # fmt: skip


@formula
def attention_peak(layer: Layer, stream: int) -> int:
    """Values alive at once while a layer attends: the residual stream of `stream`, and its own."""
    attending = layer.projections.activation_peak + layer.attention.activation_peak
    beside = layer.indexer.activation_peak + layer.compressor.activation_peak
    return stream + max(attending + beside, layer.recurrent.activation_peak)


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
    """Token table, last norm and head, over all T positions; streams collapse before them.

    Table: held, read one row a token (`figures.expected_reads`); scaled: CUDA `T*h`. Head:
    tensor `2*T*h*V`; moves `T*(h+V)`, all positions' logits being written; softcap CUDA `3*T*V`;
    tied to the table it is read, but held once. Collapse of n streams: tensor `2*T*n*n*h`, weights
    `n*n*h + n + 1`.
    """
    hidden, vocabulary = trunk.hidden, trunk.vocabulary
    table = hidden * vocabulary
    scaling = trunk.scaled_embedding * tokens * hidden
    head = linear(tokens, hidden, vocabulary, 0)
    capped = 3 * trunk.logit_softcap * tokens * vocabulary
    wide, present = trunk.streams * hidden, min(trunk.streams, 1)
    collapsed = wide * trunk.streams + trunk.streams + present
    gathered = tokens * (wide + hidden) * present
    return Ends(
        Cost(0, scaling, 0, 0, 0, 0, 0, 0, table),
        Cost(
            2 * tokens * wide * trunk.streams,
            5 * tokens * wide,
            gathered,
            collapsed,
            0,
            0,
            gathered,
            gathered,
            collapsed,
        ),
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
