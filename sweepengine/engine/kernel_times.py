"""The compiled times of a sweep: tables of passes, then a loop over points.

What does not depend on decode steps (workload, batch, layout, formats, device) is served alike: its
vision, its prefill and what a step takes are computed once. `fill_seconds` finds each point's
served row and its steps and sums those over the pieces of the model's windows.
"""

import numpy as np
from numpy.typing import NDArray

from sweepengine.engine.compiled import compiled
from sweepengine.formulas.architecture import Convention, Group, Reach, Towers, Trunk
from sweepengine.formulas.attention import with_heads
from sweepengine.formulas.attention_times import step_lines, steps_us
from sweepengine.formulas.layer_times import end_times, group_prefill_us, group_step_us, summed
from sweepengine.formulas.layout import Layout, share_group, share_trunk
from sweepengine.formulas.seconds import Line
from sweepengine.formulas.serving import CONTINUOUS, Engine, continuous_tpot, continuous_ttft
from sweepengine.formulas.speeds import Speeds
from sweepengine.formulas.tokens import image_tokens
from sweepengine.formulas.vision_times import vision_us
from sweepengine.formulas.ways import cached_before

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

VISION, PREFILL, STEP, HOST, FIRST, BURST, INTERFERENCE, LINES = range(8)
"""Fields of a served row; from `LINES` on those of `Line` for each kind of keys."""
LINE = len(Line._fields)
A_SECOND = 1e6
"""Microseconds."""


@compiled("times")
def add_images(
    towers: Towers, images: Integers, batches: Floats, speeds: Speeds, rows: Integers, table: Floats
) -> None:
    """Vision of each served row: `images`, shape (S, image columns), and so many of each."""
    for row in rows:
        at = images[row]
        image = image_tokens(towers.image, at[0], at[1], at[2], at[3])
        table[VISION, row] = vision_us(towers, image, batches[row], speeds)


@compiled("times")
def add_passes(
    trunk: Trunk,
    group: Group,
    asked: Integers,
    filled: Floats,
    batches: Floats,
    speeds: Speeds,
    rows: Integers,
    kind: int,
    beside: int,
    first: int,
    table: Floats,
) -> None:
    """Add a group's prefill and steps to served rows; with the first group also the ends.

    `asked` has tokens, cached tokens, heads, key-value heads, the four of the layout and what
    `ends_held` says; `filled` how many sequences a prefill runs over. `kind` and `beside` are the
    places of the group's lines, -1 where it has none. A row whose prefill is that of the row before
    it, as where only batches vary, takes it from there.
    """
    last = -1
    ends, filling = 0.0, 0.0
    for row in rows:
        at = asked[row]
        alike = last >= 0 and filled[row] == filled[last]
        for field in range(asked.shape[1]):
            alike = alike and at[field] == asked[last, field]
        last = row
        tokens, cached = at[0], at[1]
        layout = Layout(at[4], at[5], at[6], at[7])
        part = share_trunk(trunk, layout.tensor)
        batch = batches[row]
        if first > 0:
            if not alike:
                before = end_times(
                    part, layout, filled[row], tokens, at[8], at[9], at[10], 0, speeds
                )  # fmt: skip
                ends = summed(before)
            table[PREFILL, row] += ends
            after = end_times(part, layout, batch, 1, at[8], at[9], at[10], 1, speeds)
            table[STEP, row] += summed(after)
        attention = with_heads(group.attention, at[2], at[3])
        own = Group(group.layers, group.norms, attention, group.feed_forward, group.recurrent)
        mine = share_group(own, layout)
        if not alike:
            filling = group_prefill_us(mine, part, layout, filled[row], tokens, cached, speeds)
        table[PREFILL, row] += filling
        table[STEP, row] += group_step_us(mine, part, layout, batch, speeds)
        lines = step_lines(mine.attention, batch, speeds)
        for index in range(2):
            place = kind if index == 0 else beside
            if place < 0:
                continue
            line = lines[index]
            start = LINES + place * LINE
            for field in range(LINE):
                if field == 2:  # keys at which the latency ends are of one layer
                    table[start + field, row] = line[field]
                else:
                    table[start + field, row] += mine.layers * line[field]


@compiled("times")
def fill_seconds(
    convention: Convention,
    table: Floats,
    served: Integers,
    reaches: Integers,
    start: int,
    stop: int,
    axes: Integers,
    lengths: Integers,
    out: Floats,
) -> None:
    """Fill vision, prefill, decode, TTFT and TPOT, shape (5, points), of points start to stop.

    `axes` has what each value of each axis adds to the served row and to decode steps; `served` of
    each row its context, batch, stages of a pipeline and way of serving.
    """
    for index in range(start, stop):
        rest = index
        row, steps = 0, 0
        offset = axes.shape[1]
        for axis in range(len(lengths) - 1, -1, -1):
            offset -= lengths[axis]
            value = offset + rest % lengths[axis]
            rest //= lengths[axis]
            row += axes[0, value]
            steps += axes[1, value]
        stages = served[row, 2]
        cached = cached_before(convention, served[row, 0])
        spent = steps * table[STEP, row]
        for kind in range(len(reaches)):
            at = LINES + kind * LINE
            line = Line(
                table[at, row],
                table[at + 1, row],
                table[at + 2, row],
                table[at + 3, row],
                table[at + 4, row],
                table[at + 5, row],
            )
            reach = Reach(reaches[kind, 0], reaches[kind, 1], reaches[kind, 2])
            spent += steps_us(line, cached, steps, reach)
        spent *= stages
        vision, prefill = table[VISION, row], stages * table[PREFILL, row]
        first, each = vision + prefill, 0.0
        if steps > 0:
            each = spent / steps
        if served[row, 3] == CONTINUOUS:
            host = Engine(
                table[HOST, row], table[FIRST, row], table[BURST, row], table[INTERFERENCE, row]
            )
            alone, batch = first, float(served[row, 1])
            first = continuous_ttft(each, alone, alone, batch, host)
            each = continuous_tpot(each, alone, batch, steps, host)
            spent = each * steps
        out[0, index] = vision / A_SECOND
        out[1, index] = prefill / A_SECOND
        out[2, index] = spent / A_SECOND
        out[3, index] = first / A_SECOND
        out[4, index] = each / A_SECOND
