"""Counts of passes as figures: what a part of a model costs, and what each key adds to a step."""

from sweepengine.formulas.architecture import Backbone, Convention, Group, Span
from sweepengine.formulas.attention import entry_values, feature_values, score_values
from sweepengine.formulas.cached import read_quarters, share_quarters
from sweepengine.formulas.cost import Cost, CountedOperator, formula, scaled, total
from sweepengine.formulas.figures import QUARTERS, GroupStep, KeyGrowth, Phase, grown, phase_of
from sweepengine.formulas.formats import Formats, layer_savings, saved_in_layer
from sweepengine.formulas.layers import Layer
from sweepengine.formulas.layout import Layout, Traffic
from sweepengine.formulas.passes import EndsPart, LayerPart, at_keys_and_entries, layer_part
from sweepengine.formulas.recurrent import state_values
from sweepengine.formulas.reductions import PeakLines
from sweepengine.formulas.tokens import LayerPass, held_tokens, layers_run


@formula
def attention_peak(layer: Layer, stream: int) -> int:
    """Values alive at once while a layer attends: the residual stream of `stream`, and its own."""
    attending = layer.projections.activation_peak + layer.attention.activation_peak
    beside = layer.indexer.activation_peak + layer.compressor.activation_peak
    beside += layer.feature_keys.activation_peak
    return stream + max(attending + beside, layer.recurrent.activation_peak)


@formula
def feed_forward_peak(layer: Layer, stream: int, scores: int) -> int:
    """Values alive at once in a layer's feed-forward, beside the residual stream.

    A MoE layer holds the router's values beside the larger of its routed experts and the shared
    ones, whose input stays alive for them. An eager attention module returns its probabilities
    (`scores` values) to the layer, which holds them until it ends.
    """
    routed = max(layer.routed.activation_peak, layer.image_experts.activation_peak)
    widest = max(routed, layer.mlp.activation_peak + min(routed, 1) * stream)
    return stream + scores + layer.router.activation_peak + widest


@formula
def activation(convention: Convention, cost: Cost, peak: int) -> int:
    """Bytes of activations as the accounting reports them: alive at once, or summed."""
    sums = convention.sums_activations
    return (cost.activation_sum * sums + peak * (1 - sums)) * convention.dtype_bytes


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
    attention, seen = group.attention, part.seen
    layers = layers_run(group, seen.features)
    cost = scaled(total(part.operators, counts), layers, layers)
    peak = max(
        attention_peak(part.operators, residual_values(backbone, seen.tokens)),
        other_peak(part.operators, backbone, attention.heads, seen),
    )
    after = seen.tokens + seen.cached
    held = share_quarters(attention, cache) * held_tokens(after, Span(attention.window, 0, 1))
    if attention.stride > 0:
        compressed = Span(0, attention.stride, attention.series)
        held += entry_values(attention) * cache * held_tokens(after, compressed)
    held += feature_values(attention) * cache * seen.features
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
        layers * (held // QUARTERS + state),
        min(layers, 1) * activation(convention, cost, peak),
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
    return read_quarters(group.attention, values - states, cache) // QUARTERS + states * size


@formula
def residual_values(backbone: Backbone, tokens: int) -> int:
    """Values of the residual streams of T tokens."""
    return tokens * backbone.hidden * max(backbone.streams, backbone.alternatives, 1)


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
    attention, layers = group.attention, layers_run(group, seen.features)
    window = entries * attention.window
    none = layer_part(group, backbone, layout, at_keys_and_entries(seen, window, 0))
    more = at_keys_and_entries(seen, window + 1 - entries, entries)
    one = layer_part(group, backbone, layout, more)
    at_none = scaled(total(none.operators, counts), layers, layers)
    at_one = scaled(total(one.operators, counts), layers, layers)
    stream = residual_values(backbone, seen.tokens)
    runs = min(layers, 1)
    attending = runs * activation(convention, at_none, attention_peak(none.operators, stream))
    attending_one = runs * activation(convention, at_one, attention_peak(one.operators, stream))
    alive = runs * (1 - convention.sums_activations) * convention.dtype_bytes
    other = alive * other_peak(none.operators, backbone, attention.heads, none.seen)
    other_one = alive * other_peak(one.operators, backbone, attention.heads, one.seen)
    held = (1 - entries) * share_quarters(attention, cache)
    held += entries * entry_values(attention) * cache
    read = at_one.kv_io - at_none.kv_io
    more_counts = grown(
        phase_of(convention, at_none, none.traffic, 0, 0, 0),
        phase_of(convention, at_one, one.traffic, 0, 0, 0),
    )
    return KeyGrowth(
        counts=more_counts._replace(
            kv_io_bytes=read_quarters(attention, read, cache) // QUARTERS,
            cache_bytes=layers * held // QUARTERS,
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

    Parameters are those of `key_growth`; `formats` are those of weights, by role.
    """
    size, layers = convention.dtype_bytes, layers_run(group, seen.features)
    part = layer_part(group, backbone, layout, seen)
    filling = part
    if group.attention.crossed or group.feed_forward.image_width:
        filling = layer_part(group, backbone, layout, seen._replace(made=seen.features))
    of_layer = total(part.operators, counts)
    cost = scaled(of_layer, layers, layers)
    first = layers * total(filling.operators, counts).weight_io
    phase = group_phase(convention, counts, group, backbone, part, cache)
    less = layer_savings(group, backbone.hidden, formats, size)
    layer = saved_in_layer(less)
    unmet = less.image_experts * (1 - min(seen.features, 1))
    held = layer + (less.expert - less.padding) * group.feed_forward.experts_held
    every = group.layers * of_layer.weights
    features = feature_values(group.attention) * seen.features * cache // QUARTERS
    return GroupStep(
        counts=phase._replace(
            cache_bytes=layers * (features + state_values(group.recurrent) * size),
            activation_bytes=0,
        ),
        keys=key_growth(convention, counts, group, backbone, layout, seen, 0, cache),
        entries=key_growth(convention, counts, group, backbone, layout, seen, 1, cache),
        read_bytes=cost.weight_io * size
        - layers * (layer - less.feature_keys - less.image_experts) * min(cost.weight_io, 1),
        prefill_read_bytes=first * size - layers * (layer - unmet) * min(first, 1),
        held_bytes=every * size - group.layers * held * min(every, 1),
        expert_bytes=cost.expert_io * size - layers * less.expert * min(cost.expert_io, 1),
    )
