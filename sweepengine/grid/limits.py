"""Refuses what would overflow, by evaluating the largest corner in unbounded integers.

Costs grow with most inputs; of the others (`Input.grows` is False) every combination is tried.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.errors import InputError
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.points import IMAGE_COLUMNS, INPUT_NAMES, INPUTS, Point
from sweepengine.formulas.tokens import ImageTokens, image_tokens
from sweepengine.grid.axes import Axis
from sweepengine.grid.columns import DTYPES, OUTPUT_NAMES, OUTPUTS, Column
from sweepengine.grid.plain import point_columns
from sweepengine.grid.products import bounds, distinct, expand, part_of

Integers = NDArray[np.int64]
UNORDERED = tuple(name for name, column in INPUTS.items() if not column.grows)


def check_axes(
    source: str,
    arch: Architecture,
    axes: Sequence[Axis],
    names: Sequence[str] = OUTPUT_NAMES,
) -> None:
    """Check that none of some output columns overflows at the largest corner of a product of axes.

    Raises
    ------
    InputError
        Naming the first column that would not fit, its value and the corner.
    """
    largest = {name: int(a.values[:, i].max()) for a in axes for i, name in enumerate(a.columns)}
    # Images of joint axes are tried one by one, of others the largest.
    images = [
        axis
        if len(axis.columns) > 1
        else axis._replace(values=axis.values.max(axis=0, keepdims=True))
        for axis in axes
        if set(axis.columns) & set(IMAGE_COLUMNS)
    ]
    unordered = expand([_distinct_part(axis) for axis in axes if set(axis.columns) & {*UNORDERED}])
    image = _largest_image(arch, expand(images))
    error = _overflow(arch, largest, image, _combinations(unordered), names)
    if error:
        raise InputError(f"{source}: {error}")


def _distinct_part(axis: Axis) -> Axis:
    """The distinct values of an axis in the columns `UNORDERED`."""
    part = part_of(axis, UNORDERED)
    return part if len(part.values) == 1 else part._replace(values=np.unique(part.values, axis=0))


def check_points(
    arch: Architecture, columns: Mapping[str, Integers], workloads: Mapping[str, Integers]
) -> None:
    """Check rows of input columns, of which `workloads` holds every distinct workload.

    The corner of all rows bounds each of them. Where it does not fit, rows are split at the
    middle of the input that spreads most, until that tells.

    Raises
    ------
    InputError
        Naming a row, the first column of it that would not fit, and its value.
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
    """Distinct combinations of the inputs that do not order costs, in the order `UNORDERED`."""
    values = [columns[name].astype(np.int64, copy=False) for name in UNORDERED]
    rows, _ = distinct(values)
    yield from zip(*(value[rows].tolist() for value in values), strict=True)


def _largest_image(arch: Architecture, columns: Mapping[str, NDArray[np.integer]]) -> ImageTokens:
    """Geometry that no image exceeds: the largest of each figure; costs grow with each."""
    if arch.towers is None:
        return ImageTokens(0, 0, 0, 0, 0)
    # The formula is arithmetic alone, so it takes whole columns.
    found = image_tokens(
        arch.towers.image,
        *(columns[name] for name in IMAGE_COLUMNS),  # type: ignore[arg-type]
    )
    return ImageTokens(*(int(np.max(figure)) for figure in found))


def _overflow(
    arch: Architecture,
    largest: Mapping[str, int],
    image: ImageTokens,
    combinations: Iterator[tuple[int, ...]],
    names: Sequence[str] = OUTPUT_NAMES,
) -> str:
    """What does not fit at a corner, in words; empty where all does."""
    for values in combinations:
        point = Point(**{**largest, **dict(zip(UNORDERED, values, strict=True))})
        found = point_columns(arch, point, image)
        if column := _misfit(found, names):
            where = f" at its largest corner ({_corner(point, image)})"
            return _said(column, found[column.name], where)
        if sum_said := _too_large_together(found, names):
            return f"{sum_said} at its largest corner ({_corner(point, image)})"
    return ""


def _corner(point: Point, image: ImageTokens) -> str:
    return (
        f"{image.tiles} tiles, {point.text_tokens} text tokens, "
        f"{point.decode_steps} decode steps, batch {point.batch_size}"
    )


_SUMMED: Final = {
    kind: [c.name for c in OUTPUTS if c.dtype == "Int64" and c.name.endswith(f"_{kind}")]
    for kind in ("flops", "bytes")
}
"""Columns that measures add up."""


def _too_large_together(found: Mapping[str, float], names: Sequence[str]) -> str:
    """Which columns, that measures add up, do not fit Int64 together, in words."""
    largest = DTYPES["Int64"].largest
    for kind, summed in _SUMMED.items():
        value = sum(found[name] for name in summed if name in names)
        if value > largest:
            return f"the sum of all {kind} reaches {value:,}: expected at most {largest:,} (Int64)"
    return ""


def _misfit(found: Mapping[str, float], names: Sequence[str] = OUTPUT_NAMES) -> Column | None:
    """The first of some columns whose value its type does not hold."""
    asked = (column for column in OUTPUTS if column.name in names)
    return next((c for c in asked if found[c.name] > DTYPES[c.dtype].largest), None)


def _said(column: Column, value: float, where: str) -> str:
    largest = DTYPES[column.dtype].largest
    return f"{column.name} reaches {value:,}{where}: expected at most {largest:,} ({column.dtype})"


def refuse_overflow(source: str, found: Mapping[str, float]) -> None:
    """Refuse the columns of one point when one does not fit its type.

    Raises
    ------
    InputError
        Naming the column and its value.
    """
    if column := _misfit(found):
        raise InputError(f"{source}: {_said(column, found[column.name], '')}")
    if said := _too_large_together(found, OUTPUT_NAMES):
        raise InputError(f"{source}: {said}")
