"""The compiled sweep: a table of workloads, then a loop over points.

What varies with crops, sizes, text, heads and attention is computed once for each workload: vision,
and prefill through all parts of the model. `fill` decodes the linear index of each point itself,
finds its workload, decode steps and batch size, and scales the workload's figures. All call the
very functions that plain Python calls. They are serial and hold no lock, so that threads run them
side by side.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.engine.compiled import compiled, inner
from sweepengine.engine.readers import reader
from sweepengine.engine.records import FIGURES, GROWTH
from sweepengine.formulas.architecture import Backbone, Convention, Group, Span
from sweepengine.formulas.cost import CountedOperator
from sweepengine.formulas.figures import larger, merged
from sweepengine.formulas.layout import EndsHeld, Layout
from sweepengine.formulas.passes import ends_part, layer_part
from sweepengine.formulas.phases import ends_phase, group_phase
from sweepengine.formulas.reductions import (
    PeakLines,
    activated_experts,
    cached_after,
    cached_before,
    keys_met,
    last_keys,
    over_steps,
    read_once,
    step_bytes,
)
from sweepengine.formulas.speculation import (
    DecodeStep,
    keys_of_answer,
    most_keys_of_answer,
    steps_of_answer,
)
from sweepengine.formulas.tokens import ceil_div, seen_by
from sweepengine.grid.columns import (
    AS_IS,
    CACHE_AFTER,
    LAST_STEP,
    OVER_STEPS,
    PER_SEQUENCE,
    PREFILL_READS,
    READ_ONCE,
)

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

RUN = 512
"""Points handled together: their index arrays stay in the first-level cache."""
CONTEXT, PREFILL_TOKENS, TABLE_ROW, TABLE_ROWS, DATA, EXPERT_GROUPS, NEW, PASSES, ACCEPTED = (
    FIGURES.index(name)
    for name in ("tokens.context", "tokens.prefill", "weights.table_row_bytes",
                 "weights.table_rows", "devices.data_parallel", "devices.expert_groups",
                 "step.tokens", "step.passes", "step.accepted")
)  # fmt: skip
CACHE_BYTES = GROWTH.index("counts.cache_bytes")
PEAK = GROWTH.index(f"peak.{PeakLines._fields[0]}")
PEAK_END = PEAK + len(PeakLines._fields)


class Around(NamedTuple):
    """A device's share of a model beside its groups of layers."""

    backbone: Backbone
    layout: Layout
    ends: EndsHeld


class Prefilled(NamedTuple):
    """What the prefill of a workload depends on."""

    share: int
    """Position of the device's share."""
    tokens: int
    cached: int
    flash: int
    cache_bits: int
    """Quarter bits of a cached value."""
    features: int
    """Rows of images that cross attention makes keys of."""


class Tables(NamedTuple):
    """Figures of W distinct workloads."""

    figures: Integers
    """Shape (FIGURES, W)."""
    growth: Integers
    """Shape (spans, GROWTH, W)."""
    experts: Integers
    """Bytes of one expert, and how many a device holds; shape (kinds of routing, 2, W)."""


group_at = reader(Group)
around_at = reader(Around)
prefilled_at = reader(Prefilled)
span_at = reader(Span)
lines_at = reader(PeakLines)


@compiled("decoder")
def fill_prefill(
    convention: Convention,
    layer_counts: tuple[CountedOperator, ...],
    end_counts: tuple[CountedOperator, ...],
    around: Integers,
    groups: Integers,
    cases: Integers,
    out: Integers,
) -> None:
    """Prefill of each workload through all parts of the model, shape (fields of `Phase`, W).

    Parameters
    ----------
    convention, layer_counts, end_counts : Convention, tuple of CountedOperator
        Of the accounting.
    around, groups : int64 array, shape (S, numbers of `Around`), (S, groups, numbers of `Group`)
        Distinct shares of a device.
    cases : int64 array, shape (W, fields of `Prefilled`)
        Workloads.
    out : int64 array
        To be filled.
    """
    sums = convention.sums_activations
    for row in range(len(cases)):
        case = prefilled_at(cases[row])
        at = around_at(around[case.share])
        ends = ends_part(at.backbone, at.layout, at.ends, case.tokens)
        found = ends_phase(convention, end_counts, ends, 0)
        for position in range(groups.shape[1]):
            group = group_at(groups[case.share, position])
            seen = seen_by(group.attention, case.tokens, case.cached, case.flash, 0, case.features)
            part = layer_part(group, at.backbone, at.layout, seen)
            phase = group_phase(convention, layer_counts, group, at.backbone, part, case.cache_bits)
            found = merged(found, phase, sums)
        for field in range(len(found)):
            out[field, row] = found[field]


@inner
def _locate(start: int, axes: Integers, lengths: Integers, found: Integers) -> None:
    """Decode `found.shape[1]` linear indices from `start` on: workload, tokens decoded, batch size.

    Each axis value adds its part to the three; the last axis is fastest.
    """
    last = len(lengths) - 1
    fastest = lengths[last]
    first_of_last = 0
    for axis in range(last):
        first_of_last += lengths[axis]
    position = 0
    while position < found.shape[1]:
        index = start + position
        digit = index % fastest
        index //= fastest
        workload, steps, batch = 0, 0, 0
        offset = first_of_last
        for axis in range(last - 1, -1, -1):
            offset -= lengths[axis]
            value = offset + index % lengths[axis]
            index //= lengths[axis]
            workload += axes[0, value]
            steps += axes[1, value]
            batch += axes[2, value]
        count = min(fastest - digit, found.shape[1] - position)
        for step in range(count):
            value = first_of_last + digit + step
            found[0, position + step] = workload + axes[0, value]
            found[1, position + step] = steps + axes[1, value]
            found[2, position + step] = batch + axes[2, value]
        position += count


@inner
def _share(tables: Tables, found: Integers) -> None:
    """Sequences of one device: a data-parallel layout has `ceil(B/a)` of them on each."""
    data = tables.figures[DATA]
    for i in range(found.shape[1]):
        if data[found[0, i]] > 1:
            found[2, i] = ceil_div(found[2, i], data[found[0, i]])


@inner
def _step(tables: Tables, row: int) -> DecodeStep:
    """A decode step of a workload."""
    figures = tables.figures
    return DecodeStep(figures[NEW, row], figures[PASSES, row], figures[ACCEPTED, row])


@inner
def _met(convention: Convention, tables: Tables, spans: Integers, drafted: int, found: Integers,
         met: Integers) -> None:  # fmt: skip
    """Keys that all passes of each point meet, for each span, and steps for tokens decoded."""
    context = tables.figures[CONTEXT]
    for kind in range(len(spans)):
        span = span_at(spans[kind])
        if drafted:
            for i in range(found.shape[1]):
                row = found[0, i]
                before = cached_before(convention, context[row])
                met[kind, i] = keys_of_answer(before, found[1, i], span, _step(tables, row))
        else:
            for i in range(found.shape[1]):
                met[kind, i] = keys_met(convention, context[found[0, i]], found[1, i], span)
    if drafted:
        for i in range(found.shape[1]):
            found[3, i] = steps_of_answer(found[1, i], tables.figures[ACCEPTED, found[0, i]])


@inner
def _integer_column(
    convention: Convention,
    tables: Tables,
    spans: Integers,
    plan: Integers,
    drafted: int,
    found: Integers,
    met: Integers,
    out: Integers,
) -> None:
    reduction, steps_row = plan[0], 3 if drafted else 1
    figures, context = tables.figures[plan[1]], tables.figures[CONTEXT]
    if reduction == AS_IS:
        for i in range(len(out)):
            out[i] = figures[found[0, i]]
    elif reduction == PER_SEQUENCE:
        for i in range(len(out)):
            out[i] = found[2, i] * figures[found[0, i]]
    elif reduction == OVER_STEPS:
        for i in range(len(out)):
            out[i] = over_steps(found[steps_row, i], figures[found[0, i]])
        for kind in range(len(spans) if plan[2] >= 0 else 0):
            growth = tables.growth[kind, plan[2]]
            for i in range(len(out)):
                out[i] += met[kind, i] * growth[found[0, i]]
        for i in range(len(out)):
            out[i] *= found[2, i]
    elif reduction == LAST_STEP:
        for i in range(len(out)):
            row, steps = found[0, i], found[1, i]
            held = 0
            for kind in range(len(spans)):
                lines = lines_at(tables.growth[kind, PEAK:PEAK_END, row])
                span = span_at(spans[kind])
                if drafted:
                    before = cached_before(convention, context[row])
                    last = most_keys_of_answer(before, steps, span, _step(tables, row))
                else:
                    last = last_keys(convention, context[row], steps, span)
                step = step_bytes(lines, last)
                held = larger(held, step, convention.sums_activations)
            out[i] = found[2, i] * (held + figures[row]) * min(steps, 1)
    elif reduction == CACHE_AFTER:
        for i in range(len(out)):
            row = found[0, i]
            held = figures[row]
            for kind in range(len(spans)):
                tokens = cached_after(convention, context[row], found[1, i], span_at(spans[kind]))
                held += tables.growth[kind, CACHE_BYTES, row] * tokens
            out[i] = found[2, i] * held


@inner
def _float_column(
    tables: Tables, routings: Integers, plan: Integers, drafted: int, found: Integers, out: Floats
) -> None:
    reduction, figures = plan[0], tables.figures[plan[1]]
    if reduction == READ_ONCE:
        for i in range(len(out)):
            out[i] = figures[found[0, i]]
        return
    prefill = reduction == PREFILL_READS
    known_row, known_tokens, read = -1, -1, 0.0
    for i in range(len(out)):
        row = found[0, i]
        tokens = found[2, i] * tables.figures[PREFILL_TOKENS, row] if prefill else found[2, i]
        if drafted and not prefill:
            tokens *= tables.figures[NEW, row]
        if row != known_row or tokens != known_tokens:
            table_row = tables.figures[TABLE_ROW, row]
            read = read_once(figures[row], table_row, tables.figures[TABLE_ROWS, row], tokens)
            met = tokens * tables.figures[EXPERT_GROUPS, row]
            for kind in range(len(routings)):
                one, held = tables.experts[kind, 0, row], tables.experts[kind, 1, row]
                read += activated_experts(held, routings[kind, 0], routings[kind, 1], met) * one
            known_row, known_tokens = row, tokens
        passes = found[3, i] * tables.figures[PASSES, row] if drafted else found[1, i]
        out[i] = read if prefill else passes * read


@compiled("fill")
def fill(
    convention: Convention,
    tables: Tables,
    spans: Integers,
    routings: Integers,
    start: int,
    stop: int,
    axes: Integers,
    lengths: Integers,
    plan: Integers,
    drafted: int,
    integers: Integers,
    floats: Floats,
) -> None:
    """Fill columns of points `start` to `stop`; `integers` and `floats` hold those of all points.

    Parameters
    ----------
    convention, tables : Convention, Tables
        Of the accounting, and of the workloads.
    spans, routings : int64 array, shape (spans, 3), (kinds of routing, 2)
        `Architecture.spans`; experts and experts a token.
    start, stop : int
        Linear indices.
    axes, lengths : int64 array
        As `compute.product_of` makes them.
    plan : int64 array, shape (columns, 3)
        Of each column its reduction, row of figures, and row of what keys add (-1: nothing).
    drafted : int
        1: steps of some workload are of several passes or tokens.
    integers, floats : array, shape (columns, points)
        To be filled.
    """
    found = np.empty((4, RUN), np.int64)
    met = np.empty((len(spans), RUN), np.int64)
    for low in range(start, stop, RUN):
        high = min(stop, low + RUN)
        here = found[:, : high - low]
        _locate(low, axes, lengths, here)
        _share(tables, here)
        _met(convention, tables, spans, drafted, here, met)
        whole, real = 0, 0
        for column in range(len(plan)):
            if plan[column, 0] < READ_ONCE:
                _integer_column(convention, tables, spans, plan[column], drafted, here, met,
                                integers[whole, low:high])  # fmt: skip
                whole += 1
            else:
                _float_column(tables, routings, plan[column], drafted, here,
                              floats[real, low:high])  # fmt: skip
                real += 1
