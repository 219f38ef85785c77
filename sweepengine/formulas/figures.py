"""Figures of one workload: what reductions make output columns of.

A workload is all that a point is but its decode steps and batch size. Counts of a pass add up over
the parts of a model (ends, groups of layers); activation memory is the largest of theirs. The
kernel keeps a table with a row for each field.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import Backbone, Convention, Group, Span
from sweepengine.formulas.attention import cached_values, entry_values, score_values
from sweepengine.formulas.cost import Cost, CountedOperator, formula, scaled, total
from sweepengine.formulas.formats import Formats, layer_savings, saved_in_layer
from sweepengine.formulas.layers import Layer, attention_peak, feed_forward_peak
from sweepengine.formulas.layout import Layout, Traffic, devices, expert_groups
from sweepengine.formulas.passes import EndsPart, LayerPart, at_keys_and_entries, layer_part
from sweepengine.formulas.points import Tokens
from sweepengine.formulas.recurrent import state_values
from sweepengine.formulas.reductions import PeakLines
from sweepengine.formulas.tokens import LayerPass, held_tokens

QUARTERS = 32
"""Quarter bits of a byte."""


class Phase(NamedTuple):
    """Counts of one pass of one sequence: of vision, of prefill, or of a decode step."""

    tensor_flops: int
    cuda_flops: int
    activation_io_bytes: int
    kv_io_bytes: int
    link_bytes: int
    """Sent to other devices."""
    exchange_bytes: int
    """Of them those to experts of other tensor groups and back."""
    collectives: int
    cache_bytes: int
    """In the KV cache after the pass; of a step what does not depend on the context."""
    activation_bytes: int
    """The largest of the parts, or their sum where the accounting adds activations up."""


class Weights(NamedTuple):
    """Weights of a device."""

    held_bytes: int
    vision_read_bytes: int
    """Read once by a pass of vision."""
    read_bytes: int
    """Read once by each pass of the decoder, beside table and experts."""
    table_row_bytes: int
    """Of the token table, which is read a row a token."""
    table_rows: int


class Devices(NamedTuple):
    """Devices of a layout."""

    devices: int
    data_parallel: int
    expert_groups: int
    """Tensor groups that share experts, which meet the tokens of all of them."""


class Figures(NamedTuple):
    """What a workload costs; of decode, what a step costs that meets no key."""

    tokens: Tokens
    vision: Phase
    prefill: Phase
    decode: Phase
    weights: Weights
    devices: Devices


class KeyGrowth(NamedTuple):
    """What each key that a step meets adds, of all layers with one attention span."""

    counts: Phase
    """Its cache_bytes are those of a token, or of an entry, in the KV cache."""
    peak: PeakLines


class GroupStep(NamedTuple):
    """A decode step of one sequence through a group of layers."""

    counts: Phase
    """Of a step that meets no key."""
    keys: KeyGrowth
    entries: KeyGrowth
    """Of a layer that compresses: what each entry that a step meets adds."""
    read_bytes: int
    """Weights that each pass reads, beside experts."""
    held_bytes: int
    expert_bytes: int
    """Of one expert in all layers of the group."""


def _zeros(record: type[NamedTuple]) -> tuple[int, ...]:
    return (0,) * len(record._fields)


NO_PHASE = Phase(*_zeros(Phase))
NO_GROWTH = KeyGrowth(NO_PHASE, PeakLines(*_zeros(PeakLines)))


@formula
def larger(one: int, other: int, sums: int) -> int:
    """The larger of two parts' activations, or their sum where the accounting adds them up."""
    return max(one, other) + sums * min(one, other)


@formula
def merged(one: Phase, other: Phase, sums: int) -> Phase:
    """Counts of two parts of a model together."""
    return Phase(
        tensor_flops=one.tensor_flops + other.tensor_flops,
        cuda_flops=one.cuda_flops + other.cuda_flops,
        activation_io_bytes=one.activation_io_bytes + other.activation_io_bytes,
        kv_io_bytes=one.kv_io_bytes + other.kv_io_bytes,
        link_bytes=one.link_bytes + other.link_bytes,
        exchange_bytes=one.exchange_bytes + other.exchange_bytes,
        collectives=one.collectives + other.collectives,
        cache_bytes=one.cache_bytes + other.cache_bytes,
        activation_bytes=larger(one.activation_bytes, other.activation_bytes, sums),
    )


def merged_growth(one: KeyGrowth, other: KeyGrowth, sums: int) -> KeyGrowth:
    """What a key adds in two groups of one attention span together."""
    lines = zip(one.peak, other.peak, strict=True)
    return KeyGrowth(
        merged(one.counts, other.counts, sums), PeakLines(*(larger(*two, sums) for two in lines))
    )


@formula
def activation(convention: Convention, cost: Cost, peak: int) -> int:
    """Bytes of activations as the accounting reports them: alive at once, or summed."""
    sums = convention.sums_activations
    return (cost.activation_sum * sums + peak * (1 - sums)) * convention.dtype_bytes


@formula
def phase_of(
    convention: Convention,
    cost: Cost,
    traffic: Traffic,
    kv_io_bytes: int,
    cache_bytes: int,
    activation_bytes: int,
) -> Phase:
    """Counts of a part of a model in bytes.

    Parameters
    ----------
    convention : Convention
        Of the accounting.
    cost, traffic : Cost, Traffic
        Of all layers of the part.
    kv_io_bytes, cache_bytes, activation_bytes : int
        As `Phase` has them.
    """
    size = convention.dtype_bytes
    return Phase(
        tensor_flops=cost.tensor_flops,
        cuda_flops=cost.cuda_flops,
        activation_io_bytes=cost.activation_io * size,
        kv_io_bytes=kv_io_bytes,
        link_bytes=traffic.values * size,
        exchange_bytes=traffic.exchanged * size,
        collectives=traffic.collectives,
        cache_bytes=cache_bytes,
        activation_bytes=activation_bytes,
    )


@formula
def ends_phase(
    convention: Convention, counts: tuple[CountedOperator, ...], part: EndsPart, step: int
) -> Phase:
    """Token table, last norm and head; the peak of a step's head is among the lines of its layers.

    Parameters
    ----------
    convention, counts : Convention, tuple of CountedOperator
        Of the accounting.
    part : EndsPart
        In one pass.
    step : int
        1: of a decode step.
    """
    cost = total(part.operators, counts)
    peak = activation(convention, cost, (1 - step) * cost.activation_peak)
    return phase_of(convention, cost, part.traffic, 0, 0, peak)


@formula
def group_phase(
    convention: Convention,
    counts: tuple[CountedOperator, ...],
    group: Group,
    backbone: Backbone,
    part: LayerPart,
    cache: int,
) -> Phase:
    """A pass of one sequence through a group of layers.

    Eager attention's scores stand beside the head as well: modules return them to their caller.

    Parameters
    ----------
    convention, counts : Convention, tuple of CountedOperator
        Of the accounting.
    group, backbone : Group, Backbone
        A device's share.
    part : LayerPart
        One layer in the pass.
    cache : int
        Quarter bits of a cached value.
    """
    attention, layers, seen = group.attention, group.layers, part.seen
    cost = scaled(total(part.operators, counts), layers, layers)
    peak = max(
        attention_peak(part.operators, residual_values(backbone, seen.tokens)),
        other_peak(part.operators, backbone, attention.heads, seen),
    )
    after = seen.tokens + seen.cached
    held = cached_values(attention) * held_tokens(after, Span(attention.window, 0, 1))
    if attention.stride > 0:
        compressed = Span(0, attention.stride, attention.series)
        held += entry_values(attention) * held_tokens(after, compressed)
    state = state_values(group.recurrent) * convention.dtype_bytes
    return phase_of(
        convention,
        cost,
        Traffic(
            values=layers * part.traffic.values,
            exchanged=layers * part.traffic.exchanged,
            collectives=layers * part.traffic.collectives,
        ),
        cached_bytes(cost.kv_io, group, convention.dtype_bytes, cache),
        layers * (held * cache // QUARTERS + state),
        activation(convention, cost, peak),
    )


@formula
def cached_bytes(values: int, group: Group, size: int, cache: int) -> int:
    """Bytes of cached values that a group moves, of which recurrent states keep their width.

    Parameters
    ----------
    values : int
        Cached values and states that all its layers move.
    group : Group
        A device's share.
    size, cache : int
        Bytes of an unquantised value, and quarter bits of a cached one.
    """
    states = min(values, 2 * group.layers * state_values(group.recurrent))
    return (values - states) * cache // QUARTERS + states * size


@formula
def residual_values(backbone: Backbone, tokens: int) -> int:
    """Values of the residual streams of T tokens."""
    return tokens * backbone.hidden * max(backbone.streams, 1)


@formula
def other_peak(layer: Layer, backbone: Backbone, heads: int, seen: LayerPass) -> int:
    """Values alive at once in a layer's feed-forward, or in the head, with eager scores beside.

    Parameters
    ----------
    layer : Layer
        Its operators in the pass.
    backbone : Backbone
        A device's share.
    heads : int
        Query heads of the device.
    seen : LayerPass
        The pass.
    """
    scores = score_values(heads, seen.tokens, seen.keys + seen.entries, seen.flash)
    head = seen.tokens * (backbone.hidden + backbone.vocabulary) + scores
    return max(feed_forward_peak(layer, residual_values(backbone, seen.tokens), scores), head)


@formula
def key_growth(
    convention: Convention,
    counts: tuple[CountedOperator, ...],
    group: Group,
    backbone: Backbone,
    layout: Layout,
    seen: LayerPass,
    entries: int,
    cache: int,
) -> KeyGrowth:
    """What one more key of a step adds to a group of layers; with `entries` one more entry.

    Every count of a step is affine in the keys it meets, and so are the two lines of its peak.

    Parameters
    ----------
    convention, counts : Convention, tuple of CountedOperator
        Of the accounting.
    group, backbone, layout : Group, Backbone, Layout
        A device's share.
    seen : LayerPass
        A step that meets no key.
    entries : int
        1: of an entry, beside a full window; 0: of a key.
    cache : int
        Quarter bits of a cached value.
    """
    layers, attention = group.layers, group.attention
    window = entries * attention.window
    none = layer_part(group, backbone, layout, at_keys_and_entries(seen, window, 0))
    more = at_keys_and_entries(seen, window + 1 - entries, entries)
    one = layer_part(group, backbone, layout, more)
    at_none = scaled(total(none.operators, counts), layers, layers)
    at_one = scaled(total(one.operators, counts), layers, layers)
    stream = residual_values(backbone, seen.tokens)
    attending = activation(convention, at_none, attention_peak(none.operators, stream))
    attending_one = activation(convention, at_one, attention_peak(one.operators, stream))
    alive = (1 - convention.sums_activations) * convention.dtype_bytes
    other = alive * other_peak(none.operators, backbone, attention.heads, none.seen)
    other_one = alive * other_peak(one.operators, backbone, attention.heads, one.seen)
    held = entries * entry_values(attention) + (1 - entries) * cached_values(attention)
    return KeyGrowth(
        counts=Phase(
            tensor_flops=at_one.tensor_flops - at_none.tensor_flops,
            cuda_flops=at_one.cuda_flops - at_none.cuda_flops,
            activation_io_bytes=(at_one.activation_io - at_none.activation_io)
            * convention.dtype_bytes,
            kv_io_bytes=(at_one.kv_io - at_none.kv_io) * cache // QUARTERS,
            link_bytes=0,
            exchange_bytes=0,
            collectives=0,
            cache_bytes=layers * held * cache // QUARTERS,
            activation_bytes=0,
        ),
        peak=PeakLines(
            attention_bytes=attending,
            attention_growth=attending_one - attending,
            other_bytes=other,
            other_growth=other_one - other,
        ),
    )


@formula
def group_step(
    convention: Convention,
    counts: tuple[CountedOperator, ...],
    group: Group,
    backbone: Backbone,
    layout: Layout,
    seen: LayerPass,
    formats: Formats,
    cache: int,
) -> GroupStep:
    """A decode step through a device's group of layers: meeting no key, and each key more.

    Parameters
    ----------
    convention, counts : Convention, tuple of CountedOperator
        Of the accounting.
    group, backbone, layout : Group, Backbone, Layout
        A device's share.
    seen : LayerPass
        A step that meets no key.
    formats : Formats
        Of weights, by role.
    cache : int
        Quarter bits of a cached value.
    """
    size, layers = convention.dtype_bytes, group.layers
    part = layer_part(group, backbone, layout, seen)
    cost = scaled(total(part.operators, counts), layers, layers)
    phase = group_phase(convention, counts, group, backbone, part, cache)
    less = layer_savings(group, backbone.hidden, formats, size)
    layer = saved_in_layer(less)
    held = layer + less.expert * group.feed_forward.experts_held
    return GroupStep(
        counts=phase._replace(
            cache_bytes=layers * state_values(group.recurrent) * size, activation_bytes=0
        ),
        keys=key_growth(convention, counts, group, backbone, layout, seen, 0, cache),
        entries=key_growth(convention, counts, group, backbone, layout, seen, 1, cache),
        read_bytes=cost.weight_io * size - layers * layer * min(cost.weight_io, 1),
        held_bytes=cost.weights * size - layers * held * min(cost.weights, 1),
        expert_bytes=cost.expert_io * size - layers * less.expert * min(cost.expert_io, 1),
    )


def device_counts(layout: Layout) -> Devices:
    """Devices of a layout."""
    return Devices(devices(layout), layout.data, expert_groups(layout))
