"""Frame in, frame out: costs of given points."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.architecture import Model, load_model
from sweepengine.axes import Axis, default_value
from sweepengine.errors import InputError
from sweepengine.grid import WORKLOAD_COLUMNS, Chunk, expand, kernel_inputs
from sweepengine.kernel import compute
from sweepengine.layers.residual import ATTENTIONS
from sweepengine.limits import check_limits
from sweepengine.schema import COLUMNS, INPUT_NAMES, INPUTS, OUTPUT_NAMES

Integers = NDArray[np.int64]
ATTENTION_TYPE = pl.Enum(ATTENTIONS)
CHUNK_ROWS = 1 << 17
_TYPES: Mapping[str, pl.DataType] = {"Int32": pl.Int32(), "Int64": pl.Int64(),
                                     "Float64": pl.Float64(), "Enum": ATTENTION_TYPE}  # fmt: skip
SCHEMA = pl.Schema({column.name: _TYPES[column.dtype] for column in COLUMNS})
"""Polars types of all columns, inputs first."""


def compute_arrays(
    model: Model,
    chunk: Chunk,
    columns: tuple[str, ...] = (*INPUT_NAMES, *OUTPUT_NAMES),
    parallel: bool = True,
) -> dict[str, NDArray[Any]]:
    """Compute `columns` of the points of one chunk as arrays; `attention` as codes."""
    rows = chunk.stop - chunk.start
    outputs = tuple(name for name in columns if name in OUTPUT_NAMES)
    computed = compute(model.architecture, *kernel_inputs(chunk.axes), rows, outputs, parallel)
    if len(outputs) < len(columns):
        inputs = expand(chunk.axes, np.int32)
        computed |= {name: values[:rows] for name, values in inputs.items()}
    return {name: computed[name] for name in columns}


def compute_chunk(
    model: Model,
    chunk: Chunk,
    columns: tuple[str, ...] = (*INPUT_NAMES, *OUTPUT_NAMES),
    parallel: bool = True,
) -> pl.DataFrame:
    """Compute `columns` (inputs and outputs) of the points of one chunk as a frame."""
    computed = compute_arrays(model, chunk, columns, parallel)
    return pl.DataFrame([column_of(name, values) for name, values in computed.items()])


def column_of(name: str, values: NDArray[np.generic]) -> pl.Series:
    """Values of one column, as computed, in the column's type."""
    if name == "attention":
        return pl.Series(name, values.astype(np.uint8)).cat.to(ATTENTION_TYPE)
    return pl.Series(name, values).cast(SCHEMA[name])


def evaluate(points: pl.DataFrame, model: str | Path = "deepseek-ocr-3b") -> pl.DataFrame:
    """Cost of each given point.

    Parameters
    ----------
    points : polars.DataFrame, N rows
        Any subset of the input columns (`sweepengine.schema.INPUTS`); the rest take their
        defaults, `key_value_heads` that of `attention_heads`. Integer columns of any width
        are taken as long as their values are valid.
    model : str or Path
        Name of a shipped model or path of a model file.

    Returns
    -------
    polars.DataFrame, N rows
        All input columns, then all output columns.

    Raises
    ------
    InputError
        For an unknown column, a wrong type, a null, a value out of range, or a point whose
        costs do not fit the columns' types.
    """
    loaded = load_model(model)
    if not isinstance(points, pl.DataFrame):
        raise InputError(f"points: expected a polars DataFrame, found {type(points).__name__}")
    columns = _inputs(points, loaded)
    _refuse_overflow(loaded, columns, 0, points.height)
    frames = [
        _evaluate_rows(loaded, {name: v[low : low + CHUNK_ROWS] for name, v in columns.items()})
        for low in range(0, points.height, CHUNK_ROWS)
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema=SCHEMA)


def _evaluate_rows(model: Model, columns: Mapping[str, Integers]) -> pl.DataFrame:
    values = np.stack([columns[name] for name in INPUT_NAMES], axis=1)
    return compute_chunk(model, Chunk(0, len(values), (Axis("points", INPUT_NAMES, values),)))


def _inputs(points: pl.DataFrame, model: Model) -> dict[str, Integers]:
    for name in points.columns:
        if name not in INPUT_NAMES:
            raise InputError(
                f"points: {name}: unknown column: expected some of {', '.join(INPUT_NAMES)}"
            )
    found: dict[str, Integers] = {}
    for column in INPUTS:
        if column.name in points.columns:
            found[column.name] = _valid(points[column.name], model)
        elif column.name == "key_value_heads" and "attention_heads" in points.columns:
            found[column.name] = found["attention_heads"]
        else:
            default = default_value(model, column.name)
            found[column.name] = np.full(points.height, default, np.int64)
    hidden = model.architecture.decoder.hidden
    heads, kv_heads = found["attention_heads"], found["key_value_heads"]
    _require(hidden % heads == 0, "attention_heads", heads, f"a divisor of {hidden}")
    _require(heads % kv_heads == 0, "key_value_heads", kv_heads, "a divisor of attention_heads")
    one_sided = (found["crop_rows"] == 0) == (found["crop_cols"] == 0)
    expected = "crop_rows and crop_cols both 0 (no tiles) or both 1..1000"
    _require(one_sided, "crop_rows", found["crop_rows"], expected)
    return found


def _valid(series: pl.Series, model: Model) -> Integers:
    column = INPUTS[INPUT_NAMES.index(series.name)]
    is_text = series.dtype == pl.String or isinstance(series.dtype, pl.Enum | pl.Categorical)
    allowed = column.allowed
    if not (is_text if column.dtype == "Enum" else series.dtype.is_integer()):
        raise InputError(
            f"points: {series.name}: expected {column.dtype}, {allowed}; found {series.dtype}"
        )
    if series.null_count():
        row = series.is_null().arg_true()[0]
        raise InputError(f"points: {series.name}[{row}] is null: expected {allowed}")
    if column.dtype == "Enum":
        codes = series.cast(pl.String).replace_strict(
            {name: code for code, name in enumerate(ATTENTIONS)},
            default=-1,
            return_dtype=pl.Int64,
        )
        _require(codes.to_numpy() >= 0, series.name, series.to_list(), allowed)
        return codes.to_numpy()
    inside = series.is_between(column.minimum, column.maximum) & (series % column.multiple == 0)
    _require(inside.to_numpy(), series.name, series, allowed)
    if column.name == "attention_heads":
        expected = f"a divisor of {model.architecture.decoder.hidden}"
        divides = model.architecture.decoder.hidden % series.cast(pl.Int64).to_numpy() == 0
        _require(divides, series.name, series, expected)
    return series.cast(pl.Int64).to_numpy()


def _require(holds: NDArray[np.bool_], name: str, values: object, expected: str) -> None:
    if not holds.all():
        row = int(np.argmin(holds))
        raise InputError(
            f"points: {name}[{row}] = {values[row]}: expected {expected}"  # type: ignore[index]
        )


def _refuse_overflow(model: Model, columns: Mapping[str, Integers], low: int, high: int) -> None:
    """Check the corner of rows `low` to `high`; only where it overflows look at each half."""
    if high <= low:
        return
    part = {name: values[low:high] for name, values in columns.items()}
    images = np.stack([part[name] for name in WORKLOAD_COLUMNS[:4]], axis=1)
    heads = np.stack([part["attention_heads"], part["key_value_heads"]], axis=1)
    place = f"points[{low}]" if high - low == 1 else f"points[{low}:{high}]"
    try:
        check_limits(place, model.architecture, part, images, heads)
    except InputError:
        if high - low == 1:
            raise
        middle = (low + high) // 2
        _refuse_overflow(model, columns, low, middle)
        _refuse_overflow(model, columns, middle, high)
