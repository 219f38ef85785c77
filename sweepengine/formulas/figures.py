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
    Layer,
    attention_peak,
    decoder_ends,
    decoder_layer,
    feed_forward_peak,
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
    prefill_tensor_flops: int
    prefill_cuda_flops: int
    prefill_activation_io_bytes: int
    prefill_kv_io_bytes: int
    prefill_kv_cache_bytes: int
    decode_tensor_flops: int
    decode_cuda_flops: int
    decode_activation_io_bytes: int
    decode_kv_io_bytes: int
    pass_weight_io_bytes: int
    """Weights that every decoder pass reads once."""
    table_row_bytes: int
    """Of the token table, which is read a row a token."""
    table_rows: int
    weight_bytes: int
    state_bytes: int
    """Of recurrent layers, as large whatever the context."""
    decode_activation_bytes: int
    """Of a step beside its layers, where an accounting adds activations up."""
    vision_activation_bytes: int
    prefill_activation_bytes: int


class Keys(NamedTuple):
    """What each key that a step meets adds, of all layers with one kind of attention.

    Keys are tokens, or entries that stand for several (`Architecture.reaches`).

    A step's activations are the larger of two lines in the keys it meets: while it attends, and
    beside that (feed-forward, head), where only eager attention's scores grow.
    """

    decode_tensor_flops: int
    decode_cuda_flops: int
    decode_activation_io_bytes: int
    decode_kv_io_bytes: int
    cache_bytes: int
    """Of a token in the cache."""
    attention_bytes: int
    attention_growth: int
    other_bytes: int
    other_growth: int


class GroupFigures(NamedTuple):
    """What one group of layers gives."""

    figures: Figures
    keys: Keys
    entries: Keys
    """Of a layer that compresses: what each entry that a step meets adds."""
    expert_bytes: int
    """Of one expert in all layers of the group."""


SUMMED_FIGURES = Figures._fields.index("vision_activation_bytes")
SUMMED_KEYS = Keys._fields.index("attention_bytes")
"""Fields before these add up; of the others, memory, the largest remains."""


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
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        cost.weights * size,
        0,
        0,
        activation(convention, cost, cost.activation_peak),
        0,
    )  # fmt: skip


@formula
def ends_figures(
    trunk: Trunk,
    counts: tuple[Roles, ...],
    convention: Convention,
    text: int,
    image: int,
    cached: int,
) -> Figures:
    """Figures of token table, last norm and head.

    `text` tokens stand beside `image` ones, which are counted by vision, behind `cached` ones.
    """
    size, tokens = convention.dtype_bytes, text + image
    prefill = total(decoder_ends(trunk, tokens), counts)
    step = total(decoder_ends(trunk, 1), counts)
    row = trunk.hidden * counts[0].weight_io
    return Figures(
        0,
        text + cached,
        text,
        0, 0, 0, 0, 0,
        prefill.tensor_flops,
        prefill.cuda_flops,
        prefill.activation_io * size,
        0,
        0,
        step.tensor_flops,
        step.cuda_flops,
        step.activation_io * size,
        0,
        step.weight_io * size,
        row * size,
        trunk.vocabulary,
        step.weights * size,
        0,
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
    tokens: int,
    cached: int,
    flash: int,
) -> Figures:
    """Figures of the prefill of T tokens on C cached ones through one group of layers.

    Eager attention's scores stand beside the head as well: modules return them to their caller.
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
    held = group.layers * (held + state_values(group.recurrent))
    return Figures(
        0, 0, 0, 0, 0, 0, 0, 0,
        cost.tensor_flops,
        cost.cuda_flops,
        cost.activation_io * size,
        cost.kv_io * size,
        held * size,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        activation(convention, cost, peak),
    )  # fmt: skip


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


@formula
def step_keys(
    trunk: Trunk,
    group: Group,
    counts: tuple[Roles, ...],
    convention: Convention,
    flash: int,
    absorbed: int,
    entries: int,
) -> Keys:
    """What one more key of a step adds to a group of layers; with `entries` one more entry."""
    size, count, attention = convention.dtype_bytes, group.layers, group.attention
    met = entries * attention.window
    more = 1 - entries
    none = decoder_layer(group, trunk, 1, met, 0, flash, absorbed, 1)
    one = decoder_layer(group, trunk, 1, met + more, entries, flash, absorbed, 1)
    at_none = scaled(total(none, counts), count, count)
    at_one = scaled(total(one, counts), count, count)
    stream = residuals(trunk, 1)
    attending = activation(convention, at_none, attention_peak(none, stream))
    attending_one = activation(convention, at_one, attention_peak(one, stream))
    alive = (1 - convention.sums_activations) * size
    beside = alive * other_peak(none, trunk, attention.heads, 1, met, flash)
    beside_one = alive * other_peak(one, trunk, attention.heads, 1, met + 1, flash)
    held = entries * entry_values(attention) + more * cached_values(attention)
    return Keys(
        at_one.tensor_flops - at_none.tensor_flops,
        at_one.cuda_flops - at_none.cuda_flops,
        (at_one.activation_io - at_none.activation_io) * size,
        (at_one.kv_io - at_none.kv_io) * size,
        count * held * size,
        attending,
        attending_one - attending,
        beside,
        beside_one - beside,
    )


@formula
def group_steps(
    trunk: Trunk,
    group: Group,
    counts: tuple[Roles, ...],
    convention: Convention,
    flash: int,
    absorbed: int,
) -> GroupFigures:
    """Figures of one-token steps through one group of layers: meeting no key, and each key more.

    Every count of a step is affine in the keys it meets, and so are the two lines of its peak.
    Entries' lines stand beside a full window.
    """
    size, count = convention.dtype_bytes, group.layers
    none = decoder_layer(group, trunk, 1, 0, 0, flash, absorbed, 1)
    at_none = scaled(total(none, counts), count, count)
    keys = step_keys(trunk, group, counts, convention, flash, absorbed, 0)
    entries = step_keys(trunk, group, counts, convention, flash, absorbed, 1)
    return GroupFigures(
        Figures(
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            at_none.tensor_flops,
            at_none.cuda_flops,
            at_none.activation_io * size,
            at_none.kv_io * size,
            at_none.weight_io * size,
            0, 0,
            at_none.weights * size,
            count * state_values(group.recurrent) * size,
            0, 0, 0,
        ),
        keys,
        entries,
        at_none.expert_io * size,
    )  # fmt: skip
