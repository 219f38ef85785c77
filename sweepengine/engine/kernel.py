"""The compiled sweep: a table of workloads, then a loop over points.

What varies with crops, sizes, text, heads and attention is computed once for each workload: vision,
ends and each group of layers add their figures to the table. `fill` decodes the linear index of
each point itself, finds its workload, decode steps and batch size, and scales the workload's
figures. All call the very functions that plain Python calls. They are serial and hold no lock, so
that threads run them side by side.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.engine.compiled import compiled, inner
from sweepengine.formulas.architecture import Convention, Counts, Group, Reach, Towers, Trunk
from sweepengine.formulas.attention import with_heads
from sweepengine.formulas.cost import Roles
from sweepengine.formulas.figures import (
    SUMMED_FIGURES,
    Figures,
    ends_figures,
    group_prefill,
    larger,
    vision_figures,
)
from sweepengine.formulas.layout import Layout, share_group, share_trunk
from sweepengine.formulas.steps import SUMMED_KEYS, Keys
from sweepengine.formulas.tokens import ceil_div, image_tokens
from sweepengine.formulas.ways import (
    cached_after,
    keys_met,
    last_keys,
    over_steps,
    read_once,
    step_bytes,
    touched_experts,
)
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
IMAGE_TOKENS, CONTEXT, PREFILL_TOKENS, TABLE_ROW, TABLE_ROWS, DATA, EXPERT_GROUPS = (
    Figures._fields.index(name)
    for name in ("image_tokens", "context_tokens", "prefill_tokens", "table_row_bytes",
                 "table_rows", "data_parallel", "expert_groups")
)  # fmt: skip
CACHE_BYTES, ATTENDING = Keys._fields.index("cache_bytes"), SUMMED_KEYS


class Tables(NamedTuple):
    """Figures of W distinct workloads."""

    figures: Integers
    """Shape (fields of `Figures`, W)."""
    keys: Integers
    """Shape (kinds of keys, fields of `Keys`, W)."""
    experts: Integers
    """Bytes of one expert, and how many a device holds; shape (kinds of routing, 2, W)."""


@inner
def _add_figures(figures: Figures, table: Integers, row: int, sums: int) -> None:
    for field in range(len(figures)):
        if field < SUMMED_FIGURES:
            table[field, row] += figures[field]
        else:
            table[field, row] = larger(table[field, row], figures[field], sums)


@compiled("vision")
def add_vision(
    towers: Towers, counts: Counts, convention: Convention, images: Integers, table: Integers
) -> None:
    """Vision figures of each image, shape (N, image columns and attention), into `table`."""
    for row in range(len(images)):
        at = images[row]
        image = image_tokens(towers.image, at[0], at[1], at[2], at[3])
        found = vision_figures(towers, counts, convention, image, at[4])
        for field in range(len(found)):
            table[field, row] = found[field]


@compiled("decoder")
def add_prefill(
    trunk: Trunk,
    group: Group,
    counts: tuple[Roles, ...],
    end_counts: tuple[Roles, ...],
    convention: Convention,
    texts: Integers,
    cached: Integers,
    chosen: Integers,
    held: Integers,
    table: Integers,
    first: int,
) -> None:
    """Add the prefill of a group of layers; with the first group also the ends of the decoder.

    The image's tokens are in `table` already, `texts` stand beside them, behind `cached`.
    `chosen` has the attention heads, key-value heads, attention code, cache format and the four
    of the layout of each workload; `held` quarter bits of a cached value and what `ends_held` says.
    """
    sums = convention.sums_activations
    for row in range(len(chosen)):
        layout = Layout(chosen[row, 4], chosen[row, 5], chosen[row, 6], chosen[row, 7])
        part = share_trunk(trunk, layout.tensor)
        if first > 0:
            image = table[IMAGE_TOKENS, row]
            ends = ends_figures(
                part,
                end_counts,
                convention,
                layout,
                held[row, 1],
                held[row, 2],
                held[row, 3],
                texts[row],
                image,
                cached[row],
            )
            _add_figures(ends, table, row, sums)
        attention = with_heads(group.attention, chosen[row, 0], chosen[row, 1])
        own = Group(group.layers, group.norms, attention, group.feed_forward, group.recurrent)
        found = group_prefill(
            part,
            share_group(own, layout),
            counts,
            convention,
            layout,
            held[row, 0],
            table[PREFILL_TOKENS, row],
            cached[row],
            chosen[row, 2],
        )
        _add_figures(found, table, row, sums)


@inner
def _locate(start: int, axes: Integers, lengths: Integers, found: Integers) -> None:
    """Decode `found.shape[1]` linear indices from `start` on: workload, decode steps, batch size.

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
def _met(convention: Convention, tables: Tables, reaches: Integers, found: Integers,
         met: Integers) -> None:  # fmt: skip
    """Keys that all steps of each point meet, for each kind of attention."""
    context = tables.figures[CONTEXT]
    for kind in range(len(reaches)):
        reach = Reach(reaches[kind, 0], reaches[kind, 1], reaches[kind, 2])
        for i in range(found.shape[1]):
            met[kind, i] = keys_met(convention, context[found[0, i]], found[1, i], reach)


@inner
def _integer_column(
    convention: Convention,
    tables: Tables,
    reaches: Integers,
    plan: Integers,
    found: Integers,
    met: Integers,
    out: Integers,
) -> None:
    way = plan[0]
    figures, context = tables.figures[plan[1]], tables.figures[CONTEXT]
    if way == AS_IS:
        for i in range(len(out)):
            out[i] = figures[found[0, i]]
    elif way == PER_SEQUENCE:
        for i in range(len(out)):
            out[i] = found[2, i] * figures[found[0, i]]
    elif way == OVER_STEPS:
        for i in range(len(out)):
            out[i] = over_steps(found[1, i], figures[found[0, i]])
        for kind in range(len(reaches) if plan[2] >= 0 else 0):
            growth = tables.keys[kind, plan[2]]
            for i in range(len(out)):
                out[i] += met[kind, i] * growth[found[0, i]]
        for i in range(len(out)):
            out[i] *= found[2, i]
    elif way == LAST_STEP:
        for i in range(len(out)):
            row, steps = found[0, i], found[1, i]
            held = 0
            for kind in range(len(reaches)):
                keys = tables.keys[kind]
                reach = Reach(reaches[kind, 0], reaches[kind, 1], reaches[kind, 2])
                last = last_keys(convention, context[row], steps, reach)
                step = step_bytes(
                    keys[ATTENDING, row],
                    keys[ATTENDING + 1, row],
                    keys[ATTENDING + 2, row],
                    keys[ATTENDING + 3, row],
                    last,
                )
                held = larger(held, step, convention.sums_activations)
            out[i] = found[2, i] * (held + figures[row]) * min(steps, 1)
    elif way == CACHE_AFTER:
        for i in range(len(out)):
            row = found[0, i]
            held = figures[row]
            for kind in range(len(reaches)):
                reach = Reach(reaches[kind, 0], reaches[kind, 1], reaches[kind, 2])
                tokens = cached_after(convention, context[row], found[1, i], reach)
                held += tables.keys[kind, CACHE_BYTES, row] * tokens
            out[i] = found[2, i] * held


@inner
def _float_column(
    tables: Tables, routings: Integers, plan: Integers, found: Integers, out: Floats
) -> None:
    way, figures = plan[0], tables.figures[plan[1]]
    if way == READ_ONCE:
        for i in range(len(out)):
            out[i] = figures[found[0, i]]
        return
    prefill = way == PREFILL_READS
    known_row, known_tokens, read = -1, -1, 0.0
    for i in range(len(out)):
        row = found[0, i]
        tokens = found[2, i] * tables.figures[PREFILL_TOKENS, row] if prefill else found[2, i]
        if row != known_row or tokens != known_tokens:
            table_row = tables.figures[TABLE_ROW, row]
            read = read_once(figures[row], table_row, tables.figures[TABLE_ROWS, row], tokens)
            met = tokens * tables.figures[EXPERT_GROUPS, row]
            for kind in range(len(routings)):
                one, held = tables.experts[kind, 0, row], tables.experts[kind, 1, row]
                read += touched_experts(held, routings[kind, 0], routings[kind, 1], met) * one
            known_row, known_tokens = row, tokens
        out[i] = read if prefill else found[1, i] * read


@compiled("fill")
def fill(
    convention: Convention,
    tables: Tables,
    reaches: Integers,
    routings: Integers,
    start: int,
    stop: int,
    axes: Integers,
    lengths: Integers,
    plan: Integers,
    integers: Integers,
    floats: Floats,
) -> None:
    """Fill columns of points `start` to `stop`; `integers` and `floats` hold those of all points.

    `reaches` is of each kind of keys, `routings` (experts, experts a token) of each kind of
    mixture; `axes` and `lengths` are as `compute.product_of` makes them; `plan` has a row a
    column, its `Column.plan`.
    """
    found = np.empty((3, RUN), np.int64)
    met = np.empty((len(reaches), RUN), np.int64)
    for low in range(start, stop, RUN):
        high = min(stop, low + RUN)
        here = found[:, : high - low]
        _locate(low, axes, lengths, here)
        _share(tables, here)
        _met(convention, tables, reaches, here, met)
        whole, real = 0, 0
        for column in range(len(plan)):
            if plan[column, 0] < READ_ONCE:
                _integer_column(
                    convention, tables, reaches, plan[column], here, met, integers[whole, low:high]
                )
                whole += 1
            else:
                _float_column(tables, routings, plan[column], here, floats[real, low:high])
                real += 1
