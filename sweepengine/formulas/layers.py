"""One decoder layer of any kind, operator by operator (docs/decoders.md, "One layer")."""

from typing import NamedTuple

from sweepengine.formulas.architecture import Backbone, Group
from sweepengine.formulas.attention import (
    attention_core,
    compressor,
    feature_keys,
    indexer,
    inner_norms,
    projections,
    rotary,
)
from sweepengine.formulas.cost import (
    Cost,
    add,
    element_wise_cost,
    formula,
    gemm_cost,
    scaled,
    with_weights,
)
from sweepengine.formulas.experts import image_experts, routed_experts, shared_gate
from sweepengine.formulas.gemms import (
    mlp_gemms,
    stream_gemm,
)
from sweepengine.formulas.layout import EndsHeld, branches_of
from sweepengine.formulas.operators import (
    branch_sums,
    hidden_norm,
    linear,
    mlp,
    norm,
    router,
    table,
)
from sweepengine.formulas.recurrent import recurrent_layer
from sweepengine.formulas.residuals import (
    altup,
    fused_input,
    laurel,
    layer_input,
    layer_inputs,
    streams_around,
)
from sweepengine.formulas.tokens import LayerPass, image_tokens_run


class Layer(NamedTuple):
    """Operators of one pre-norm layer; what it has not got costs nothing."""

    norms: Cost
    projections: Cost
    rotary: Cost
    attention: Cost
    feature_keys: Cost
    """Keys and values that cross attention makes of the features of images."""
    compressor: Cost
    indexer: Cost
    recurrent: Cost
    router: Cost
    routed: Cost
    image_experts: Cost
    """Router and routed experts that tokens of images take instead."""
    shared_gate: Cost
    mlp: Cost
    """The MLP that every token takes: dense, or the shared experts."""
    residuals: Cost
    streams: Cost
    """Hyper-connections, where residual streams are mixed instead of added to; AltUp, LAuReL, and
    the input that a layer has for itself."""


class Ends(NamedTuple):
    """What stands before and behind the layers."""

    embedding: Cost
    collapse: Cost
    """Of residual streams to one; AltUp's out of one, too."""
    final_norm: Cost
    head: Cost


@formula
def hyper_connection(backbone: Backbone, tokens: int) -> Cost:
    """Hyper-connection around one branch, n streams: tensor `2*T*n*h*n*(n+2) + 2*T*n*n*h`.

    All streams project to n weights that collapse them into the branch's input, n that spread its
    output and n*n that mix streams; R rounds scale the last to rows and columns of one. Weights
    `n*(n+2)*(n*h+1) + 3`; CUDA `T*(8*n*h + n*n*(4*R+5))`: norm 3, collapse 2, spread and add 2,
    one residual sum. Moves `T*(3*n*h + 2*h)`. Source: transformers 5.23, modeling_deepseek_v4.py.
    """
    streams, hidden = backbone.streams, backbone.hidden
    present = min(streams, 1)
    gemm = stream_gemm(backbone)
    mixes, wide = gemm.rows, gemm.columns
    weights = mixes * (wide + 1) + 3 * present
    flops = 2 * tokens * wide * (mixes + streams)
    element_wise = 8 * wide + streams * streams * (4 * backbone.stream_rounds + 5)
    moved = tokens * (3 * wide + 2 * hidden * present)
    return gemm_cost(flops, tokens * element_wise, moved, moved, moved, weights)


@formula
def layer_norms(group: Group, backbone: Backbone, tokens: int) -> Cost:
    """Norms of a layer: CUDA `f*T*h` a block norm, f 3 (RMSNorm) or 5 (LayerNorm).

    Beside them stand norms of queries, keys, values and latents, and one of the MLP's hidden
    values where it has one, `3*T*i`. Each reads and writes what it norms.
    """
    forward = group.feed_forward
    block = hidden_norm(tokens, backbone.hidden, backbone.norm_flops, backbone.norm_weights)
    count = group.norms + forward.norms
    inside = hidden_norm(
        tokens, forward.inner_norm * forward.width, backbone.norm_flops, backbone.norm_weights
    )
    around = add(scaled(block, count, count), inside)
    kind = (backbone.norm_flops, backbone.norm_weights)
    return add(around, inner_norms(group.attention, tokens, *kind))


@formula
def decoder_layer(group: Group, backbone: Backbone, seen: LayerPass) -> Layer:
    """Pre-norm layer: `x + attention`, `x + feed-forward`; one branch has one norm and one add.

    Parameters
    ----------
    group, backbone : Group, Backbone
        A device's share of the layer.
    seen : LayerPass
        Tokens that run through it, and what they meet.
    """
    attention, forward, hidden = group.attention, group.feed_forward, backbone.hidden
    tokens, absorbed = seen.tokens, seen.absorbed
    of_images = image_tokens_run(forward, tokens, seen.made)
    branches = branches_of(group)
    added = branches * (1 - min(backbone.streams, 1))
    return Layer(
        norms=layer_norms(group, backbone, tokens),
        projections=projections(attention, hidden, tokens, seen.keys, absorbed),
        rotary=rotary(attention, tokens, backbone.angle_products),
        attention=attention_core(attention, tokens, seen.keys, seen.entries, seen.flash, absorbed),
        feature_keys=feature_keys(attention, hidden, seen.made, backbone.norm_flops),
        compressor=compressor(attention, attention.key_width, hidden, tokens),
        indexer=indexer(attention, hidden, tokens, seen.keys, seen.entries),
        recurrent=recurrent_layer(group.recurrent, hidden, tokens, seen.cached),
        router=router(
            tokens - of_images,
            hidden,
            forward.experts + forward.idle_experts,
            forward.experts_per_token,
            forward.router_flops,
            forward.bias,
            forward.router_norm,
            forward.correction,
        ),
        routed=routed_experts(forward, hidden, tokens - of_images),
        image_experts=image_experts(forward, hidden, of_images),
        shared_gate=shared_gate(forward, hidden, tokens),
        mlp=add(
            mlp(
                tokens,
                mlp_gemms(forward.width, hidden, forward.matrices),
                forward.activation_flops,
                forward.bias,
            ),
            table(forward.activation_weights),
        ),
        residuals=branch_sums(tokens * hidden, added, attention.gates),
        streams=add(
            scaled(hyper_connection(backbone, tokens), branches, branches),
            add(
                add(altup(backbone, tokens), laurel(backbone, tokens)),
                layer_input(backbone, tokens),
            ),
        ),
    )


@formula
def table_width(backbone: Backbone) -> int:
    """Channels of the token table and the head: the hidden width, unless they have their own."""
    return backbone.table_width if backbone.table_width > 0 else backbone.hidden


@formula
def row_values(backbone: Backbone) -> int:
    """Values that a token reads of tables: its row, and its row of the layers' inputs."""
    return table_width(backbone) + backbone.input_layers * backbone.input_width


@formula
def head_layer(backbone: Backbone, tokens: int) -> Cost:
    """A layer before the head: tensor `2*T*h*h`, CUDA GELU `4*T*h` and a norm; nothing: none."""
    hidden = backbone.head_layer * backbone.hidden
    projected = linear(tokens, hidden, hidden, backbone.head_layer_bias)
    activated = element_wise_cost(4 * tokens * hidden, 0, 0, 0, 0)
    normed = hidden_norm(tokens, hidden, backbone.norm_flops, backbone.norm_weights)
    return add(add(projected, activated), normed)


@formula
def decoder_ends(backbone: Backbone, tokens: int) -> Ends:
    """Token table, last norm and head, over all T positions; streams collapse before them.

    Table: held, read one row a token (`reductions.read_once`); scaled: CUDA `T*h`. Learned
    positions: `P*h` weights, of which T rows are read, CUDA `T*h`. Head:
    tensor `2*T*h*V`; moves `T*(h+V)`, all positions' logits being written; softcap CUDA `3*T*V`;
    tied to the table it is read, but held once. Table and head of another width w stand behind
    projections: tensor `2*T*2*w*h`, `2*T*w*V`. Collapse of n streams: tensor `2*T*n*n*h`, weights
    `n*n*h + n + 1`. A draft that shares table and head reads them, but holds neither.
    """
    hidden, vocabulary = backbone.hidden, backbone.vocabulary
    narrow, width = backbone.table_width, table_width(backbone)
    rows, owned = width * vocabulary, 1 - backbone.fused
    added = min(backbone.positions, 1) * tokens * hidden
    scaling = backbone.scaled_embedding * tokens * hidden + added
    projected = linear(tokens, narrow, hidden, 0)
    placed = with_weights(
        element_wise_cost(scaling, 2 * added, 0, 0, 0),
        min(tokens, backbone.positions) * hidden,
        owned
        * (
            (vocabulary + backbone.more_rows) * width
            + backbone.positions * hidden
            + backbone.input_rows * backbone.input_layers * backbone.input_width
        ),
    )
    normed = hidden_norm(
        tokens, backbone.table_norm * hidden, backbone.norm_flops, backbone.table_norm_weights
    )
    head = add(linear(tokens, hidden, narrow, 0), linear(tokens, width, vocabulary, 0))
    head = add(head, head_layer(backbone, tokens))
    biases = backbone.head_bias * vocabulary
    read = head.weights + biases
    capped = 3 * backbone.logit_softcap * tokens * vocabulary
    wide, present = backbone.streams * hidden, min(backbone.streams, 1)
    collapsed = wide * backbone.streams + backbone.streams + present
    gathered = tokens * (wide + hidden) * present
    return Ends(
        embedding=add(
            add(add(placed, normed), add(projected, layer_inputs(backbone, tokens))),
            fused_input(backbone, tokens),
        ),
        collapse=add(
            gemm_cost(
                2 * tokens * wide * backbone.streams,
                5 * tokens * wide,
                gathered,
                gathered,
                gathered,
                collapsed,
            ),
            scaled(streams_around(backbone, tokens), 2, 2),
        ),
        final_norm=norm(
            backbone.final_norm * tokens * hidden,
            backbone.norm_flops,
            backbone.final_norm * backbone.norm_weights * hidden,
            0,
        ),
        head=with_weights(
            add(head, element_wise_cost(capped, 0, 0, 0, 0)),
            read,
            owned * (read - backbone.tied * rows),
        ),
    )


@formula
def ends_on_device(backbone: Backbone, tokens: int, ends: EndsHeld) -> Ends:
    """What stands before and behind the layers, as far as a device of a pipeline has it.

    A head that is tied to a table elsewhere is a table of its own.
    """
    found = decoder_ends(backbone, tokens)
    again = (1 - ends.table) * (found.head.weight_io - found.head.weights)
    head = with_weights(found.head, found.head.weight_io, found.head.weights + again)
    return Ends(
        embedding=scaled(found.embedding, ends.table, ends.table),
        collapse=scaled(found.collapse, ends.last, ends.last),
        final_norm=scaled(found.final_norm, ends.last, ends.last),
        head=scaled(head, ends.head, ends.head),
    )
