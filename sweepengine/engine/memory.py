"""Columns of memory of points on devices: what does not depend on requests is made once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.models import Model
from sweepengine.formulas.kv_pages import NO_PAGES, PageGroup, Pool
from sweepengine.formulas.memory import (
    Capacity,
    MemoryFigures,
    Request,
    Resident,
    capacity,
    memory_figures,
    most_requests,
)
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.tokens import ceil_div
from sweepengine.grid.columns import BY_NAME
from sweepengine.grid.memory import RESIDENT_COLUMNS, placed
from sweepengine.grid.products import distinct

Integers = NDArray[np.integer[Any]]
MEMORY_INPUTS = (*RESIDENT_COLUMNS, "decode_steps", "batch_size", "shared_tokens")
"""Inputs that decide the memory of a point, beside its counts."""


def memory_counts(model: Model) -> tuple[str, ...]:
    """Columns of counts that decide the memory of a point."""
    crossed = ("image_features",) if model.architecture.crossed_rows(1) else ()
    return ("weight_bytes", "context_tokens", *crossed)


def memory_columns(
    model: Model, inputs: Mapping[str, Integers], counts: Mapping[str, Integers],
    names: Sequence[str],
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Columns of memory of N points.

    Parameters
    ----------
    model : Model
        With devices.
    inputs : mapping of str to integer array, shape (N,)
        Of `MEMORY_INPUTS`.
    counts : mapping of str to integer array, shape (N,)
        Of `memory_counts`.
    names : sequence of str
        Columns to make.
    """
    memory, rows = figures_for(names, model, inputs, counts), len(counts["weight_bytes"])
    return {
        name: np.broadcast_to(np.asarray(getattr(memory, BY_NAME[name].figure)), rows)
        for name in names
    }


def columns_of_frame(
    model: Model, frame: pl.DataFrame, fixed: Mapping[str, int]
) -> tuple[dict[str, Integers], dict[str, Integers]]:
    """`MEMORY_INPUTS` and `memory_counts` of the points of a frame, which holds checked values.

    Parameters
    ----------
    model : Model
    frame : polars.DataFrame, N rows
        Inputs, and all counts.
    fixed : mapping of str to int
        Stored inputs where the frame has no column.
    """
    inputs: dict[str, Integers] = {
        name: stored(name, frame[name])
        if name in frame.columns
        else np.broadcast_to(np.int64(fixed[name]), frame.height)
        for name in MEMORY_INPUTS
    }
    return inputs, {name: frame[name].to_numpy().astype(np.int64) for name in memory_counts(model)}


def figures_of_columns(
    model: Model, inputs: Mapping[str, Integers], counts: Mapping[str, Integers]
) -> MemoryFigures:
    """What devices hold at N points: a column for each figure, or one number for all points.

    Parameters
    ----------
    model, inputs, counts : as `memory_columns`
    """
    if not len(counts["weight_bytes"]):
        none: Any = np.zeros(0, np.int64)
        return MemoryFigures(*[none] * len(MemoryFigures._fields))
    return memory_figures(*_held(model, inputs, counts))


def capacity_of_columns(
    model: Model, inputs: Mapping[str, Integers], counts: Mapping[str, Integers]
) -> Capacity:
    """What fits of N points, in a fraction of the time of all figures.

    Parameters
    ----------
    model, inputs, counts : as `memory_columns`
    """
    if not len(counts["weight_bytes"]):
        none: Any = np.zeros(0, np.int64)
        return Capacity(none, none)
    held = _held(model, inputs, counts)
    return capacity(held.most, held.sequences, held.groups)


def capacity_by_batch(
    model: Model,
    inputs: Mapping[str, Integers],
    counts: Mapping[str, Integers],
    batches: Integers,
    inner: int,
) -> Capacity:
    """What fits of N points at each of B batch sizes, in columns of N*B points.

    What does not depend on the batch size is worked out once for all of them.

    Parameters
    ----------
    model, inputs, counts : as `memory_columns`
    batches : integer array, shape (B,)
        Batch sizes; that of `inputs` does not matter.
    inner : int
        Points that follow each other at one batch size.
    """
    held = _held(model, inputs, counts)
    rows = len(counts["weight_bytes"])
    most, data = (
        np.broadcast_to(np.asarray(values), rows).reshape(-1, 1, inner)
        for values in (held.most, held.groups)
    )
    found = capacity(most, ceil_div(batches[:, None], data), data)  # type: ignore[arg-type]
    shape = (rows // inner, len(batches), inner)
    each: Any = [np.broadcast_to(values, shape).reshape(-1) for values in found]
    return Capacity(*each)


def figures_for(
    names: Sequence[str],
    model: Model,
    inputs: Mapping[str, Integers],
    counts: Mapping[str, Integers],
) -> Capacity | MemoryFigures:
    """What fits alone, where `names` are of no other figures; else all figures.

    Parameters
    ----------
    names : sequence of str
        Figures that are needed.
    model, inputs, counts : as `memory_columns`
    """
    of_columns = capacity_of_columns if {*names} <= {*Capacity._fields} else figures_of_columns
    return of_columns(model, inputs, counts)


class _Held(NamedTuple):
    """Arguments of `memory_figures`."""

    of: Resident
    pool: Pool
    request: Request
    sequences: Any
    groups: Any
    most: Any


def _held(model: Model, inputs: Mapping[str, Integers], counts: Mapping[str, Integers]) -> _Held:
    """What decides the memory of N points, of which there is at least one."""
    resident, pool = residents(model, inputs, counts["weight_bytes"])
    of: dict[str, Any] = {
        name: np.asarray(values, np.int64) for name, values in {**inputs, **counts}.items()
    }
    data = of["data_parallel"]
    tokens = of["context_tokens"] + of["decode_steps"] + of["draft_tokens"]
    sequences = ceil_div(of["batch_size"], data)
    request = Request(tokens, of.get("image_features", 0), of["shared_tokens"])
    alike = [np.asarray(inputs[name], np.int64) for name in RESIDENT_COLUMNS]
    rows, codes = distinct([*alike, *np.broadcast_arrays(of["weight_bytes"], *request)])
    each: Any = most_requests(
        record_of_rows(resident, rows), pool_of_rows(pool, rows), record_of_rows(request, rows)
    )
    most: Any = of_rows(each, codes)
    return _Held(resident, pool, request, sequences, data, most)


def residents(
    model: Model, inputs: Mapping[str, Integers], weights: Integers
) -> tuple[Resident, Pool]:
    """What decides the memory of N points: a column for each number, or one number for all.

    Parameters
    ----------
    model : Model
        With devices.
    inputs : mapping of str to integer array, shape (N,)
        Of `RESIDENT_COLUMNS`.
    weights : integer array, shape (N,)
        Bytes of weights of a device.
    """
    settings = [np.asarray(inputs[name], np.int64) for name in RESIDENT_COLUMNS]
    rows, codes = distinct(settings)
    found = [placed(model, tuple(int(values[row]) for values in settings)) for row in rows]
    resident = Resident(*_by_row([one.resident for one in found], codes))
    pool = _pools([one.pool for one in found], codes)
    return resident._replace(weights=np.asarray(weights, np.int64)), pool  # type: ignore[arg-type]


def stored(name: str, values: pl.Series) -> NDArray[np.int64]:
    """Stored integers of a column of inputs of a frame, which holds checked values."""
    column = INPUTS[name]
    if values.null_count():
        values = values.fill_null(0)
    numbers = (values.to_physical() if column.choices else values).to_numpy()
    scaled = numbers if column.scale == 1 else np.rint(numbers * column.scale)
    whole: NDArray[np.int64] = scaled.astype(np.int64)
    return whole


def of_rows(values: Any, rows: Integers) -> Any:
    """Some rows of a column; a number, which is that of all rows, as it is."""
    return values[rows] if np.ndim(values) else values


def record_of_rows(record: Any, rows: Integers) -> Any:
    """Some rows of a record of columns and of numbers."""
    return type(record)(*(of_rows(values, rows) for values in record))


def pool_of_rows(pool: Pool, rows: Integers) -> Pool:
    """Some rows of a pool."""
    groups = tuple(record_of_rows(group, rows) for group in pool.groups)
    return Pool(
        of_rows(pool.block_bytes, rows),
        groups,
        of_rows(pool.split, rows),
        of_rows(pool.feature_bytes, rows),
    )


def _by_row(records: Sequence[tuple[Any, ...]], codes: Integers) -> list[Any]:
    """Each number of the record of each row: one number where all records have the same."""
    columns = []
    for values in zip(*records, strict=True):
        same = all(value == values[0] for value in values)
        columns.append(values[0] if same else np.array(values, np.int64)[codes])
    return columns


def _pools(pools: Sequence[Pool], codes: Integers) -> Pool:
    """The pool of each row, with as many page groups as the one that has most."""
    most = max(len(pool.groups) for pool in pools)
    padded = [(*pool.groups, *[NO_PAGES] * (most - len(pool.groups))) for pool in pools]
    groups = [PageGroup(*_by_row(each, codes)) for each in zip(*padded, strict=True)]
    rest = [pool._replace(groups=()) for pool in pools]
    return Pool(*_by_row(rest, codes))._replace(groups=tuple(groups))
