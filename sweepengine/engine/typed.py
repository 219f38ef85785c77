"""Computed columns as frames of Polars, each in its type."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.models import Model, choices_of
from sweepengine.engine.compute import COMPILED, compute_arrays, shown_values
from sweepengine.engine.error_columns import ERROR_COLUMNS, error_series
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axis_texts import ABSENT, Texts, texts_of_axes
from sweepengine.grid.columns import AXIS_TEXTS, TYPES
from sweepengine.grid.grid import Chunk
from sweepengine.grid.points import column_names

TEXT_NAMES = tuple(column.name for column in AXIS_TEXTS)


def type_of(name: str, model: Model, wide: bool = False) -> pl.DataType:
    """Polars type of a column; with `wide`, integers have 128 bits."""
    choices = choices_of(model, name) if name in INPUTS else ()
    return _type(choices, "Int128" if wide and TYPES[name].startswith("Int") else TYPES[name])


@lru_cache(1 << 10)
def _type(choices: tuple[str, ...], name: str) -> pl.DataType:
    """The Polars type of this name, or an Enum of choices."""
    kind: pl.DataType = pl.Enum(choices) if choices else getattr(pl, name)()
    return kind


def schema_of(model: Model, wide: bool = False) -> pl.Schema:
    """Polars types of the columns of a model: inputs, texts of joint axes, outputs."""
    return pl.Schema({name: type_of(name, model, wide) for name in column_names(model)})


def compute_chunk(
    model: Model, chunk: Chunk, columns: tuple[str, ...] | None = None, backend: str = COMPILED
) -> pl.DataFrame:
    """Columns of a chunk as a frame; parameters as those of `compute.compute_arrays`."""
    columns = column_names(model) if columns is None else columns
    numbers = tuple(name for name in columns if name not in TEXT_NAMES)
    arrays = compute_arrays(model, chunk, numbers, backend) if numbers else {}
    written = [name for name in columns if name in TEXT_NAMES]
    texts = texts_of_axes(model, chunk.axes, chunk.stop - chunk.start, written)
    return frame_of(arrays, texts, model, columns)


def frame_of(
    arrays: Mapping[str, NDArray[np.generic]],
    texts: Mapping[str, Texts],
    model: Model,
    columns: Sequence[str],
) -> pl.DataFrame:
    """A frame of computed columns and of texts.

    Parameters
    ----------
    arrays : mapping of str to array, shape (N,)
    texts : mapping of str to Texts
    model : Model
    columns : sequence of str
        Names of both, in the order of the frame.
    """
    series = [text_series(name, column) for name, column in texts.items()]
    return pl.DataFrame([*typed_frame(arrays, model), *series]).select(columns)


def text_series(name: str, texts: Texts) -> pl.Series:
    """A series of texts, null where no text describes a point."""
    if texts.codes.strides == (0,) and len(texts.codes):
        text = texts.names[0] if texts.codes[0] != ABSENT else None
        return pl.Series(name, [text], pl.String).new_from_index(0, len(texts.codes))
    codes = pl.Series(texts.codes)
    return pl.Series(name, texts.names, pl.String).gather(codes.set(codes < 0, None))


def column_of(name: str, values: NDArray[np.generic], model: Model) -> pl.Series:
    """A series of computed values, in the type of the column; null where 0 stands for another."""
    if name in ERROR_COLUMNS:
        return error_series(name, values)
    kind = type_of(name, model)
    if name in INPUTS and values.dtype.kind == "i":
        values = shown_values(name, values)
    if isinstance(kind, pl.Enum):
        return pl.Series(name, values.astype(np.uint8)).cat.to(kind)
    if name in INPUTS and kind == pl.Int32:  # checked already
        values = values.astype(np.int32, copy=False)
    series = pl.Series(name, values).cast(kind)
    return series.set(series == 0, None) if name in INPUTS and INPUTS[name].zero else series


def typed_frame(columns: Mapping[str, NDArray[np.generic]], model: Model) -> pl.DataFrame:
    """A frame of computed columns in their types; columns of one repeated value share memory."""
    shared: dict[tuple[pl.DataType, object], pl.Series] = {}
    series = []
    for name, values in columns.items():
        if values.strides != (0,) or not len(values):
            series.append(column_of(name, values, model))
            continue
        key = (type_of(name, model), column_of(name, values[:1].copy(), model).item())
        if key not in shared:
            shared[key] = pl.Series(name, [key[1]], key[0]).new_from_index(0, len(values))
        series.append(shared[key].alias(name))
    return pl.DataFrame(series)
