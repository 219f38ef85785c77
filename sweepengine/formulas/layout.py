"""A device's share of a model, which is a model, and what its collectives send.

Devices of a pipeline stage: `tensor` share each layer's heads and widths, `data` groups of them
have sequences of their own. Experts are spread over `expert` devices: within a tensor group (each
expert's width is split among the rest of it), or over several groups, whole. Formulas and worked
examples: docs/layouts.md, "What a device holds".
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import (
    Architecture,
    Attention,
    Backbone,
    FeedForward,
    Group,
)
from sweepengine.formulas.attention import attended_values, with_heads
from sweepengine.formulas.cost import formula
from sweepengine.formulas.pipelines import dealt
from sweepengine.formulas.tokens import LayerPass, ceil_div


class Layout(NamedTuple):
    """How a model lies on devices; 1: that is not split."""

    tensor: int
    expert: int
    pipeline: int
    data: int
    decode_context: int = 1
    """Of a tensor group: those share the tokens of the KV cache."""


WHOLE = Layout(1, 1, 1, 1)


@formula
def devices(layout: Layout) -> int:
    """Devices of a layout: `tensor * data * pipeline`."""
    return layout.tensor * layout.data * layout.pipeline


@formula
def expert_slices(layout: Layout) -> int:
    """Devices that each expert's width is split among: what its tensor group has beside experts."""
    return max(layout.tensor // layout.expert, 1)


@formula
def expert_groups(layout: Layout) -> int:
    """Tensor groups that share one set of experts, and so send it the tokens of all."""
    return max(layout.expert // layout.tensor, 1)


@formula
def share_attention(attention: Attention, layout: Layout) -> Attention:
    """Heads, groups of outputs and whole norms split; a key-value head is replicated below one.

    Latents, their ranks and their KV cache, norms of one head, indexers and compressors are whole.
    Devices that share the tokens of the KV cache hold whole key-value heads of their part.
    """
    tensor = layout.tensor
    heads = ceil_div(attention.heads, tensor)
    key_value_heads = ceil_div(attention.key_value_heads, tensor)
    width = attention.key_width
    whole_query, whole_key = attention.query_norm > width, attention.key_norm > width
    return attention._replace(
        heads=heads,
        key_value_heads=key_value_heads,
        query_norm=heads * width if whole_query else attention.query_norm,
        key_norm=key_value_heads * width if whole_key else attention.key_norm,
        output_groups=ceil_div(attention.output_groups, tensor),
        cache_devices=layout.decode_context,
    )


@formula
def share_forward(forward: FeedForward, layout: Layout) -> FeedForward:
    """Widths split; of experts `ceil(E/g)` are held, each `e/slices` wide; the router is whole."""
    return forward._replace(
        width=ceil_div(forward.width, layout.tensor),
        expert_width=ceil_div(forward.expert_width, expert_slices(layout)),
        image_width=ceil_div(forward.image_width, expert_slices(layout)),
        experts_held=ceil_div(forward.experts_held, layout.expert),
        expert_devices=min(layout.expert, layout.tensor),
    )


@formula
def share_group(group: Group, layout: Layout) -> Group:
    """The group on one device of its tensor group, all its layers."""
    recurrent = group.recurrent._replace(
        heads=ceil_div(group.recurrent.heads, layout.tensor),
        key_heads=ceil_div(group.recurrent.key_heads, layout.tensor),
    )
    return group._replace(
        attention=share_attention(group.attention, layout),
        feed_forward=share_forward(group.feed_forward, layout),
        recurrent=recurrent,
    )


class EndsHeld(NamedTuple):
    """1 where a device of a pipeline has the token table, the head, or is of the last stage."""

    table: int
    head: int
    last: int


class Share(NamedTuple):
    """A device's share of a decoder: the busiest device's."""

    backbone: Backbone
    """`ceil(V/p)` rows of table and head; the residual stream is whole."""
    groups: tuple[Group, ...]
    layout: Layout
    ends: EndsHeld


@formula
def ends_held(groups: tuple[Group, ...], layout: Layout) -> EndsHeld:
    """What the busiest device of a pipeline of two or more stages has of the ends.

    Where pipeline stages have as many layers each it is one of the last stage, which has the
    head. Else the first stage has most layers and the table, the last fewer and the head; as the
    head is as large as the table, most layers and the head bound both, of which no figure is
    beyond a layer.
    """
    return EndsHeld(0, 1, int(sum([group.layers for group in groups]) % layout.pipeline == 0))


def all_layers_of(
    arch: Architecture, heads: int, key_value_heads: int, layout: Layout = WHOLE
) -> Share:
    """What a pass runs through on its way: a device's share of every layer, and both ends.

    One batch is under way, so its pass takes the time of all pipeline stages together.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    heads, key_value_heads : int
        Attention heads and key-value heads; 0: its own.
    layout : Layout
        How it lies on devices.
    """
    groups = tuple(
        share_group(
            group._replace(attention=with_heads(group.attention, heads, key_value_heads)), layout
        )
        for group in arch.groups
    )
    vocabulary = ceil_div(arch.backbone.vocabulary, layout.tensor)
    backbone = arch.backbone._replace(
        vocabulary=vocabulary, input_rows=ceil_div(arch.backbone.input_rows, layout.tensor)
    )
    return Share(backbone, groups, layout, EndsHeld(1, 1, 1))


def share_of(arch: Architecture, heads: int, key_value_heads: int, layout: Layout = WHOLE) -> Share:
    """The share of a model with other heads that the busiest device of a layout holds.

    Parameters
    ----------
    arch, heads, key_value_heads, layout : as `all_layers_of`
    """
    share = all_layers_of(arch, heads, key_value_heads, layout)
    if layout.pipeline == 1:
        return share
    layers = dealt(arch.groups, arch.backbone.hidden, layout.pipeline)
    groups = tuple(
        group._replace(layers=count) for group, count in zip(share.groups, layers, strict=True)
    )
    return share._replace(groups=groups, ends=ends_held(arch.groups, layout))


class Traffic(NamedTuple):
    """What a device sends in one pass of one sequence."""

    values: int
    """To other devices, in all."""
    exchanged: int
    """Of them those to experts of other tensor groups and back."""
    collectives: int
    """Collectives, and sends to the next pipeline stage."""


NO_TRAFFIC = Traffic(values=0, exchanged=0, collectives=0)


@formula
def reduced_values(values: int, tensor: int) -> int:
    """Values that a device sends for a ring all-reduce over p devices: `2*(p-1)/p` of them."""
    return ceil_div(2 * (tensor - 1) * values, tensor)


@formula
def exchanged_values(group: Group, hidden: int, tokens: int, layout: Layout) -> int:
    """Values that a device sends to experts of other tensor groups and back, for T tokens.

    `2 * T*k*h * (1 - 1/g) / p`: devices of a tensor group hold the same tokens and send a part
    each; the all-reduce behind a layer is then a reduce-scatter before and an all-gather after.
    """
    if expert_groups(layout) == 1:
        return 0  # experts are in the tensor group
    values = tokens * group.feed_forward.experts_per_token * hidden
    return ceil_div(2 * values * (layout.expert - 1), layout.expert * layout.tensor)


@formula
def branches_of(group: Group) -> int:
    """Branches that a tensor group adds up: attention or a recurrent mixer, and a feed-forward."""
    attends = min(group.attention.heads + group.recurrent.heads, 1)
    return attends + min(group.feed_forward.width + group.feed_forward.experts, 1)


@formula
def layer_traffic(group: Group, hidden: int, tokens: int, layout: Layout) -> Traffic:
    """What a device sends in one layer over T tokens.

    An all-reduce of `T*h` values behind each branch, and the exchange with experts elsewhere.

    Parameters
    ----------
    group : Group
        A device's share of the layer.
    hidden, tokens : int
        h and T.
    layout : Layout
        How the model lies on devices.
    """
    reduced = reduced_values(tokens * hidden, layout.tensor)
    exchanged = exchanged_values(group, hidden, tokens, layout)
    exchanges = 2 * min(expert_groups(layout) - 1, 1) * min(group.feed_forward.experts, 1)
    return Traffic(
        values=branches_of(group) * reduced + exchanged,
        exchanged=exchanged,
        collectives=branches_of(group) * min(layout.tensor - 1, 1) + exchanges,
    )


@formula
def context_traffic(attention: Attention, seen: LayerPass) -> Traffic:
    """What a device sends in one layer to those that share the tokens of its KV cache, d of them.

    A step gathers the queries of all, each device attends them to its keys, and mixed values and
    the logarithms of their sums, 2 values a head, are reduced: `(d-1)*T*Nh*(dk + dv + 2)`, in
    three collectives; absorbed latents are `c+r` and c wide. A longer pass gathers the C cached
    tokens instead, `(d-1)*ceil(C/d)` of the values of each. Source: vLLM 0.24, `ag_rs`.

    Parameters
    ----------
    attention : Attention
        A device's share.
    seen : LayerPass
        Tokens, and those before them in the KV cache.
    """
    others = attention.cache_devices - 1
    if others == 0 or attention.heads == 0 or seen.cached == 0:
        return NO_TRAFFIC
    if seen.tokens > 1:
        gathered = ceil_div(seen.cached, attention.cache_devices) * attended_values(attention)
        return Traffic(values=others * gathered, exchanged=0, collectives=1)
    widths = attention.key_width + attention.value_width
    if attention.latent > 0 and seen.absorbed > 0:
        widths = 2 * attention.latent + attention.rotary_width
    return Traffic(values=others * attention.heads * (widths + 2), exchanged=0, collectives=3)


@formula
def both_traffic(first: Traffic, second: Traffic) -> Traffic:
    """What a device sends in two parts of a layer."""
    return Traffic(
        values=first.values + second.values,
        exchanged=first.exchanged + second.exchanged,
        collectives=first.collectives + second.collectives,
    )


@formula
def ends_traffic(backbone: Backbone, tokens: int, layout: Layout, ends: EndsHeld) -> Traffic:
    """What a device sends before and behind its layers, over T tokens.

    Behind the table an all-reduce of `T*h`, behind the head `T*V/p*(p-1)` logits to the others; to
    the next pipeline stage `T*h`, in parts of its tensor group.

    Parameters
    ----------
    backbone : Backbone
        A device's share.
    tokens : int
        T.
    layout, ends : Layout, EndsHeld
        How the model lies on devices, and what of the ends this one has.
    """
    tensor = layout.tensor
    table = reduced_values(tokens * backbone.hidden, tensor)
    logits = tokens * backbone.vocabulary * (tensor - 1)
    onward = 1 - ends.last
    passed = ceil_div(
        tokens * backbone.hidden * max(backbone.streams, backbone.alternatives, 1), tensor
    )
    return Traffic(
        values=ends.table * table + ends.head * logits + onward * passed,
        exchanged=0,
        collectives=(ends.table + ends.head) * min(tensor - 1, 1) + onward,
    )
