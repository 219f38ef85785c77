"""The compiled times of a sweep: tables of passes, then a loop over points.

What does not depend on decode steps (workload, batch, layout, formats, device) shares a row: its
vision, its prefill and what a step takes are computed once. `fill_seconds` finds each point's row
and its steps and sums those over the spans of the model's attention.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.engine.compiled import compiled, inner
from sweepengine.engine.kernel import around_at, group_at, span_at
from sweepengine.engine.kernel_vision import blocks_at, image_at, join_at
from sweepengine.engine.readers import reader
from sweepengine.engine.records import paths
from sweepengine.formulas.architecture import Convention
from sweepengine.formulas.attention_times import step_lines, steps_us
from sweepengine.formulas.layer_times import end_times, layer_times, summed
from sweepengine.formulas.reductions import cached_before
from sweepengine.formulas.seconds import Line, joined
from sweepengine.formulas.serving import (
    CONTINUOUS,
    Batch,
    Passes,
    ServingEngine,
    chunk_requests,
    seconds_of,
)
from sweepengine.formulas.speculation import A_TOKEN
from sweepengine.formulas.speeds import Speeds
from sweepengine.formulas.tokens import Pass, layers_run
from sweepengine.formulas.vision_times import blocks_of_image_us, join_of_image_us

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

PASSES = ("vision", "prefill", "refill", "step")
"""Rows of the table of times, us; then those of `Line` for each span."""
VISION, PREFILL, REFILL, STEP = range(len(PASSES))
LINE = len(paths(Line))


class Row(NamedTuple):
    """What the passes of a row of times depend on."""

    share: int
    """Position of the device's share."""
    setting: int
    """Position of the rates."""
    tokens: int
    """That prefill runs over."""
    cached: int
    context: int
    batch: int
    """Sequences of a data-parallel group."""
    filled: int
    """Sequences that a prefill runs over."""
    features: int
    """Rows of images that cross attention meets."""
    serving: int
    engine: int
    """Position of what the serving engine adds."""
    verified: int
    """New tokens of each sequence in a pass of a step."""
    accepted: int
    """Thousandths of tokens that a step yields."""


row_at = reader(Row)
speeds_at = reader(Speeds)
engine_at = reader(ServingEngine)
line_at = reader(Line)


@inner
def requests_a_chunk(row: Row, engine: ServingEngine) -> float:
    """Requests of a row that share a pass of prefills: a whole batch that is filled at once."""
    if row.serving == CONTINUOUS:
        return chunk_requests(row.batch, row.tokens, engine.chunk)
    return float(row.filled)


@compiled("times")
def fill_images(
    blocks: Integers,
    joins: Integers,
    images: Integers,
    places: Integers,
    rows: Integers,
    speeds: Floats,
    table: Floats,
) -> None:
    """Vision of each row of times.

    Parameters
    ----------
    blocks, joins : int64 array, shape (parts, numbers)
        Of the towers.
    images, places : int64 array, shape (N, numbers of `ImageViews`), (R, 2)
        Distinct images; position of each row's, and how many a sequence has.
    rows : int64 array, shape (R, fields of `Row`)
        What passes depend on.
    speeds, table : float64 array
        As `fill_passes` takes and fills them.
    """
    for i in range(len(rows)):
        row = row_at(rows[i])
        image, rates = image_at(images[places[i, 0]]), speeds_at(speeds[row.setting])
        count = float(row.filled * places[i, 1])
        spent = 0.0
        for part in range(len(blocks)):
            spent += blocks_of_image_us(blocks_at(blocks[part]), image, count, rates)
        for part in range(len(joins)):
            spent += join_of_image_us(join_at(joins[part]), image, count, rates)
        table[VISION, i] = spent


@compiled("times")
def fill_passes(
    around: Integers,
    groups: Integers,
    places: Integers,
    rows: Integers,
    speeds: Floats,
    engines: Floats,
    order: Integers,
    table: Floats,
) -> None:
    """Prefill and steps of each row of times through all parts of the model.

    A row whose prefill is that of the row before it in `order`, as where only batches vary, takes
    it from there.

    Parameters
    ----------
    around, groups : int64 array
        Distinct shares of a device, as `tables.Shares` has them.
    places : int64 array, shape (groups, 2)
        Positions of each group's lines among spans; -1 where it has none.
    rows : int64 array, shape (R, fields of `Row`)
        What passes depend on.
    speeds : float64 array, shape (settings, numbers of `Speeds`)
        Rates.
    engines : float64 array, shape (E, fields of `ServingEngine`)
        What serving engines add.
    order : int64 array, shape (R,)
        Positions of rows, those of like prefills after each other.
    table : float64 array, shape (passes and lines, R)
        To be filled; zeros but for vision.
    """
    last, last_together, chunk, previous = row_at(rows[order[0]]), 0.0, 0.0, -1
    for turn in range(len(order)):
        i = order[turn]
        row = row_at(rows[i])
        together = requests_a_chunk(row, engine_at(engines[row.engine]))
        at, rates = around_at(around[row.share]), speeds_at(speeds[row.setting])
        alike = (
            previous >= 0
            and row.share == last.share
            and row.setting == last.setting
            and row.tokens == last.tokens
            and row.cached == last.cached
            and row.filled == last.filled
            and row.features == last.features
        )
        in_chunk = alike and together == last_together
        last, last_together = row, together
        prefilled, previous = previous, i
        # All passes in one loop, so that a layer is compiled once.
        for kind in range(PREFILL, STEP + 1):
            if kind == PREFILL and alike:
                table[PREFILL, i] = table[PREFILL, prefilled]
                continue
            if kind == REFILL and together == row.filled:
                chunk = table[PREFILL, i]
                continue
            if kind == REFILL and in_chunk:
                continue
            sequences = together if kind == REFILL else float(row.filled)
            decode = 1 if kind == STEP else 0
            prefill = 1 - decode
            one = Pass(
                sequences=prefill * sequences + decode * row.batch,
                tokens=prefill * row.tokens + decode * row.verified,
                cached=prefill * row.cached,
                decode=decode,
                features=row.features,
            )
            spent = summed(end_times(at.backbone, at.layout, at.ends, one, rates))
            for position in range(groups.shape[1]):
                group = group_at(groups[row.share, position])
                times = layer_times(group, at.backbone, at.layout, one, rates)
                spent += layers_run(group, row.features) * summed(times)
            if kind == REFILL:
                chunk = spent
            else:
                table[kind, i] = spent
        seen = row.batch / row.filled * table[VISION, i]
        table[REFILL, i] = seen + row.batch / together * chunk
        for position in range(groups.shape[1]):
            group = group_at(groups[row.share, position])
            lines = step_lines(group.attention, float(row.batch), rates, row.verified)
            for index in range(len(lines)):
                if places[position, index] < 0:
                    continue
                start = len(PASSES) + places[position, index] * LINE
                before = line_at(table[start : start + LINE, i])
                line = joined(before, lines[index], group.layers)
                for field in range(LINE):
                    table[start + field, i] = line[field]


@compiled("times")
def fill_seconds(
    convention: Convention,
    table: Floats,
    rows: Integers,
    engines: Floats,
    spans: Integers,
    start: int,
    stop: int,
    axes: Integers,
    lengths: Integers,
    fields: Integers,
    out: Floats,
) -> None:
    """Fill some fields of `Seconds`, shape (F, points), of points `start` to `stop`.

    Parameters
    ----------
    convention : Convention
        Of the accounting.
    table, rows : array
        As `fill_passes` fills and takes them.
    engines : float64 array, shape (E, fields of `ServingEngine`)
        What serving engines add.
    spans : int64 array, shape (spans, fields of `Span`)
        Of the lines.
    start, stop : int
        Linear indices.
    axes, lengths : int64 array
        What each value of each axis adds to the row and to decode steps; values of each axis.
    fields : int64 array, shape (F,)
        Their positions.
    out : float64 array
        To be filled.
    """
    for index in range(start, stop):
        rest = index
        position, steps = 0, 0
        offset = axes.shape[1]
        for axis in range(len(lengths) - 1, -1, -1):
            offset -= lengths[axis]
            value = offset + rest % lengths[axis]
            rest //= lengths[axis]
            position += axes[0, value]
            steps += axes[1, value]
        row = row_at(rows[position])
        cached = cached_before(convention, row.context) + row.verified - 1
        spent = steps * table[STEP, position]
        for kind in range(len(spans)):
            at = len(PASSES) + kind * LINE
            line = line_at(table[at : at + LINE, position])
            spent += steps_us(line, cached, steps, span_at(spans[kind]))
        vision, batch = table[VISION, position], float(row.batch)
        prefill, refill = table[PREFILL, position], table[REFILL, position]
        accepted = row.accepted / A_TOKEN
        found = seconds_of(
            Passes(vision=vision, prefill=prefill, refill=refill, decode=spent / accepted),
            Batch(sequences=batch, prompt=row.tokens, steps=steps, accepted=accepted),
            row.serving,
            engine_at(engines[row.engine]),
        )
        for field in range(len(fields)):
            out[field, index] = found[fields[field]]
