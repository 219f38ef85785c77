"""Figures of one workload: what `ways.py` makes columns of.

A workload is all that a point is but its decode steps and batch size. Its figures are the sum
over the parts of a model (vision, ends, each group of layers), each of which gives all of them;
what a part does not touch is 0. The kernel keeps a table, row i of which is field i.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import (
    Convention,
    Counts,
    Group,
    Reach,
    Towers,
    Trunk,
)
from sweepengine.formulas.attention import (
    cached_values,
    entry_values,
    score_values,
)
from sweepengine.formulas.cost import Cost, Roles, formula, scaled, total
from sweepengine.formulas.decoder import (
    Ends,
    Layer,
    attention_peak,
    decoder_ends,
    decoder_layer,
    feed_forward_peak,
)
from sweepengine.formulas.layout import (
    Layout,
    devices,
    ends_collectives,
    ends_links,
    exchanged_values,
    expert_groups,
    layer_collectives,
    layer_links,
)
from sweepengine.formulas.recurrent import state_values
from sweepengine.formulas.tokens import ImageTokens, entries_of_pass, held_tokens, keys_of_pass
from sweepengine.formulas.vision import vision


class Figures(NamedTuple):
    """What a workload costs for one sequence; of decode, what a step costs that meets no key."""

    image_tokens: int
    context_tokens: int
    prefill_tokens: int
    vision_tensor_flops: int
    vision_cuda_flops: int
    vision_activation_io_bytes: int
    vision_weight_io_bytes: int
    vision_kv_io_bytes: int
    vision_link_bytes: int
    """Towers are not split: each device sees the images of its own sequences."""
    prefill_tensor_flops: int
    prefill_cuda_flops: int
    prefill_activation_io_bytes: int
    prefill_kv_io_bytes: int
    prefill_kv_cache_bytes: int
    prefill_link_bytes: int
    prefill_exchange_bytes: int
    """Of them those to experts of other tensor groups."""
    prefill_collectives: int
    decode_tensor_flops: int
    decode_cuda_flops: int
    decode_activation_io_bytes: int
    decode_kv_io_bytes: int
    decode_link_bytes: int
    decode_exchange_bytes: int
    decode_collectives: int
    pass_weight_io_bytes: int
    """Weights that every decoder pass reads once."""
    table_row_bytes: int
    """Of the token table, which is read a row a token."""
    table_rows: int
    weight_bytes: int
    state_bytes: int
    """Of recurrent layers, as large whatever the context."""
    devices: int
    data_parallel: int
    expert_groups: int
    """Tensor groups that share experts, which meet the tokens of all of them."""
    decode_activation_bytes: int
    """Of a step beside its layers, where an accounting adds activations up."""
    vision_activation_bytes: int
    prefill_activation_bytes: int


QUARTERS = 32
"""Quarter bits of a byte."""
SUMMED_FIGURES = Figures._fields.index("vision_activation_bytes")
"""Fields before this add up; of the others, memory, the largest remains."""


@formula
def larger(one: int, other: int, sums: int) -> int:
    """The larger of two parts' activations, or their sum where the accounting adds them up."""
    return max(one, other) + sums * min(one, other)


@formula
def activation(convention: Convention, cost: Cost, peak: int) -> int:
    """Bytes of activations as the accounting reports them: alive at once, or summed."""
    sums = convention.sums_activations
    return (cost.activation_sum * sums + peak * (1 - sums)) * convention.dtype_bytes


@formula
def vision_figures(
    towers: Towers, counts: Counts, convention: Convention, image: ImageTokens, flash: int
) -> Figures:
    """Figures of the vision stage, and the tokens that it gives to the context."""
    size = convention.dtype_bytes
    tokens = image.view_tokens + image.tile_tokens
    cost = vision(towers, counts, image, flash)
    return Figures(
        tokens,
        tokens,
        tokens,
        cost.tensor_flops,
        cost.cuda_flops,
        cost.activation_io * size,
        cost.weight_io * size,
        cost.kv_io * size,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        cost.weights * size,
        0, 0, 0, 0, 0,
        activation(convention, cost, cost.activation_peak),
        0,
    )  # fmt: skip


@formula
def held_ends(trunk: Trunk, tokens: int, has_table: int, has_head: int, is_last: int) -> Ends:
    """What stands before and behind the layers, of which a stage of a pipeline has one or none.

    A head that is tied to a table elsewhere is a table of its own.
    """
    ends = decoder_ends(trunk, tokens)
    head = ends.head
    again = trunk.tied * (1 - has_table) * head.weight_io
    head = Cost(
        head.tensor_flops,
        head.cuda_flops,
        head.activation_io,
        head.weight_io,
        0,
        0,
        head.activation_peak * has_head,
        head.activation_sum,
        head.weights + again,
    )
    return Ends(
        scaled(ends.embedding, has_table, has_table),
        scaled(ends.collapse, is_last, is_last),
        scaled(ends.final_norm, is_last, is_last),
        scaled(head, has_head, has_head),
    )


@formula
def ends_figures(
    trunk: Trunk,
    counts: tuple[Roles, ...],
    convention: Convention,
    layout: Layout,
    has_table: int,
    has_head: int,
    is_last: int,
    text: int,
    image: int,
    cached: int,
) -> Figures:
    """Figures of token table, last norm and head, those that the device has.

    `text` tokens stand beside `image` ones, which are counted by vision, behind `cached` ones.
    """
    size, tokens = convention.dtype_bytes, text + image
    prefill = total(held_ends(trunk, tokens, has_table, has_head, is_last), counts)
    step = total(held_ends(trunk, 1, has_table, has_head, is_last), counts)
    row = has_table * trunk.hidden * counts[0].weight_io
    return Figures(
        0,
        text + cached,
        text,
        0, 0, 0, 0, 0, 0,
        prefill.tensor_flops,
        prefill.cuda_flops,
        prefill.activation_io * size,
        0,
        0,
        ends_links(trunk, tokens, layout, has_table, has_head, is_last) * size,
        0,
        ends_collectives(layout, has_table, has_head, is_last),
        step.tensor_flops,
        step.cuda_flops,
        step.activation_io * size,
        0,
        ends_links(trunk, 1, layout, has_table, has_head, is_last) * size,
        0,
        ends_collectives(layout, has_table, has_head, is_last),
        step.weight_io * size,
        row * size,
        trunk.vocabulary,
        step.weights * size,
        0,
        devices(layout),
        layout.data,
        expert_groups(layout),
        convention.sums_activations * step.activation_sum * size,
        0,
        activation(convention, prefill, prefill.activation_peak),
    )  # fmt: skip


@formula
def group_prefill(
    trunk: Trunk,
    group: Group,
    counts: tuple[Roles, ...],
    convention: Convention,
    layout: Layout,
    cache: int,
    tokens: int,
    cached: int,
    flash: int,
) -> Figures:
    """Figures of the prefill of T tokens on C cached ones through a device's group of layers.

    Cached values take `cache` quarter bits. Eager attention's scores stand beside the head as
    well: modules return them to their caller.
    """
    size = convention.dtype_bytes
    attention = group.attention
    stride = attention.stride
    keys = keys_of_pass(tokens, cached, attention.window)
    entries = entries_of_pass(tokens, cached, stride)
    layer = decoder_layer(group, trunk, tokens, keys, entries, flash, 0, cached)
    cost = scaled(total(layer, counts), group.layers, group.layers)
    peak = max(
        attention_peak(layer, residuals(trunk, tokens)),
        other_peak(layer, trunk, attention.heads, tokens, keys + entries, flash),
    )
    held = cached_values(attention) * held_tokens(tokens + cached, Reach(attention.window, 0, 1))
    if stride > 0:
        compressed = Reach(0, stride, attention.series)
        held += entry_values(attention) * held_tokens(tokens + cached, compressed)
    state = state_values(group.recurrent) * size
    links = group.layers * layer_links(group, trunk.hidden, tokens, layout)
    return Figures(
        0, 0, 0, 0, 0, 0, 0, 0, 0,
        cost.tensor_flops,
        cost.cuda_flops,
        cost.activation_io * size,
        cached_bytes(cost.kv_io, group, size, cache),
        group.layers * (held * cache // QUARTERS + state),
        links * size,
        group.layers * exchanged_values(group, trunk.hidden, tokens, layout) * size,
        group.layers * layer_collectives(group, layout),
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        activation(convention, cost, peak),
    )  # fmt: skip


@formula
def cached_bytes(values: int, group: Group, size: int, cache: int) -> int:
    """Bytes of cached values that a group moves, of which recurrent states keep their width."""
    states = min(values, 2 * group.layers * state_values(group.recurrent))
    return (values - states) * cache // QUARTERS + states * size


@formula
def residuals(trunk: Trunk, tokens: int) -> int:
    """Values of the residual streams of T tokens."""
    return tokens * trunk.hidden * max(trunk.streams, 1)


@formula
def other_peak(layer: Layer, trunk: Trunk, heads: int, tokens: int, keys: int, flash: int) -> int:
    """Values alive at once in a layer's feed-forward, or in the head, with eager scores beside."""
    scores = score_values(heads, tokens, keys, flash)
    head = tokens * (trunk.hidden + trunk.vocabulary) + scores
    return max(feed_forward_peak(layer, residuals(trunk, tokens), scores), head)
