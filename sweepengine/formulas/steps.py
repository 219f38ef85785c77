"""Figures of decode steps: what a step costs that meets no key, and what each key adds."""

from typing import NamedTuple

from sweepengine.formulas.architecture import Convention, Group, Trunk
from sweepengine.formulas.attention import cached_values, entry_values
from sweepengine.formulas.cost import Roles, formula, scaled, total
from sweepengine.formulas.decoder import attention_peak, decoder_layer
from sweepengine.formulas.figures import (
    QUARTERS,
    Figures,
    activation,
    cached_bytes,
    other_peak,
    residuals,
)
from sweepengine.formulas.formats import Formats, layer_savings, saved_in_layer
from sweepengine.formulas.layout import Layout, exchanged_values, layer_collectives, layer_links
from sweepengine.formulas.recurrent import state_values


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


SUMMED_KEYS = Keys._fields.index("attention_bytes")
"""Fields before this add up; of the others, memory, the largest remains."""


@formula
def step_keys(
    trunk: Trunk,
    group: Group,
    counts: tuple[Roles, ...],
    convention: Convention,
    flash: int,
    absorbed: int,
    cache: int,
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
        (at_one.kv_io - at_none.kv_io) * cache // QUARTERS,
        count * held * cache // QUARTERS,
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
    layout: Layout,
    formats: Formats,
    cache: int,
    flash: int,
    absorbed: int,
) -> GroupFigures:
    """Figures of one-token steps through a device's group: meeting no key, and each key more.

    Every count of a step is affine in the keys it meets, and so are the two lines of its peak.
    Entries' lines stand beside a full window.
    """
    size, count = convention.dtype_bytes, group.layers
    none = decoder_layer(group, trunk, 1, 0, 0, flash, absorbed, 1)
    at_none = scaled(total(none, counts), count, count)
    keys = step_keys(trunk, group, counts, convention, flash, absorbed, cache, 0)
    entries = step_keys(trunk, group, counts, convention, flash, absorbed, cache, 1)
    less = layer_savings(group, trunk.hidden, formats, size)
    layer = saved_in_layer(less)
    held = layer + less.expert * group.feed_forward.experts_held
    state = state_values(group.recurrent) * size
    return GroupFigures(
        Figures(
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            at_none.tensor_flops,
            at_none.cuda_flops,
            at_none.activation_io * size,
            cached_bytes(at_none.kv_io, group, size, cache),
            count * layer_links(group, trunk.hidden, 1, layout) * size,
            count * exchanged_values(group, trunk.hidden, 1, layout) * size,
            count * layer_collectives(group, layout),
            at_none.weight_io * size - count * layer * min(at_none.weight_io, 1),
            0, 0,
            at_none.weights * size - count * held * min(at_none.weights, 1),
            count * state,
            0, 0, 0, 0, 0, 0,
        ),
        keys,
        entries,
        at_none.expert_io * size - count * less.expert * min(at_none.expert_io, 1),
    )  # fmt: skip
