"""Columns of points as arrays, with the plain or the compiled backend."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.family_factors import engine_of_point
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget, speeds_of, target_of_point
from sweepengine.engine.error_columns import (
    code_of,
    errors_of_axes,
    needed_seconds,
    point_errors,
)
from sweepengine.engine.memory import MEMORY_INPUTS, memory_columns, memory_counts
from sweepengine.engine.records import FIGURES, GROWTH
from sweepengine.engine.tables import tabulate
from sweepengine.engine.threads import in_ranges
from sweepengine.engine.times import fill_times, timed_product
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.layout import devices
from sweepengine.formulas.points import INPUTS, WORKLOAD_COLUMNS, Point
from sweepengine.formulas.serving import output_rate
from sweepengine.grid.axes import Axis
from sweepengine.grid.columns import (
    AS_IS,
    BY_NAME,
    DEVICE_MEMORY,
    ERROR_CLASS,
    MEMORY,
    OVER_STEPS,
    PER_SEQUENCE,
    RATE,
    READ_ONCE,
    SECONDS,
    THROUGHPUT,
    TIMED,
    Column,
)
from sweepengine.grid.grid import Chunk
from sweepengine.grid.memory import point_figures
from sweepengine.grid.plain import column_value, layout_of, workload_of
from sweepengine.grid.points import output_names
from sweepengine.grid.products import expand, indexed, part_of
from sweepengine.grid.timed import timed

Integers = NDArray[np.int64]
PLAIN, COMPILED = "plain", "compiled"
_KINDS: dict[str, type[np.generic]] = {"Float64": np.float64, "Boolean": np.bool_}
"""Types of computed columns other than int64."""
MAX_PLAIN_POINTS = 3_000
"""Up to this many points plain Python is faster than loading the compiler."""
RATE_SECONDS = ("ttft_seconds", "decode_seconds")
"""Columns of seconds that decide the rate of output tokens."""


def backend_for(points: int) -> str:
    """The faster backend for a number of points: "plain" or "compiled"."""
    return PLAIN if points <= MAX_PLAIN_POINTS else COMPILED


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
    tables: tuple[Integers, Integers, Integers],
    rows: int,
    columns: Sequence[str],
    workers: int = 1,
) -> dict[str, NDArray[Any]]:
    """Compute output columns of the first `rows` points of a product.

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
    spans = np.array(arch.spans, np.int64)
    routings = np.array(arch.routings, np.int64).reshape(-1, 2)

    def work(start: int, stop: int) -> None:
        fill(arch.convention, Tables(*tables), spans, routings, start, stop, product.axes,
             product.lengths, plan, integers, floats)  # fmt: skip

    in_ranges(work, rows, workers)
    filled: dict[str, NDArray[Any]] = dict(zip([*whole, *real], [*integers, *floats], strict=True))
    filled |= same
    return {name: filled[name] for name in columns}


def computed_columns(
    model: Model, axes: Sequence[Axis], rows: int, columns: Sequence[str], workers: int = 1
) -> dict[str, NDArray[Any]]:
    """Counts and seconds of a product of axes, compiled; parameters as those of `fill_columns`."""
    seconds, memory = of_reduction(columns, SECONDS), of_reduction(columns, DEVICE_MEMORY)
    errors, rates = of_reduction(columns, ERROR_CLASS), of_reduction(columns, RATE)
    counts = [name for name in columns if name not in (*seconds, *memory, *errors, *rates)]
    rated = RATE_SECONDS if rates else ()
    timed_names = list(dict.fromkeys((*seconds, *needed_seconds(errors), *rated)))
    counted = [*dict.fromkeys((*counts, *(memory_counts(model) if memory else ())))]
    computed: dict[str, NDArray[Any]] = {}
    if counted:
        product = product_of(axes)
        tables = tabulate(model.architecture, product.workloads)
        computed = fill_columns(model.architecture, product, tables, rows, counted, workers)
    if memory:
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


def point_values(model: Model, point: Point, columns: Sequence[Column]) -> list[int | float]:
    """Values of output columns at one point, with the plain backend; texts as codes."""
    arch = model.architecture
    workload = workload_of(arch, point)
    found: dict[str, Any] = {}
    if any(c.reduction == ERROR_CLASS for c in columns):
        found |= point_times(model, point)
        found["error_class"] = code_of(found["error_class"])
    elif any(c.reduction in (SECONDS, RATE) for c in columns):
        found |= point_seconds(model, point)
    if any(c.reduction == DEVICE_MEMORY for c in columns):
        figures = workload.figures
        weights, tokens = figures.weights.held_bytes, figures.tokens
        found |= point_memory(model, point, weights, tokens.context, tokens.features)
    return [
        found[c.name]
        if c.timed
        else column_value(c, arch, workload, point.decode_steps, point.batch_size)
        for c in columns
    ]


def point_memory(
    model: Model, point: Point, weights: int, context: int, features: int
) -> dict[str, int]:
    """Columns of memory of one point on its device; parameters as those of `point_figures`."""
    memory = point_figures(model, point, weights, context, features)
    return {column.name: getattr(memory, column.figure) for column in MEMORY}


def point_times(model: Model, point: Point) -> dict[str, Any]:
    """Columns of seconds of one point, and of what is known of their error."""
    target = _target(model, point)
    seconds = _seconds(model, point, target)
    return seconds | point_errors(model, point, target, seconds)


def point_seconds(model: Model, point: Point) -> dict[str, float]:
    """Seconds and output tokens per second of one point on its device, with the plain backend."""
    return _seconds(model, point, _target(model, point))


def _target(model: Model, point: Point) -> TimingTarget:
    return target_of_point(model, point, devices(layout_of(point)))


def _seconds(model: Model, point: Point, target: TimingTarget) -> dict[str, float]:
    arch = model.architecture
    speeds = speeds_of(arch, point, target)
    seconds = timed(arch, point, speeds, engine_of_point(arch, point, target))
    columns: dict[str, float] = {column.name: getattr(seconds, column.figure) for column in TIMED}
    columns[THROUGHPUT.name] = output_rate(
        point.batch_size, point.decode_steps, *(columns[name] for name in RATE_SECONDS)
    )
    return columns


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
