"""A pass through a model: the one list of its operators.

A pass is sequences with new tokens behind cached ones, so prefill, a chunk of it, a decode step and
a verification step of several drafted tokens are the same thing (docs/decoders.md, "A pass").
Counts, times, parameters and explanations are folds over the parts of a pass; an operator is known
by its phase, the position of its group and its field's name, never by a title.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import Backbone, Convention, Group, Span
from sweepengine.formulas.attention_times import StepLines, step_lines, time_spans
from sweepengine.formulas.cost import Cost, add, formula, scaled
from sweepengine.formulas.layer_times import EndTimes, LayerTimes, end_times, layer_times
from sweepengine.formulas.layers import Ends, Layer, decoder_layer, ends_on_device
from sweepengine.formulas.layout import (
    EndsHeld,
    Layout,
    Share,
    Traffic,
    both_traffic,
    context_traffic,
    ends_traffic,
    layer_traffic,
)
from sweepengine.formulas.reductions import cached_before
from sweepengine.formulas.seconds import NO_LINE, Line
from sweepengine.formulas.speculation import (
    ONE_TOKEN,
    DecodeStep,
    keys_of_answer,
    steps_of_answer,
)
from sweepengine.formulas.speeds import Speeds
from sweepengine.formulas.tokens import LayerPass, Pass, layers_run, seen_by

ENDS = -1
"""Position that stands for the ends, among those of groups."""


class LayerPart(NamedTuple):
    """One layer in a pass of one sequence."""

    operators: Layer
    traffic: Traffic
    seen: LayerPass


class EndsPart(NamedTuple):
    """Token table, last norm and head in a pass of one sequence."""

    operators: Ends
    traffic: Traffic


class Part(NamedTuple):
    """A part of a model in a pass of one sequence."""

    group: int
    """Position of a group of layers; `ENDS`."""
    layers: int
    """That the group has, each of which costs what `operators` say."""
    operators: Layer | Ends
    traffic: Traffic


class TimedPart(NamedTuple):
    """A part of a model in a pass of all its sequences, us."""

    group: int
    layers: int
    operators: LayerTimes | EndTimes
    lines: tuple[tuple[str, Line, Span], ...]
    """Of a decode step: operators whose time in a layer is a line in the keys that they meet."""


@formula
def layer_part(group: Group, backbone: Backbone, layout: Layout, seen: LayerPass) -> LayerPart:
    """One layer in a pass.

    Parameters
    ----------
    group, backbone, layout : Group, Backbone, Layout
        A device's share.
    seen : LayerPass
        What the layer sees of the pass.
    """
    own = seen
    if group.attention.crossed > 0:
        own = at_keys_and_entries(seen, seen.features, 0)
    return LayerPart(
        operators=decoder_layer(group, backbone, own),
        traffic=both_traffic(
            layer_traffic(group, backbone.hidden, seen.tokens, layout),
            context_traffic(group.attention, seen),
        ),
        seen=own,
    )


@formula
def ends_part(backbone: Backbone, layout: Layout, ends: EndsHeld, tokens: int) -> EndsPart:
    """The ends in a pass over T tokens.

    Parameters
    ----------
    backbone, layout, ends : Backbone, Layout, EndsHeld
        A device's share.
    tokens : int
        T.
    """
    return EndsPart(
        operators=ends_on_device(backbone, tokens, ends),
        traffic=ends_traffic(backbone, tokens, layout, ends),
    )


@formula
def at_keys_and_entries(seen: LayerPass, keys: int, entries: int) -> LayerPass:
    """The same pass where each token meets so many keys and entries."""
    return LayerPass(
        tokens=seen.tokens,
        cached=seen.cached,
        keys=keys,
        entries=entries,
        flash=seen.flash,
        absorbed=seen.absorbed,
        features=seen.features,
        made=seen.made,
    )


@formula
def step_of_none(flash: int, absorbed: int, features: int, tokens: int) -> LayerPass:
    """A decode step of T new tokens that meets no key but S features: each key and entry adds.

    Parameters
    ----------
    flash, absorbed : int
        As `LayerPass` has them.
    features, tokens : int
        S, and T.
    """
    return LayerPass(
        tokens=tokens,
        cached=1,
        keys=0,
        entries=0,
        flash=flash,
        absorbed=absorbed,
        features=features,
        made=0,
    )


def pass_of(
    share: Share, tokens: int, cached: int, flash: int, absorbed: int, features: int = 0
) -> tuple[Part, ...]:
    """All parts of a model in a pass of one sequence: the ends, then groups in their order.

    Parameters
    ----------
    share : Share
        Of the busiest device.
    tokens, cached : int
        New tokens, and those before them in the KV cache.
    flash : int
        1: flash attention; 0: eager.
    absorbed : int
        1: latents are absorbed, as engines decode; 0: expanded.
    features : int
        Rows of images that cross attention makes keys of.
    """
    found = [_ends(share, tokens)]
    for i, group in enumerate(share.groups):
        seen = seen_by(group.attention, tokens, cached, flash, absorbed, features)
        part = layer_part(group, share.backbone, share.layout, seen)
        found.append(Part(i, layers_run(group, features), part.operators, part.traffic))
    return tuple(found)


def steps_of(
    share: Share,
    convention: Convention,
    context: int,
    answer: int,
    flash: int,
    absorbed: int,
    features: int = 0,
    step: DecodeStep = ONE_TOKEN,
) -> tuple[Part, ...]:
    """All parts of a model in all decode passes of an answer together, in closed form.

    Weights are those of one pass. A count of a pass is affine in the keys it meets, so n passes
    cost n times one that meets none and, for each key that they meet in all, what a key adds.

    Parameters
    ----------
    share, convention : Share, Convention
        Of the busiest device, and of the accounting.
    context, answer : int
        Tokens that the first step finds, and K, those of the answer.
    flash, absorbed : int
        As `pass_of` takes them.
    features : int
        Rows of images whose keys cross attention meets in each step.
    step : DecodeStep
        Passes and their tokens: one of each where nothing is drafted.
    """
    none = step_of_none(flash, absorbed, features, step.tokens)
    before = cached_before(convention, context)
    steps = step.passes * steps_of_answer(answer, step.accepted)
    ends = _ends(share, step.tokens)
    found = [ends._replace(operators=Ends(*(scaled(cost, steps, 1) for cost in ends.operators)))]
    for i, group in enumerate(share.groups):
        own = group.attention
        met = keys_of_answer(before, answer, Span(own.window, 0, 1), step)
        entries = 0
        if own.stride:
            entries = keys_of_answer(before, answer, Span(0, own.stride, own.series), step)
        without, key, entry = (
            layer_part(group, share.backbone, share.layout, at_keys_and_entries(none, *one))
            for one in ((0, 0), (1, 0), (0, 1))
        )
        operators = []
        for first, *others in zip(without.operators, key.operators, entry.operators, strict=True):
            cost = scaled(first, steps, 1)
            for other, count in zip(others, (met, entries), strict=True):
                cost = add(cost, scaled(_difference(first, other), count, 0))
            operators.append(cost)
        found.append(Part(i, layers_run(group, features), Layer(*operators), without.traffic))
    return tuple(found)


def _ends(share: Share, tokens: int) -> Part:
    part = ends_part(share.backbone, share.layout, share.ends, tokens)
    return Part(ENDS, 1, part.operators, part.traffic)


def _difference(none: Cost, one: Cost) -> Cost:
    return Cost(*(b - a for a, b in zip(none, one, strict=True)))


def times_of(share: Share, one: Pass, speeds: Speeds) -> tuple[TimedPart, ...]:
    """Times of all parts of a model in a pass.

    Parameters
    ----------
    share : Share
        What a pass runs through (`layout.all_layers_of`).
    one : Pass
        Sequences of one data-parallel group.
    speeds : Speeds
        Rates of the device.
    """
    ends = end_times(share.backbone, share.layout, share.ends, one, speeds)
    found = [TimedPart(ENDS, 1, ends, ())]
    for i, group in enumerate(share.groups):
        layer = layer_times(group, share.backbone, share.layout, one, speeds)
        lines = StepLines(NO_LINE, NO_LINE)
        if one.decode:
            lines = step_lines(group.attention, one.sequences, speeds, one.tokens)
        spans = time_spans(group.attention)
        grow = zip(("attention", "indexer"), lines, spans, strict=True)
        found.append(
            TimedPart(
                i,
                layers_run(group, one.features),
                layer,
                tuple(line for line in grow if any(line[1])),
            )
        )
    return tuple(found)
