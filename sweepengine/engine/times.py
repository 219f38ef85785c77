"""Columns of seconds as arrays: what does not depend on decode steps is timed once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.family_factors import engine_of_point
from sweepengine.data.models import Model
from sweepengine.data.speeds import speeds_of, target_of_point
from sweepengine.engine import interrupts
from sweepengine.engine.records import flat
from sweepengine.engine.tables import (
    LAYOUT_COLUMNS,
    Columns,
    drafts_in,
    rows_by,
    shares_of,
    tokens_by_row,
    tower_rows,
)
from sweepengine.engine.threads import in_ranges
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.attention_times import time_spans
from sweepengine.formulas.layout import all_layers_of
from sweepengine.formulas.points import IMAGE_COLUMNS, TIMED_COLUMNS, Point, rows_of_images
from sweepengine.formulas.seconds import Line
from sweepengine.formulas.serving import CONTINUOUS, Seconds, ServingEngine
from sweepengine.formulas.speculation import accepted_tokens
from sweepengine.formulas.tokens import ceil_div
from sweepengine.grid.axes import Axis
from sweepengine.grid.columns import BY_NAME
from sweepengine.grid.plain import image_of_sizes
from sweepengine.grid.products import distinct, indexed
from sweepengine.grid.timed import refuse_untimed

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
RATE_COLUMNS = ("device", "framework", "weight_format", "activation_format", "cache_format",
           "device_tensor_tflops", "device_bandwidth_gbs", "device_memory_gb",
           "link_bandwidth_gbs", "latent", "expert_parallel", "serving")  # fmt: skip
"""Inputs that decide which rates a point has."""
DEVICE_FACTORS = [LAYOUT_COLUMNS.index(f"{name}_parallel") for name in
                  ("tensor", "pipeline", "data")]  # fmt: skip
"""Columns of a layout whose product are its devices."""
PIECE_ROWS = 1 << 14
"""Rows whose passes are timed between two looks for a signal: half a second on one core."""
PREFILLED = ("share", "setting", "tokens", "cached", "filled", "features")
"""Fields of `kernel_times.Row` that decide how long a prefill takes."""
ENGINE_COLUMNS = (*RATE_COLUMNS, *LAYOUT_COLUMNS, "chunk_tokens")
"""Inputs that decide what the serving engine adds."""


class TimedProduct(NamedTuple):
    """A product of axes as times take it: rows that share their passes, and the steps."""

    columns: dict[str, Integers]
    """Inputs of each row, but for decode steps."""
    axes: Integers
    """What each value of each axis adds to the row and to decode steps."""
    lengths: Integers


def timed_product(axes: Sequence[Axis]) -> TimedProduct:
    """Rows of a product of axes."""
    return TimedProduct(*indexed(axes, TIMED_COLUMNS, ("decode_steps",)))


def timed_rows(columns: Columns) -> TimedProduct:
    """Rows of points that are given one by one."""
    rows, codes = distinct([columns[name] for name in TIMED_COLUMNS])
    kept = {name: np.asarray(columns[name][rows], np.int64) for name in TIMED_COLUMNS}
    steps = np.asarray(columns["decode_steps"], np.int64)
    return TimedProduct(kept, np.stack([codes, steps]), np.array([len(codes)], np.int64))


class TimeTables(NamedTuple):
    """Times of rows, as `kernel_times.fill_seconds` takes them."""

    table: Floats
    rows: Integers
    engines: Floats
    spans: Integers


def _tabulated(model: Model, columns: Columns) -> TimeTables:
    """Vision, prefill and steps of rows, those of drafts among them."""
    refuse_untimed(int(columns["decode_context_parallel"].max(initial=1)))
    engines, tokens = _engines(model, columns), tokens_by_row(model.architecture, columns)
    found = _of_passes(model, columns, tokens, engines, 1 + columns["draft_tokens"])
    for draft in drafts_in(model.architecture, columns):
        own = model._replace(architecture=draft.architecture)
        seen = {name: values[draft.rows] for name, values in tokens.items()}
        one_token = np.ones(len(draft.rows), np.int64)
        passes = _of_passes(own, draft.columns, seen, (engines[0], engines[1][draft.rows]),
                            one_token)  # fmt: skip
        found = _with_draft(found, passes, draft.rows, columns["draft_tokens"])
    return found


def _with_draft(
    of_model: TimeTables, of_draft: TimeTables, rows: Integers, drafted: Integers
) -> TimeTables:
    """Tables of rows of which some have tokens drafted.

    Prefills add up; a step has as many passes of the draft as tokens are drafted, and its
    attention has lines of its own.

    Parameters
    ----------
    of_model : TimeTables
        Of all rows.
    of_draft : TimeTables
        Of those in `rows`.
    rows : int64 array
        Their positions.
    drafted : int64 array
        Tokens drafted a step, of all rows.
    """
    from sweepengine.engine.kernel_times import LINE, PASSES, PREFILL, REFILL, STEP

    passes = drafted[rows]
    table, added = of_model.table, of_draft.table
    table[PREFILL, rows] += added[PREFILL]
    table[REFILL, rows] += added[REFILL]
    table[STEP, rows] += passes * added[STEP]
    lines = np.zeros((len(added) - len(PASSES), table.shape[1]))
    lines[:, rows] = added[len(PASSES) :]
    for field, name in enumerate(Line._fields):
        if name != "latency_keys":
            lines[field::LINE, rows] *= passes
    spans = np.concatenate([of_model.spans, of_draft.spans])
    return of_model._replace(table=np.concatenate([table, lines]), spans=spans)


def _of_passes(
    model: Model,
    columns: Columns,
    tokens: Columns,
    engines: tuple[Floats, Integers],
    verified: Integers,
) -> TimeTables:
    """Vision, prefill and steps of rows of a model or a draft.

    Parameters
    ----------
    model : Model
        With devices.
    columns, tokens : mapping of str to int64 array, shape (R,)
        Inputs, and the fields of `Tokens`.
    engines : tuple of array
        As `_engines` returns them.
    verified : int64 array, shape (R,)
        New tokens of each sequence in a pass of a step.
    """
    from sweepengine.engine.kernel_times import LINE, PASSES, Row, fill_images, fill_passes

    arch = model.architecture
    layout = np.stack([columns[name] for name in LAYOUT_COLUMNS], axis=1)
    settings, codes = distinct([columns[name] for name in RATE_COLUMNS])
    speeds = []
    for code, row in enumerate(settings.tolist()):
        point = _point(columns, row)
        several = layout[codes == code][:, DEVICE_FACTORS].prod(axis=1).max()
        place = target_of_point(model, point, int(several))
        speeds.append(flat(speeds_of(arch, point, place)))
    shares = shares_of(arch, columns, all_layers_of)
    batch: Any = ceil_div(columns["batch_size"], columns["data_parallel"])  # type: ignore[arg-type]
    serving = columns["serving"]
    constants, engine = engines
    accepted: Any = accepted_tokens(columns["draft_tokens"], columns["accepted_tokens"])  # type: ignore[arg-type]
    by_name: dict[str, Integers] = {
        "share": shares.codes,
        "setting": codes,
        "tokens": tokens["prefill"],
        "cached": tokens["cached"],
        "context": tokens["context"],
        "batch": batch,
        "filled": np.where(serving == CONTINUOUS, 1, batch),
        "features": rows_of_images(arch, tokens["image"], tokens["features"]),
        "serving": serving,
        "engine": engine,
        "verified": verified,
        "accepted": accepted,
    }
    rows = np.ascontiguousarray(np.stack([by_name[name] for name in Row._fields], axis=1), np.int64)
    spans, places = _spans(arch)
    table = np.zeros((len(PASSES) + LINE * len(spans), len(rows)), np.float64)
    if not len(rows):
        return TimeTables(table, rows, constants, spans)
    rates = np.array(speeds, np.float64)
    if arch.towers is not None:
        chosen, at = rows_by(columns, IMAGE_COLUMNS)
        seen = np.array([flat(image_of_sizes(arch.towers, *sizes)) for sizes in chosen], np.int64)
        blocks, _, joins, _ = tower_rows(arch)
        images = np.stack([at, columns["images"]], axis=1)
        fill_images(blocks, joins, seen, images, rows, rates, table)
    like = (*PREFILLED, "engine", "batch")
    keys = [by_name[name] for name in reversed(like) if np.ptp(by_name[name])]
    order = np.lexsort(keys) if keys else np.arange(len(rows))
    for start in range(0, len(order), PIECE_ROWS):
        interrupts.check()  # a call of compiled code goes on to its end
        piece = order[start : start + PIECE_ROWS]
        fill_passes(shares.around, shares.groups, places, rows, rates, constants, piece, table)
    return TimeTables(table, rows, constants, spans)


def _engines(model: Model, columns: Columns) -> tuple[Floats, Integers]:
    """What serving engines add, shape (E, fields of `ServingEngine`), and which each row has."""
    rows, codes = distinct([columns[name] for name in ENGINE_COLUMNS])
    engines = []
    for row in rows.tolist():
        point = _point(columns, row)
        target = target_of_point(model, point)
        engines.append(engine_of_point(model.architecture, point, target))
    return np.array(engines, np.float64).reshape(len(engines), len(ServingEngine._fields)), codes


def _spans(arch: Architecture) -> tuple[Integers, Integers]:
    """Spans of the lines of all kinds of attention, and where each group's lines stand."""
    kinds = arch.attentions
    beside = [i for i, kind in enumerate(kinds) if kind.index_heads or kind.stride]
    spans = [time_spans(kind).attended for kind in kinds]
    spans += [time_spans(kinds[i]).beside for i in beside]
    places = []
    for group in arch.groups:
        kind = kinds.index(group.attention)
        other = len(kinds) + beside.index(kind) if kind in beside else -1
        places.append((kind if group.attention.heads else -1, other))
    return np.array(spans, np.int64), np.array(places, np.int64)


def _point(columns: Columns, row: int) -> Point:
    named = {name: int(values[row]) for name, values in columns.items()}
    return Point(**named, decode_steps=0)


def fill_times(
    model: Model, product: TimedProduct, rows: int, names: Sequence[str], workers: int = 1
) -> dict[str, NDArray[Any]]:
    """Seconds of the first `rows` points of a product, on so many threads.

    Parameters
    ----------
    model : Model
        With its devices.
    product : TimedProduct
        Points.
    rows : int
        How many of them.
    names : sequence of str
        Columns of seconds.
    workers : int
        Threads.

    Raises
    ------
    InputError
        When a device cannot run a point's layout, or has no rates.
    """
    from sweepengine.engine.kernel_times import fill_seconds

    fields = np.array([Seconds._fields.index(BY_NAME[name].figure) for name in names], np.int64)
    out = np.empty((len(names), rows), np.float64)
    tables = _tabulated(model, product.columns)

    def work(start: int, stop: int) -> None:
        fill_seconds(model.architecture.convention, *tables, start, stop, product.axes,
                     product.lengths, fields, out)  # fmt: skip

    in_ranges(work, rows, workers)
    return dict(zip(names, out, strict=True))
