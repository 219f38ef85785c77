"""Products of axes as columns, and distinct rows of columns."""

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from sweepengine.grid.axes import Axis

Integers = NDArray[np.int64]
WIDEST = 1 << 22
"""Widest span of keys that is looked up in a table; wider ones are sorted."""
SPARSE = 64
"""Span for each key from which on sorting is faster too."""


def expand(
    axes: Sequence[Axis], dtype: type[np.integer] = np.int64
) -> dict[str, NDArray[np.integer]]:
    """All points of a product of axes, a column each; the last axis is fastest.

    A column of one value is that value, repeated without memory of its own.
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
    """The values of an axis in some columns alone."""
    kept = [i for i, name in enumerate(axis.columns) if name in names]
    return Axis(axis.name, tuple(axis.columns[i] for i in kept), axis.values[:, kept])


def indexed(
    axes: Sequence[Axis], keys: Sequence[str], beside: Sequence[str]
) -> tuple[dict[str, Integers], Integers, Integers]:
    """Distinct rows of some columns of a product of axes, and how each point finds its own.

    Returns
    -------
    columns : dict of str to int64 array
        The rows, by the names of `keys`.
    added : int64 array, shape (1 + len(beside), sum of lengths)
        What each value of each axis adds to the row's position and to each column of `beside`;
        axes one after the other, the last one fastest.
    lengths : int64 array
        Values of each axis.
    """
    mine = [axis for axis in axes if set(axis.columns) & set(keys)]
    codes = None
    if len(mine) == 1:
        places = [mine[0].columns.index(name) for name in keys]
        rows, codes = distinct([mine[0].values[:, place] for place in places])
        columns = {n: mine[0].values[rows, p] for n, p in zip(keys, places, strict=True)}
    else:
        expanded = expand(mine)
        columns = {name: expanded[name] for name in keys}
    parts = []
    stride = len(columns[keys[0]])
    for axis in axes:
        part = np.zeros((1 + len(beside), len(axis.values)), np.int64)
        if codes is not None and axis is mine[0]:
            part[0] = codes
        elif set(axis.columns) & set(keys):
            stride //= len(axis.values)
            part[0] = np.arange(len(axis.values)) * stride
        for i, name in enumerate(beside, 1):
            if name in axis.columns:
                part[i] = axis.values[:, axis.columns.index(name)]
        parts.append(part)
    lengths = np.array([len(axis.values) for axis in axes], np.int64)
    return columns, np.concatenate(parts, axis=1), lengths


def distinct(columns: Sequence[Integers]) -> tuple[Integers, Integers]:
    """Rows that hold each distinct combination of values once, and which one each row holds.

    Nothing is sorted where values span little.

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
    codes, _, rows = _compressed(keys, span)
    return rows, codes


def bounds(values: Integers) -> tuple[int, int]:
    """Least and largest value; of none 0 and 0. One value repeated is looked at once."""
    if values.strides == (0,):
        values = values[:1]
    return (int(values.min()), int(values.max())) if len(values) else (0, 0)


def _compressed(keys: Integers, span: int) -> tuple[Integers, int, Integers]:
    """Keys as positions among the distinct ones, how many those are, and a row of each."""
    if span > min(WIDEST, SPARSE * len(keys)):
        values, rows, codes = np.unique(keys, return_index=True, return_inverse=True)
        return codes.astype(np.int64), len(values), rows.astype(np.int64)
    row_of = np.full(span, -1, np.int64)
    row_of[keys] = np.arange(len(keys))
    seen = row_of >= 0
    place = np.cumsum(seen) - 1
    return place[keys], int(place[-1]) + 1, row_of[seen]
