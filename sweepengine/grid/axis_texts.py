"""Texts of joint axes as columns: `mode`, `crops`, `precision` and `layout` of each point."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.models import Model, choices_of
from sweepengine.formulas.layout import Layout
from sweepengine.grid.axes import JOINT, Axis
from sweepengine.grid.products import distinct, indexed
from sweepengine.grid.shorthand import layout_name, precision_text

NONE = "none"
ABSENT = -1
"""Code of a point that no text describes, such as sizes that are those of no mode."""


class Texts(NamedTuple):
    """A column of texts: the distinct ones, and which of them each point has."""

    codes: NDArray[np.int32]
    """Positions in `names`, or `ABSENT`; shape (N,)."""
    names: tuple[str, ...]


def texts_of_axes(
    model: Model, axes: Sequence[Axis], rows: int, names: Sequence[str]
) -> dict[str, Texts]:
    """Texts of the first `rows` points of a product of axes.

    Parameters
    ----------
    model : Model
    axes : sequence of Axis
        The last one fastest.
    rows : int
    names : sequence of str
        Columns of `grid.columns.AXIS_TEXTS`.
    """
    found = {}
    for name in names:
        columns, added, lengths = indexed(axes, JOINT[name].columns, ())
        codes, texts = _coded(model, name, columns)
        if len(texts) == 1 and ABSENT not in codes:
            found[name] = Texts(np.broadcast_to(np.int32(0), rows), texts)
            continue
        place, start = np.zeros(1, np.int64), 0
        for length in lengths:
            part = added[0, start : start + length]
            place = (place[:, None] + part).reshape(-1)
            start += length
        found[name] = Texts(codes[place[:rows]], texts)
    return found


def texts_of_columns(
    model: Model, columns: Mapping[str, NDArray[np.int64]], names: Sequence[str]
) -> dict[str, Texts]:
    """Texts of N points.

    Parameters
    ----------
    model : Model
    columns : mapping of str to int64 array, shape (N,)
        Inputs as stored integers.
    names : sequence of str
        Columns of `grid.columns.AXIS_TEXTS`.
    """
    found = {}
    for name in names:
        inputs = [columns[column] for column in JOINT[name].columns]
        rows, codes = distinct(inputs)
        chosen = {c: v[rows] for c, v in zip(JOINT[name].columns, inputs, strict=True)}
        coded, texts = _coded(model, name, chosen)
        same = len(rows) == 1 and len(codes)
        found[name] = Texts(np.broadcast_to(coded[0], len(codes)) if same else coded[codes], texts)
    return found


def _coded(
    model: Model, name: str, columns: Mapping[str, NDArray[np.int64]]
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Codes of rows of inputs, and the distinct texts they stand for."""
    values = np.stack([columns[column] for column in JOINT[name].columns], axis=1)
    texts = [_WRITERS[name](model, *row) for row in values.tolist()]
    known = tuple(dict.fromkeys(text for text in texts if text is not None))
    place: dict[Any, int] = {text: i for i, text in enumerate(known)} | {None: ABSENT}
    return np.array([place[text] for text in texts], np.int32), known


def _mode(model: Model, view: int, tile: int, rows: int, cols: int) -> str | None:
    """The mode that has these sizes, with its crops; None where no mode has them."""
    for name, mode in model.modes.items():
        tiled = mode.tile_size is not None
        same = view == mode.view_size and (not tiled or tile == mode.tile_size)
        if same and tiled == bool(rows):
            return f"{name}:{_crops(model, rows, cols)}" if tiled else name
    return None


def _crops(_: Model, rows: int, cols: int) -> str:
    return f"{rows}x{cols}" if rows else NONE


def _precision(model: Model, *codes: int) -> str:
    named = zip(JOINT["precision"].columns, codes, strict=True)
    return precision_text(model.architecture, *(choices_of(model, n)[code] for n, code in named))


def _layout(_: Model, *sizes: int) -> str:
    return layout_name(Layout(*sizes))


_WRITERS: dict[str, Callable[..., str | None]] = {
    "mode": _mode,
    "crops": _crops,
    "precision": _precision,
    "layout": _layout,
}
