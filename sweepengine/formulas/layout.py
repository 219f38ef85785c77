"""A device's share of a model, which is a model, and what its collectives send.

Devices of a pipeline stage: `tensor` share each layer's heads and widths, `data` groups of them
have sequences of their own. Experts are spread over `expert` devices: within a tensor group (each
expert's width is split among the rest of it), or over several groups, whole. Formulas and worked
examples: docs/layouts.md, "What a device holds".
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import (
    Attention,
    FeedForward,
    Group,
    Recurrent,
    Trunk,
)
from sweepengine.formulas.attention import resized
from sweepengine.formulas.cost import formula
from sweepengine.formulas.tokens import ceil_div


class Layout(NamedTuple):
    """How a model lies on devices; 1: that is not split."""

    tensor: int
    expert: int
    pipeline: int
    data: int


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
def share_attention(attention: Attention, tensor: int) -> Attention:
    """Heads, groups of outputs and whole norms split; a key-value head is replicated below one.

    Latents, their ranks and their cache, norms of one head, indexers and compressors are whole.
    """
    kv_heads = ceil_div(attention.key_value_heads, tensor)
    heads = ceil_div(attention.heads, tensor)
    whole_query = min(attention.query_norm // (attention.key_width + 1), 1)
    whole_key = min(attention.key_norm // (attention.key_width + 1), 1)
    query_norm = whole_query * heads * attention.key_width
    key_norm = whole_key * kv_heads * attention.key_width
    return resized(
        attention,
        heads,
        kv_heads,
        attention.key_width,
        attention.value_width,
        attention.rotary_width,
        query_norm + (1 - whole_query) * attention.query_norm,
        key_norm + (1 - whole_key) * attention.key_norm,
        attention.output_gate,
        ceil_div(attention.output_groups, tensor),
    )


@formula
def share_forward(forward: FeedForward, layout: Layout) -> FeedForward:
    """Widths split; of experts `ceil(E/g)` are held, each `e/slices` wide; the router is whole."""
    return FeedForward(
        ceil_div(forward.width, layout.tensor),
        forward.experts,
        forward.experts_per_token,
        ceil_div(forward.expert_width, expert_slices(layout)),
        ceil_div(forward.experts_held, layout.expert),
        forward.router_flops,
        forward.shared_gate,
        forward.bias,
        forward.matrices,
        forward.activation_flops,
        forward.router_norm,
        forward.expert_latent,
        min(layout.expert, layout.tensor),
    )


@formula
def share_recurrent(recurrent: Recurrent, tensor: int) -> Recurrent:
    """Heads split, and key heads where there are enough of them."""
    return Recurrent(
        ceil_div(recurrent.heads, tensor),
        ceil_div(recurrent.key_heads, tensor),
        recurrent.key_width,
        recurrent.value_width,
        recurrent.convolution,
        recurrent.chunk,
        recurrent.mamba,
    )


@formula
def share_group(group: Group, layout: Layout) -> Group:
    """The group on one device: `ceil(layers/s)` of it, as a stage has that many of each kind."""
    return Group(
        ceil_div(group.layers, layout.pipeline),
        group.norms,
        share_attention(group.attention, layout.tensor),
        share_forward(group.feed_forward, layout),
        share_recurrent(group.recurrent, layout.tensor),
    )


@formula
def share_trunk(trunk: Trunk, tensor: int) -> Trunk:
    """`ceil(V/p)` rows of table and head; the residual stream is whole."""
    return Trunk(
        trunk.hidden,
        ceil_div(trunk.vocabulary, tensor),
        trunk.norms,
        trunk.tied,
        trunk.scaled_embedding,
        trunk.logit_softcap,
        trunk.angle_products,
        trunk.streams,
        trunk.stream_rounds,
    )


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
    copies = tokens * group.feed_forward.experts_per_token * hidden
    return ceil_div(2 * copies * (layout.expert - 1), layout.expert * layout.tensor)


@formula
def branches_of(group: Group) -> int:
    """Branches that a tensor group adds up: attention or a recurrent mixer, and a feed-forward."""
    attends = min(group.attention.heads + group.recurrent.heads, 1)
    return attends + min(group.feed_forward.width + group.feed_forward.experts, 1)


@formula
def layer_collectives(group: Group, layout: Layout) -> int:
    """Collectives of one layer: an all-reduce a branch, and to experts elsewhere and back."""
    exchanges = 2 * min(expert_groups(layout) - 1, 1) * min(group.feed_forward.experts, 1)
    return branches_of(group) * min(layout.tensor - 1, 1) + exchanges


@formula
def ends_collectives(layout: Layout, has_table: int, has_head: int, is_last: int) -> int:
    """Collectives behind table and head, and sending to the next stage of a pipeline."""
    onward = 1 - is_last
    return (has_table + has_head) * min(layout.tensor - 1, 1) + onward


@formula
def layer_links(group: Group, hidden: int, tokens: int, layout: Layout) -> int:
    """Values that a device sends in one layer over T tokens: an all-reduce behind each branch.

    `T*h` values each, and the exchange with experts elsewhere.
    """
    reduced = reduced_values(tokens * hidden, layout.tensor)
    return branches_of(group) * reduced + exchanged_values(group, hidden, tokens, layout)


@formula
def ends_links(
    trunk: Trunk, tokens: int, layout: Layout, has_table: int, has_head: int, is_last: int
) -> int:
    """Values that a device sends before and behind its layers, over T tokens.

    `trunk` is its share. Behind the table an all-reduce of `T*h`, behind the head `T*V/p*(p-1)`
    logits to the others; to the next stage of a pipeline `T*h`, in parts of its tensor group.
    """
    tensor = layout.tensor
    table = reduced_values(tokens * trunk.hidden, tensor)
    logits = tokens * trunk.vocabulary * (tensor - 1)
    onward = 1 - is_last
    passed = ceil_div(tokens * trunk.hidden * max(trunk.streams, 1), tensor)
    return has_table * table + has_head * logits + onward * passed


def ends_held(groups: tuple[Group, ...], layout: Layout) -> tuple[int, int, int]:
    """Whether the busiest device has the table, the head, and is of the last stage.

    Where stages of a pipeline have as many layers each it is one of the last stage, which has the
    head. Else the first stage has most layers and the table, the last fewer and the head; as the
    head is as large as the table, most layers and the head bound both, of which no figure is
    beyond a layer.
    """
    if layout.pipeline == 1:
        return 1, 1, 1
    return 0, 1, int(all(group.layers % layout.pipeline == 0 for group in groups))
