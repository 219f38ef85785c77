"""Overflow check: the largest corner of a grid is evaluated in unbounded integers.

Costs grow with most inputs; every combination of the others (`Input.grows` is False) is tried.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.errors import InputError
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.points import (
    IMAGE_COLUMNS,
    INPUT_NAMES,
    INPUTS,
    Point,
)
from sweepengine.formulas.views import NO_IMAGE, ImageViews, View
from sweepengine.grid.axes import Axis
from sweepengine.grid.columns import DTYPES, OUTPUT_NAMES, OUTPUTS, Column
from sweepengine.grid.counted import point_columns
from sweepengine.grid.plain import image_of_sizes
from sweepengine.grid.products import bounds, distinct, expand, part_of

Integers = NDArray[np.int64]
UNORDERED_COLUMNS = tuple(name for name, column in INPUTS.items() if not column.grows)


def check_axes(
    source: str,
    arch: Architecture,
    axes: Sequence[Axis],
    names: Sequence[str] = OUTPUT_NAMES,
) -> None:
    """Check that output columns do not overflow at the largest corner of a product of axes.

    Parameters
    ----------
    source : str
        Name of the grid in messages.
    arch : Architecture
    axes : sequence of Axis
        Of all input columns.
    names : sequence of str
        Output columns to check.

    Raises
    ------
    InputError
        Naming the first column that overflows, its value and the corner.
    """
    largest = {name: int(a.values[:, i].max()) for a in axes for i, name in enumerate(a.columns)}
    # Every image of a joint axis is tried; of other axes the largest value.
    images = [
        axis
        if len(axis.columns) > 1
        else axis._replace(values=axis.values.max(axis=0, keepdims=True))
        for axis in axes
        if set(axis.columns) & set(IMAGE_COLUMNS)
    ]
    unordered = expand(
        [_distinct_part(axis) for axis in axes if set(axis.columns) & {*UNORDERED_COLUMNS}]
    )
    image = _largest_image(arch, expand(images))
    error = _overflow(arch, largest, image, _combinations(unordered), names)
    if error:
        raise InputError(f"{source}: {error}")


def _distinct_part(axis: Axis) -> Axis:
    """The distinct values of an axis in `UNORDERED_COLUMNS`."""
    part = part_of(axis, UNORDERED_COLUMNS)
    return part if len(part.values) == 1 else part._replace(values=np.unique(part.values, axis=0))


def check_points(
    arch: Architecture, columns: Mapping[str, Integers], workloads: Mapping[str, Integers]
) -> None:
    """Check that no output column overflows at any of N points.

    The largest corner of all points bounds each of them. Where it overflows, points are split at
    the middle of the input with the widest range, until each part fits or is one point.

    Parameters
    ----------
    arch : Architecture
    columns : mapping of str to int64 array, shape (N,)
        Input columns.
    workloads : mapping of str to int64 array
        Every distinct workload of the points.

    Raises
    ------
    InputError
        Naming a row, its first column that overflows, and the value.
    """
    largest = {name: bounds(workloads.get(name, values))[1] for name, values in columns.items()}
    image = _largest_image(arch, workloads)
    pending = []
    if _overflow(arch, largest, image, _combinations(workloads)):
        pending = [np.arange(len(columns[INPUT_NAMES[0]]))]
    while pending:
        rows = pending.pop()
        part = {name: values[rows] for name, values in columns.items()}
        ends = {name: bounds(values) for name, values in part.items()}
        largest = {name: high for name, (_, high) in ends.items()}
        error = _overflow(arch, largest, _largest_image(arch, part), _combinations(part))
        if not error:
            continue
        low, high = max(ends.values(), key=lambda end: (end[0] < end[1], end[1] / max(end[0], 1)))
        if low == high:
            raise InputError(f"points[{rows[0]}]: {error}")
        widest = next(name for name, end in ends.items() if end == (low, high))
        above = part[widest] > (low + high) // 2
        pending += [rows[~above], rows[above]]


def _combinations(columns: Mapping[str, NDArray[np.integer]]) -> Iterator[tuple[int, ...]]:
    """Distinct combinations of `UNORDERED_COLUMNS`."""
    values = [columns[name].astype(np.int64, copy=False) for name in UNORDERED_COLUMNS]
    rows, _ = distinct(values)
    yield from zip(*(value[rows].tolist() for value in values), strict=True)


def _largest_image(arch: Architecture, columns: Mapping[str, NDArray[np.integer]]) -> ImageViews:
    """The largest value of each figure of the images, an upper bound as costs grow with each."""
    if arch.towers is None:
        return NO_IMAGE
    rows, _ = distinct([columns[name].astype(np.int64, copy=False) for name in IMAGE_COLUMNS])
    sizes = zip(*(columns[name][rows].tolist() for name in IMAGE_COLUMNS), strict=True)
    images = [image_of_sizes(arch.towers, *size) for size in sizes]
    return ImageViews(
        _largest_view([image.views for image in images]),
        _largest_view([image.tiles for image in images]),
        max(image.features for image in images),
        max(image.tokens for image in images),
    )


def _largest_view(views: list[View]) -> View:
    return View(*map(max, zip(*views, strict=True)))


def _overflow(
    arch: Architecture,
    largest: Mapping[str, int],
    image: ImageViews,
    combinations: Iterator[tuple[int, ...]],
    names: Sequence[str] = OUTPUT_NAMES,
) -> str:
    """Text of the first overflow at a corner; empty where there is none.

    Parameters
    ----------
    arch : Architecture
    largest : mapping of str to int
        Largest value of each input column.
    image : ImageViews
        Upper bound of all images.
    combinations : iterator of tuple of int
        Values of `UNORDERED_COLUMNS`.
    names : sequence of str
        Output columns to check.
    """
    for values in combinations:
        point = Point(**{**largest, **dict(zip(UNORDERED_COLUMNS, values, strict=True))})
        costs = point_columns(arch, point, image)
        corner = (
            f" at its largest corner ({image.tiles.count} tiles, {point.text_tokens} text tokens, "
            f"{point.decode_steps} decode steps, batch {point.batch_size})"
        )
        if column := _overflowing(costs, names):
            return _overflow_text(column, costs[column.name], corner)
        if text := _sum_overflow(costs, names):
            return text + corner
    return ""


_SUMMED: Final = {
    kind: [c.name for c in OUTPUTS if c.dtype == "Int64" and c.name.endswith(f"_{kind}")]
    for kind in ("flops", "bytes")
}
"""Columns that derived measures add up."""


def _sum_overflow(costs: Mapping[str, float], names: Sequence[str]) -> str:
    """Text of the first sum of columns that does not fit Int64; empty where all fit."""
    largest = DTYPES["Int64"].largest
    for kind, summed in _SUMMED.items():
        value = sum(costs[name] for name in summed if name in names)
        if value > largest:
            return f"the sum of all {kind} reaches {value:,}: expected at most {largest:,} (Int64)"
    return ""


def _overflowing(costs: Mapping[str, float], names: Sequence[str] = OUTPUT_NAMES) -> Column | None:
    """The first of some columns whose value exceeds its type."""
    checked = (column for column in OUTPUTS if column.name in names)
    return next((c for c in checked if costs[c.name] > DTYPES[c.dtype].largest), None)


def _overflow_text(column: Column, value: float, where: str) -> str:
    largest = DTYPES[column.dtype].largest
    return f"{column.name} reaches {value:,}{where}: expected at most {largest:,} ({column.dtype})"


def refuse_overflow(source: str, costs: Mapping[str, float]) -> None:
    """Check that the columns of one point fit their types.

    Raises
    ------
    InputError
        Naming the column and its value.
    """
    if column := _overflowing(costs):
        raise InputError(f"{source}: {_overflow_text(column, costs[column.name], '')}")
    if text := _sum_overflow(costs, OUTPUT_NAMES):
        raise InputError(f"{source}: {text}")
