"""Columns of the class of errors of points on devices, and of the range of their times."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.error_classes import Case, ErrorClass, error_class, ranges
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.engine.tables import LAYOUT_COLUMNS
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import Point
from sweepengine.formulas.serving import CONTINUOUS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.axes import Axis
from sweepengine.grid.axis_texts import Texts
from sweepengine.grid.columns import BY_NAME, ERRORS, RANGES, TYPES
from sweepengine.grid.products import distinct

Integers = NDArray[np.int64]
FLAGS = {"images": 1, "batch_size": 2, "draft_tokens": 1}
"""Inputs of which only matters whether they are below this number."""
ERROR_INPUTS = ("device", "framework", "serving", "weight_format", *LAYOUT_COLUMNS, *FLAGS)
"""Inputs that decide the class of a point."""
ERROR_COLUMNS = frozenset(column.name for column in ERRORS)
_TEXTS: list[str] = []
_CODES: dict[str, int] = {}


def code_of(text: str) -> int:
    """The code that stands for a text in arrays, within this process."""
    if text not in _CODES:
        _TEXTS.append(text)
        _CODES[text] = _TEXTS.index(text)
    return _CODES[text]


def texts_of(codes: NDArray[Any]) -> Texts:
    """The texts that codes of `code_of` stand for, in alphabetical order."""
    if codes.strides == (0,) and len(codes):
        return Texts(np.broadcast_to(np.int32(0), len(codes)), (_TEXTS[int(codes[0])],))
    present = np.flatnonzero(np.bincount(codes)).tolist()
    ordered = sorted(present, key=_TEXTS.__getitem__)
    places = np.zeros(len(_TEXTS), np.int32)
    places[ordered] = np.arange(len(ordered))
    return Texts(places[codes], tuple(_TEXTS[code] for code in ordered))


def error_series(name: str, values: NDArray[Any]) -> pl.Series:
    """A series of a column of errors: texts of codes, null for NaN."""
    if TYPES[name] == "String":
        codes, texts = texts_of(values)
        return pl.Series(name, texts, pl.String).gather(codes.astype(np.uint32))
    series = pl.Series(name, values)
    unknown = values.dtype.kind == "f" and np.isnan(values).any()
    return series.fill_nan(None) if unknown else series


def case_of(value: Callable[[str], int]) -> Case:
    """What of a point decides its class; `value` gives the value of each of `ERROR_INPUTS`."""
    return Case(
        value("weight_format"),
        Layout(*map(value, LAYOUT_COLUMNS)),
        value("serving") == CONTINUOUS,
        value("batch_size") == 1,
        value("images") > 0,
        speculative=value("draft_tokens") > 0,
    )


def point_errors(
    model: Model, point: Point, target: TimingTarget, seconds: Mapping[str, float]
) -> dict[str, Any]:
    """Columns of errors of one point; None where no run is like it.

    Parameters
    ----------
    model : Model
    point : Point
    target : TimingTarget
        Of the point.
    seconds : mapping of str to float
        Its `ttft_seconds` and `tpot_seconds`.
    """
    known = error_class(model.architecture, target, case_of(partial(getattr, point)))
    return ranges(known, seconds["ttft_seconds"], seconds["tpot_seconds"])


def _class_of(model: Model, inputs: Mapping[str, int]) -> ErrorClass:
    """What is known of the error of points with these values of `ERROR_INPUTS`."""
    device, framework = model.devices[inputs["device"]], FRAMEWORKS[inputs["framework"]]
    target = timing_target(device, framework, model.times or None)
    return error_class(model.architecture, target, case_of(inputs.__getitem__))


def needed_seconds(names: Sequence[str]) -> list[str]:
    """Columns of seconds that columns of errors are made of."""
    figures = [BY_NAME[name].figure.split(".") for name in names]
    return list(dict.fromkeys(f"{figure[0]}_seconds" for figure in figures if len(figure) > 1))


def factors_of_axes(model: Model, axes: Sequence[Axis]) -> dict[str, tuple[float | None, ...]]:
    """Factors of `columns.RANGES` to times by text, of the classes of a product of axes."""
    classes, _ = _classes_of_axes(model, axes)
    return {
        known.text: tuple(ranges(known, 1.0, 1.0)[name] for name in RANGES)
        for known in sorted(classes, key=lambda known: known.text)
    }


def range_columns(factors: Mapping[str, Sequence[float | None]]) -> list[pl.Expr]:
    """The columns `columns.RANGES` of a frame that lacks them, of factors by `error_class`."""
    texts, known = list(factors), pl.col("error_class")
    return [
        (
            pl.col(f"{BY_NAME[name].figure.split('.')[0]}_seconds")
            * known.replace_strict(
                texts, [factors[text][i] for text in texts], default=None, return_dtype=pl.Float64
            )
        ).alias(name)
        for i, name in enumerate(RANGES)
    ]


def _classes_of_axes(
    model: Model, axes: Sequence[Axis]
) -> tuple[list[ErrorClass], NDArray[np.int64]]:
    """Distinct classes of a product of axes, and which each point has; a broadcast if all alike."""
    kept, codes = [], []
    for axis in axes:
        chosen = [i for i, name in enumerate(axis.columns) if name in ERROR_INPUTS]
        columns = {axis.columns[i]: _flagged(axis.columns[i], axis.values[:, i]) for i in chosen}
        of_value = np.zeros(1, np.int64)
        if columns:
            first, places = distinct(list(columns.values()))
            columns = {name: values[first] for name, values in columns.items()}
            of_value = places if len(first) > 1 else of_value
        kept.append(columns)
        codes.append(of_value)
    shape = [len(next(iter(columns.values()))) if columns else 1 for columns in kept]
    classes = [
        _class_of(
            model,
            {
                name: int(values[place])
                for columns, place in zip(kept, places, strict=True)
                for name, values in columns.items()
            },
        )
        for places in np.ndindex(*shape)
    ]
    present = list(dict.fromkeys(classes))
    lengths = [len(axis.values) for axis in axes]
    if len(present) == 1:
        return present, np.broadcast_to(np.int64(0), prod(lengths))
    numbers = np.array([present.index(known) for known in classes], np.int64).reshape(shape)
    return present, np.broadcast_to(numbers[np.ix_(*codes)], lengths).reshape(-1)


def errors_of_axes(
    model: Model, axes: Sequence[Axis], seconds: Mapping[str, NDArray[Any]], names: Sequence[str],
    rows: int,
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Columns of errors of the first points of a product of axes.

    Parameters
    ----------
    model : Model
        With devices.
    axes : sequence of Axis
    seconds : mapping of str to float64 array, shape (rows,)
        Those of `needed_seconds`.
    names : sequence of str
        Columns of `ERRORS`.
    rows : int
    """
    classes, codes = _classes_of_axes(model, axes)
    return _columns(classes, codes[:rows], seconds, names)


def errors_of_columns(
    model: Model, inputs: Mapping[str, Integers], seconds: Mapping[str, NDArray[Any]],
    names: Sequence[str],
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Columns of errors of N points.

    Parameters
    ----------
    model, seconds, names : as `errors_of_axes`
    inputs : mapping of str to int64 array, shape (N,)
        Of `ERROR_INPUTS`.
    """
    columns = {name: _flagged(name, inputs[name]) for name in ERROR_INPUTS}
    rows, codes = distinct(list(columns.values()))
    classes = [
        _class_of(model, {name: int(values[row]) for name, values in columns.items()})
        for row in rows.tolist()
    ]
    if len(set(classes)) == 1:
        codes = np.broadcast_to(np.int64(0), len(codes))
    return _columns(classes, codes, seconds, names)


def _flagged(name: str, values: Integers) -> Integers:
    if name not in FLAGS:
        return values
    repeated = values.strides == (0,) and len(values)
    least: Integers = np.minimum(values[:1] if repeated else values, FLAGS[name])
    return np.broadcast_to(least[0], len(values)) if repeated else least


def _columns(
    classes: Sequence[ErrorClass], codes: NDArray[np.int64], seconds: Mapping[str, NDArray[Any]],
    names: Sequence[str],
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Columns of points, NaN where no run is like a point; texts as codes.

    Parameters
    ----------
    classes : sequence of ErrorClass
    codes : int64 array, shape (N,)
        Which class each point has; a broadcast where all have the same.
    seconds, names : as `errors_of_axes`
    """
    same = codes.strides == (0,) and len(codes)
    found: dict[str, NDArray[Any]] = {}
    for name in names:
        time, _, end = BY_NAME[name].figure.partition(".")
        if not end:
            texts = time == "text"
            values = np.array([code_of(known.text) if texts else known.runs for known in classes])
        else:
            figures = [getattr(known, time) for known in classes]
            values = np.array([np.nan if one is None else getattr(one, end) for one in figures])
        of_each = np.broadcast_to(values[codes[0]], len(codes)) if same else values.take(codes)
        if end and not np.isnan(values).all():
            into = None if same else of_each
            of_each = np.multiply(of_each, seconds[f"{time}_seconds"], out=into)
        found[name] = of_each
    return found
