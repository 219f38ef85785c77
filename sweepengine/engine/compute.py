"""Columns of points as arrays, with the plain or the compiled backend."""

import sys
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.models import Model
from sweepengine.engine.error_columns import (
    errors_of_axes,
    needed_seconds,
)
from sweepengine.engine.memory import (
    MEMORY_INPUTS,
    capacity_by_batch,
    memory_columns,
    memory_counts,
)
from sweepengine.engine.one_point import RATE_SECONDS, point_values
from sweepengine.engine.records import FIGURES, GROWTH
from sweepengine.engine.tables import Figured, drafts_in, tabulate, tabulate_draft
from sweepengine.engine.threads import in_ranges
from sweepengine.engine.times import fill_times, timed_product
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.memory import Capacity
from sweepengine.formulas.points import INPUTS, WORKLOAD_COLUMNS, Point
from sweepengine.formulas.serving import output_rate
from sweepengine.formulas.speculation import ONE_TOKEN
from sweepengine.grid.axes import Axis
from sweepengine.grid.columns import (
    AS_IS,
    BY_NAME,
    DEVICE_MEMORY,
    ERROR_CLASS,
    OVER_STEPS,
    PER_SEQUENCE,
    RATE,
    READ_ONCE,
    SECONDS,
    THROUGHPUT,
    Column,
)
from sweepengine.grid.grid import Chunk
from sweepengine.grid.points import output_names
from sweepengine.grid.products import at_first, axis_of, expand, indexed, part_of

Integers = NDArray[np.int64]
PLAIN, COMPILED = "plain", "compiled"
_KINDS: dict[str, type[np.generic]] = {"Float64": np.float64, "Boolean": np.bool_}
"""Types of computed columns other than int64."""
MAX_PLAIN_POINTS = 3_000
"""Up to this many points plain Python is faster than loading the compiler."""


def backend_for(points: int) -> str:
    """The faster backend for a number of points: "plain" or "compiled"."""
    return PLAIN if points <= MAX_PLAIN_POINTS else COMPILED


def backend_at_hand(points: int, timed: bool) -> str:
    """As `backend_for`, of a process that may have loaded the compiled code already.

    Parameters
    ----------
    points : int
    timed : bool
        Whether the points have times.
    """
    loaded = "sweepengine.engine.kernel_times" if timed else "sweepengine.engine.kernel"
    return COMPILED if loaded in sys.modules else backend_for(points)


class Product(NamedTuple):
    """A product of axes in the form that the kernel reads."""

    workloads: dict[str, Integers]
    """Input columns of the distinct workloads."""
    axes: Integers
    """What each value of each axis adds to the workload's index, to the decode steps and to the
    batch size; shape (3, sum of lengths), axes one after the other, the last one fastest."""
    lengths: Integers
    """Number of values of each axis."""


def product_of(axes: Sequence[Axis]) -> Product:
    """The `Product` of axes."""
    return Product(*indexed(axes, WORKLOAD_COLUMNS, ("decode_steps", "batch_size")))


def fill_columns(
    arch: Architecture,
    product: Product,
    tables: Figured,
    rows: int,
    columns: Sequence[str],
    workers: int = 1,
) -> dict[str, NDArray[Any]]:
    """Compute output columns of the first `rows` points of a product, of a model or its draft.

    Parameters
    ----------
    arch : Architecture
    product : Product
    tables : tuple of int64 array
        Figures of its workloads (`tables.tabulate`).
    rows : int
    columns : sequence of str
        Output columns of counts.
    workers : int
        Threads.

    Returns
    -------
    dict of str to int64 or float64 array, shape (rows,)
        In the order of `columns`; a constant column is a broadcast value. Overflow is not checked.
    """
    from sweepengine.engine.kernel import Tables, fill

    plans = {name: _plan(BY_NAME[name], tables[1]) for name in columns}
    same = {
        name: np.broadcast_to(value, rows)
        for name in columns
        if (value := _constant(plans[name], tables[0])) is not None
    }
    varied = [name for name in columns if name not in same]
    plan = np.array([plans[name] for name in varied], np.int64).reshape(-1, 3)
    real = [name for name in varied if BY_NAME[name].dtype == "Float64"]
    whole = [name for name in varied if name not in real]
    integers = np.empty((len(whole), rows), np.int64)
    floats = np.empty((len(real), rows), np.float64)
    one_token = [tables[0][FIGURES.index(f"step.{name}")] for name in ONE_TOKEN._fields]
    drafted = int(any((row != one).any() for row, one in zip(one_token, ONE_TOKEN, strict=True)))
    spans = np.array(arch.spans, np.int64)
    routings = np.array(arch.routings, np.int64).reshape(-1, 2)

    def work(start: int, stop: int) -> None:
        fill(arch.convention, Tables(*tables), spans, routings, start, stop, product.axes,
             product.lengths, plan, drafted, integers, floats)  # fmt: skip

    in_ranges(work, rows, workers)
    filled: dict[str, NDArray[Any]] = dict(zip([*whole, *real], [*integers, *floats], strict=True))
    filled |= same
    return {name: filled[name] for name in columns}


def counted_columns(
    arch: Architecture,
    product: Product,
    rows: int,
    columns: Sequence[str],
    workers: int = 1,
) -> dict[str, NDArray[Any]]:
    """Counts of a product, those of drafts included; parameters as those of `fill_columns`."""
    tables = tabulate(arch, product.workloads)
    computed = fill_columns(arch, product, tables, rows, columns, workers)
    drafted = [name for name in columns if BY_NAME[name].drafted]
    for draft in drafts_in(arch, product.workloads):
        figures = tabulate_draft(arch, product.workloads, draft)
        added = fill_columns(draft.architecture, product, figures, rows, drafted, workers)
        for name, values in added.items():
            computed[name] = BY_NAME[name].together(computed[name], values)
    return computed


def computed_columns(
    model: Model, axes: Sequence[Axis], rows: int, columns: Sequence[str], workers: int = 1
) -> dict[str, NDArray[Any]]:
    """Counts and seconds of a product of axes, compiled; parameters as those of `fill_columns`."""
    seconds, memory = of_reduction(columns, SECONDS), of_reduction(columns, DEVICE_MEMORY)
    errors, rates = of_reduction(columns, ERROR_CLASS), of_reduction(columns, RATE)
    counts = [name for name in columns if name not in (*seconds, *memory, *errors, *rates)]
    rated = RATE_SECONDS if rates else ()
    timed_names = list(dict.fromkeys((*seconds, *needed_seconds(errors), *rated)))
    batches = axis_of(axes, "batch_size") if {*memory} <= {*Capacity._fields} else None
    if memory and batches is None:
        counted = [*dict.fromkeys((*counts, *memory_counts(model)))]
    else:
        counted = counts
    computed: dict[str, NDArray[Any]] = {}
    if counted:
        product = product_of(axes)
        computed = counted_columns(model.architecture, product, rows, counted, workers)
    if memory and batches is not None:
        computed |= _capacity_columns(model, axes, rows, memory, batches)
    elif memory:
        parts = [part_of(axis, MEMORY_INPUTS) for axis in axes]
        inputs = {name: values[:rows] for name, values in expand(parts).items()}
        computed |= memory_columns(model, inputs, computed, memory)
    if timed_names:
        computed |= fill_times(model, timed_product(axes), rows, timed_names, workers)
    if rates:
        parts = [part_of(axis, ("batch_size", "decode_steps")) for axis in axes]
        requests = {name: values[:rows] for name, values in expand(parts).items()}
        computed |= rate_columns(requests, computed)
    if errors:
        computed |= errors_of_axes(model, axes, computed, errors, rows)
    return {name: computed[name] for name in columns}


def _capacity_columns(
    model: Model, axes: Sequence[Axis], rows: int, columns: Sequence[str], batches: int
) -> dict[str, NDArray[Any]]:
    """Columns of what fits of a product, worked out at one batch size for all of them.

    Parameters
    ----------
    model, axes, rows, columns : as `fill_columns`
    batches : int
        Position of the axis of batch sizes.
    """
    fewer = at_first(axes, batches)
    points = prod(len(axis.values) for axis in fewer)
    counts = counted_columns(model.architecture, product_of(fewer), points, memory_counts(model))
    inputs = expand([part_of(axis, MEMORY_INPUTS) for axis in fewer])
    inner = prod(len(axis.values) for axis in axes[batches + 1 :])
    sizes = axes[batches].values[:, 0]
    found = capacity_by_batch(model, inputs, counts, sizes, inner)
    return {name: getattr(found, BY_NAME[name].figure)[:rows] for name in columns}


def rate_columns(
    requests: Mapping[str, NDArray[Any]], seconds: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The column of output tokens per second, of N points.

    Parameters
    ----------
    requests, seconds : mapping of str to array, shape (N,)
        Inputs `batch_size` and `decode_steps`; columns of `RATE_SECONDS`.
    """
    batch: Any = requests["batch_size"]
    steps: Any = requests["decode_steps"]
    ttft, decode = (seconds[name] for name in RATE_SECONDS)
    rate: Any = output_rate(batch, steps, ttft, decode)  # type: ignore[arg-type]
    return {THROUGHPUT.name: rate}


def of_reduction(columns: Sequence[str], reduction: int) -> list[str]:
    """Those of some columns that have this reduction."""
    return [name for name in columns if BY_NAME[name].reduction == reduction]


def _constant(plan: tuple[int, int, int], figures: Integers) -> np.int64 | np.float64 | None:
    """The value of a column that its figures show to be constant; None where they do not.

    On one device nothing is sent, for example, and the weights of a model are the same everywhere.
    """
    reduction, figure, key = plan
    row = figures[figure]
    if not row.size or (row != row[0]).any():
        return None
    if reduction == AS_IS:
        return np.int64(row[0])
    if reduction not in (PER_SEQUENCE, OVER_STEPS, READ_ONCE) or row[0] or key >= 0:
        return None
    return np.float64(0) if reduction == READ_ONCE else np.int64(0)


def _plan(column: Column, growth: Integers) -> tuple[int, int, int]:
    """Instruction for `kernel.fill`: reduction, row of figures, and row of growth per key or -1."""
    key = -1
    if column.reduction == OVER_STEPS:
        place = GROWTH.index(f"counts.{column.figure.split('.')[1]}")
        key = place if growth[:, place].any() else -1
    return column.reduction, FIGURES.index(column.figure), key


def plain_columns(
    model: Model, inputs: dict[str, NDArray[Any]], columns: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Output columns of points with the plain backend.

    Parameters
    ----------
    model : Model
    inputs : dict of str to integer array, shape (N,)
        All input columns.
    columns : sequence of str
        Output columns.

    Returns
    -------
    dict of str to int64 or float64 array, shape (N,)
    """
    outputs = [BY_NAME[name] for name in columns]
    rows = [
        point_values(model, Point(*values), outputs)
        for values in zip(*(inputs[name].tolist() for name in Point._fields), strict=True)
    ]
    kinds = [_KINDS.get(column.dtype, np.int64) for column in outputs]
    values_of = zip(*rows, strict=True) if rows else [[] for _ in outputs]
    return {
        column.name: np.array(values, kind)
        for column, values, kind in zip(outputs, values_of, kinds, strict=True)
    }


def compute_arrays(
    model: Model, chunk: Chunk, columns: tuple[str, ...] | None = None, backend: str = COMPILED
) -> dict[str, NDArray[Any]]:
    """Compute columns of the points of a chunk, on one core.

    Parameters
    ----------
    model : Model
    chunk : Chunk
    columns : tuple of str, optional
        By default all columns of the model.
    backend : str
        "plain" or "compiled".

    Returns
    -------
    dict of str to array, shape (N,)
        Choices are codes.
    """
    columns = columns or (*model.inputs, *output_names(model))
    rows = chunk.stop - chunk.start
    outputs = tuple(name for name in columns if name in BY_NAME)
    inputs: dict[str, NDArray[Any]] = {}
    if backend == PLAIN or len(outputs) < len(columns):
        inputs = {name: values[:rows] for name, values in expand(chunk.axes, np.int32).items()}
    if backend == PLAIN:
        computed = plain_columns(model, inputs, outputs)
    else:
        computed = computed_columns(model, chunk.axes, rows, outputs)
    computed |= {name: shown_values(name, values) for name, values in inputs.items()}
    return {name: computed[name] for name in columns}


def shown_values(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Values of an input column in its unit: stored integers divided by `Input.scale`."""
    scale = INPUTS[name].scale
    if scale == 1:
        return values
    if values.strides == (0,) and len(values):
        return np.broadcast_to(np.float64(values[0] / scale), len(values))
    shown: NDArray[Any] = values / scale
    return shown
