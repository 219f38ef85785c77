"""Products of axes as columns, and distinct rows of columns."""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from sweepengine.grid.axes import Axis

Integers = NDArray[np.int64]
WIDEST = 1 << 22
"""Widest range of keys that a table looks up; wider ranges are sorted."""
SPARSE = 64
"""Range per key above which sorting is faster than a table."""


def expand(
    axes: Sequence[Axis], dtype: type[np.integer] = np.int64
) -> dict[str, NDArray[np.integer]]:
    """Columns of all points of a product of axes; the last axis is fastest.

    A column of one value is a broadcast, which needs no memory.
    """
    total = prod(len(axis.values) for axis in axes)
    outer, inner = 1, total
    columns = {}
    for axis in axes:
        count = len(axis.values)
        inner //= count
        for i, name in enumerate(axis.columns):
            values = axis.values[:, i].astype(dtype)
            if count == 1:
                columns[name] = np.broadcast_to(values[0], total)
                continue
            spread = np.broadcast_to(values[None, :, None], (outer, count, inner))
            columns[name] = spread.reshape(-1)
        outer *= count
    return columns


def part_of(axis: Axis, names: Sequence[str]) -> Axis:
    """An axis reduced to some of its columns."""
    kept = [i for i, name in enumerate(axis.columns) if name in names]
    return Axis(axis.name, tuple(axis.columns[i] for i in kept), axis.values[:, kept])


def axis_of(axes: Sequence[Axis], column: str) -> int | None:
    """Position of the axis that has one column alone; None where none has."""
    return next((i for i, axis in enumerate(axes) if axis.columns == (column,)), None)


def at_first(axes: Sequence[Axis], place: int) -> list[Axis]:
    """The axes with the first value alone of the one at a position."""
    fewer = [*axes]
    fewer[place] = axes[place]._replace(values=axes[place].values[:1])
    return fewer


def indexed(
    axes: Sequence[Axis], keys: Sequence[str], summed: Sequence[str]
) -> tuple[dict[str, Integers], Integers, Integers]:
    """Distinct rows of the columns `keys` of a product of axes, and the row of each point.

    Parameters
    ----------
    axes : sequence of Axis
    keys : sequence of str
        Columns whose rows are deduplicated.
    summed : sequence of str
        Columns whose values are carried as they are.

    Returns
    -------
    columns : dict of str to int64 array, shape (D,)
        The rows, by the names of `keys`.
    added : int64 array, shape (1 + len(summed), sum of lengths)
        What each value of each axis adds to the row's position and to each column of `summed`;
        axes one after the other, the last one fastest.
    lengths : int64 array
        Number of values of each axis.
    """
    key_axes = [axis for axis in axes if set(axis.columns) & set(keys)]
    codes = None
    if len(key_axes) == 1:
        places = [key_axes[0].columns.index(name) for name in keys]
        rows, codes = distinct([key_axes[0].values[:, place] for place in places])
        columns = {n: key_axes[0].values[rows, p] for n, p in zip(keys, places, strict=True)}
    else:
        expanded = expand(key_axes)
        columns = {name: expanded[name] for name in keys}
    parts = []
    stride = len(columns[keys[0]])
    for axis in axes:
        part = np.zeros((1 + len(summed), len(axis.values)), np.int64)
        if codes is not None and axis is key_axes[0]:
            part[0] = codes
        elif set(axis.columns) & set(keys):
            stride //= len(axis.values)
            part[0] = np.arange(len(axis.values)) * stride
        for i, name in enumerate(summed, 1):
            if name in axis.columns:
                part[i] = axis.values[:, axis.columns.index(name)]
        parts.append(part)
    lengths = np.array([len(axis.values) for axis in axes], np.int64)
    return columns, np.concatenate(parts, axis=1), lengths


def distinct(columns: Sequence[Integers]) -> tuple[Integers, Integers]:
    """One row of each distinct combination of values, and the combination of each row.

    Values of a small range are looked up in a table instead of sorted.

    Parameters
    ----------
    columns : sequence of int64 array, each of shape (N,)

    Returns
    -------
    rows : int64 array, shape (D,)
        Position of one row of each combination.
    codes : int64 array, shape (N,)
        Position in `rows` of each row's combination.
    """
    count = len(columns[0])
    keys, span = np.zeros(count, np.int64), 1
    for values in columns:
        low, high = bounds(values)
        if low == high:
            continue
        width = high - low + 1
        if span * width > WIDEST:
            keys, span, _ = _compressed(keys, span)
        values = (values - low).astype(np.int64, copy=False)
        if span * width > WIDEST:
            values, width, _ = _compressed(values, width)
        if span > 1:
            keys *= width
            values += keys
        keys, span = values, span * width
    if span == 1 and count:
        return np.zeros(1, np.int64), keys
    codes, _, rows = _compressed(keys, span)
    return rows, codes


def bounds(values: Integers) -> tuple[int, int]:
    """Least and largest value; (0, 0) of an empty array. A broadcast value is read once."""
    if values.strides == (0,):
        values = values[:1]
    return (int(values.min()), int(values.max())) if len(values) else (0, 0)


def _compressed(keys: Integers, span: int) -> tuple[Integers, int, Integers]:
    """Position of each key among the distinct keys, their number, and a row of each."""
    if span > min(WIDEST, SPARSE * len(keys)):
        values, rows, codes = np.unique(keys, return_index=True, return_inverse=True)
        return codes.astype(np.int64), len(values), rows.astype(np.int64)
    row_of = np.full(span, -1, np.int64)
    row_of[keys] = np.arange(len(keys))
    seen = row_of >= 0
    place = np.cumsum(seen) - 1
    return place[keys], int(place[-1]) + 1, row_of[seen]
