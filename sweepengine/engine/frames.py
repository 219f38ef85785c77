"""Costs of a frame of points (`evaluate`), and of one point for simulators (`cost`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.devices import Device
from sweepengine.data.drafts import with_drafts
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, choices_of, load_model
from sweepengine.data.speeds import on_devices
from sweepengine.engine.compute import (
    PLAIN,
    Product,
    backend_at_hand,
    counted_columns,
    of_reduction,
    plain_columns,
    rate_columns,
)
from sweepengine.engine.error_columns import errors_of_columns
from sweepengine.engine.memory import memory_columns
from sweepengine.engine.named import named_devices, named_drafts
from sweepengine.engine.one_point import MEMORY_COUNTS, point_memory, point_times
from sweepengine.engine.threads import begin, cores
from sweepengine.engine.times import fill_times, timed_rows
from sweepengine.engine.typed import TEXT_NAMES, frame_of, schema_of
from sweepengine.formulas.points import INPUTS, WORKLOAD_COLUMNS
from sweepengine.grid.axes import JOINT, MODEL_AXIS
from sweepengine.grid.axis_texts import texts_of_columns
from sweepengine.grid.checks import (
    RULE_COLUMNS,
    check_together,
    checked_values,
    refused_input,
)
from sweepengine.grid.columns import DEVICE_MEMORY, ERROR_CLASS, RATE, SECONDS
from sweepengine.grid.counted import point_columns
from sweepengine.grid.layout_checks import Problem
from sweepengine.grid.limits import check_points, refuse_overflow
from sweepengine.grid.points import (
    checked_point,
    column_names,
    default_values,
    has_axis,
    output_names,
)
from sweepengine.grid.products import distinct
from sweepengine.grid.shorthand import joint_columns

Integers = NDArray[np.int64]
_ROW = "row_of_points"


def evaluate(
    points: pl.DataFrame, model: Model | str | Path = "deepseek-ocr-3b", times: str = ""
) -> pl.DataFrame:
    """Cost of each point, with seconds where the points have a column `device`.

    Parameters
    ----------
    points : polars.DataFrame, N rows
        Any subset of the input columns (`sweepengine.formulas.points`). Others have their
        defaults; `key_value_heads` defaults to `attention_heads`. Integers may have any width.
        A joint axis may be one column of text, as in grids: `layout` ("tp4-ep8"), `precision`
        ("fp8-kv8"), `mode` ("gundam:2x3"), `crops` ("2x3"), `image` ("1654x2339") and `page`
        ("a4@200dpi"). A column `model` names the model of each point; a column that some of them
        lack is null there, and the result has null there too.
    model : Model, str or Path
        A model, the name of a shipped one, or a path of a model file.
    times : str
        "silicon" (measured kernels), "model" (without factors of families that were measured in
        serving) or "roofline" (data sheet); by default silicon where a device has rates.

    Returns
    -------
    polars.DataFrame, N rows
        All input columns, texts of the joint axes, then all output columns of the model; before
        them `model` where the points have it.

    Raises
    ------
    InputError
        For an unknown column, a wrong type, a null, a value out of range, or a point whose costs
        overflow; in a process forked after sweepengine was used.
    """
    begin("evaluate")
    if not isinstance(points, pl.DataFrame):
        raise InputError(f"points: expected a polars DataFrame, found {type(points).__name__}")
    if MODEL_AXIS in points.columns:
        return _of_models(points, times)
    points, loaded = named_drafts(points, load_model(model))
    points, loaded = named_devices(points, loaded, times)
    if not points.height:
        _inputs(points, loaded)
        return pl.DataFrame(schema=schema_of(loaded))
    columns = _inputs(points, loaded)
    chosen, codes = distinct([columns[name] for name in WORKLOAD_COLUMNS])
    workloads = {name: columns[name][chosen] for name in WORKLOAD_COLUMNS}
    check_points(loaded.architecture, columns, workloads)
    computed = _computed(loaded, columns, workloads, codes)
    inputs: dict[str, Any] = {name: columns[name] for name in loaded.inputs}
    names = column_names(loaded)
    texts = texts_of_columns(loaded, columns, [name for name in names if name in TEXT_NAMES])
    return frame_of(inputs | computed, texts, loaded, names)


def _of_models(points: pl.DataFrame, times: str) -> pl.DataFrame:
    """Cost of points of several models, which a column `model` names; other columns may be null.

    A column that is null for all points of a model is as if these had not got it.
    """
    names = points[MODEL_AXIS]
    if names.dtype != pl.String and not isinstance(names.dtype, pl.Enum | pl.Categorical):
        raise InputError(f"points: {MODEL_AXIS}: expected names of models; found {names.dtype}")
    if names.null_count():
        row = names.is_null().arg_true()[0]
        raise InputError(f"points: {MODEL_AXIS}[{row}] is null: expected the name of a model")
    numbered = points.with_columns(pl.col(MODEL_AXIS).cast(pl.String)).with_row_index(_ROW)
    frames = []
    for (name,), rows in numbered.group_by(MODEL_AXIS, maintain_order=True):
        given = rows.drop(MODEL_AXIS, _ROW)
        stated = [column for column in given.columns if given[column].null_count() < rows.height]
        try:
            costs = evaluate(given.select(stated), str(name), times)
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        frames.append(rows.select(_ROW, MODEL_AXIS).hstack(costs))
    if not frames:
        raise InputError(f"points: {MODEL_AXIS}: expected at least one point")
    return pl.concat(frames, how="diagonal_relaxed").sort(_ROW).drop(_ROW)


def cost(
    model: Model | str | Path = "deepseek-ocr-3b", times: str = "", **point: object
) -> dict[str, Any]:
    """Cost of one point without frames or compilation, for simulators.

    Parameters
    ----------
    model : Model, str or Path
        A model, the name of a shipped one, or a path of a model file.
    times : str
        "silicon" (measured kernels), "model" (without factors of families that were measured in
        serving) or "roofline" (data sheet); by default silicon where a device has rates.
    **point : int, float or str
        Input columns, as in `evaluate`, and joint axes, as in grids:
        ``cost(layout="tp8", precision="fp8", device="h100-sxm")``. With a device it has seconds.
        None where null stands for what the device or the serving engine decides.

    Returns
    -------
    dict
        Every output column, integers exact; a range is None where no measured run is like it.

    Raises
    ------
    InputError
        As `evaluate`.
    """
    loaded = load_model(model)
    if "draft" in point:
        draft: Any = point["draft"]
        loaded, (point["draft"],) = with_drafts(loaded, [draft], "point: draft")
    if "device" in point:
        device = point["device"]
        named = device if isinstance(device, Device) else str(device)
        loaded = on_devices(loaded, [named], times)
        point["device"] = loaded.device_names[0]
    decided = (name for name, value in point.items() if value is None and name in INPUTS)
    point |= {name: 0 for name in decided if INPUTS[name].zero}
    checked = checked_point(loaded, point)
    costs: dict[str, Any] = {**point_columns(loaded.architecture, checked)}
    refuse_overflow("point", costs)
    if loaded.devices:
        costs |= point_memory(loaded, checked, *(int(costs[name]) for name in MEMORY_COUNTS))
        costs |= point_times(loaded, checked)
    return {name: costs[name] for name in output_names(loaded)}


def _computed(
    model: Model,
    columns: Mapping[str, Integers],
    workloads: Mapping[str, Integers],
    codes: Integers,
) -> dict[str, Any]:
    """Output columns of N points, on all cores.

    Parameters
    ----------
    model : Model
    columns : mapping of str to int64 array, shape (N,)
        Input columns.
    workloads : mapping of str to int64 array, shape (W,)
        Distinct workloads.
    codes : int64 array, shape (N,)
        Index of each point's workload.
    """
    arch, outputs = model.architecture, output_names(model)
    if backend_at_hand(len(codes), bool(model.devices)) == PLAIN:
        return plain_columns(model, dict(columns), outputs)
    made = (SECONDS, DEVICE_MEMORY, ERROR_CLASS, RATE)
    seconds, memory, errors, rates = (of_reduction(outputs, reduction) for reduction in made)
    counts = [name for name in outputs if name not in (*seconds, *memory, *errors, *rates)]
    product = Product(
        dict(workloads),
        np.stack([codes, columns["decode_steps"], columns["batch_size"]]),
        np.array([len(codes)], np.int64),
    )
    computed = counted_columns(arch, product, len(codes), counts, cores())
    if model.devices:
        computed |= memory_columns(model, columns, computed, memory)
        computed |= fill_times(model, timed_rows(dict(columns)), len(codes), seconds, cores())
        computed |= rate_columns(columns, computed)
        computed |= errors_of_columns(model, columns, computed, errors)
    return computed


def seconds_of_columns(
    columns: Mapping[str, Integers], model: Model, names: Sequence[str]
) -> pl.DataFrame:
    """Columns of seconds of N points.

    Parameters
    ----------
    columns : mapping of str to int64 array, shape (N,)
        Every input, checked.
    model : Model
        With devices.
    names : sequence of str
        Columns to make.
    """
    count = len(columns["batch_size"])
    if backend_at_hand(count, timed=True) == PLAIN:
        seconds = plain_columns(model, dict(columns), names)
    else:
        seconds = fill_times(model, timed_rows(dict(columns)), count, names, cores())
    return pl.DataFrame({name: seconds[name] for name in names})


def _inputs(points: pl.DataFrame, model: Model) -> dict[str, Integers]:
    """Every input column as checked integers; defaults are broadcast values."""
    inputs: dict[str, Integers] = {}
    for series in points:
        name = series.name
        columns = JOINT[name].columns if name in JOINT else (name,)
        if columns[0] not in model.inputs:
            named = (*model.inputs, *(axis for axis in JOINT if has_axis(model, axis)))
            raise refused_input(model, f"points: {name}", "column", columns[0], named)
        if twice := set(columns) & inputs.keys():
            raise InputError(f"points: {name}: sets {min(twice)}, as another column does")
        if name in JOINT:
            inputs |= joint_columns(model, name, series.to_list(), f"points: {name}")
        else:
            inputs[name] = _stored(series, model)
    given, defaults = set(inputs), default_values(model)
    if "attention_heads" in given and "key_value_heads" not in given:
        inputs["key_value_heads"] = inputs["attention_heads"]
    for name in INPUTS:
        if name not in inputs:
            inputs[name] = np.broadcast_to(np.int64(defaults[name]), points.height)
    for names in RULE_COLUMNS:
        if given & set(names):
            check_together(model, {name: inputs[name] for name in names}, _message)
    return {name: inputs[name] for name in INPUTS}


def _message(problem: Problem) -> str:
    if problem.value is None:
        return f"points: row {problem.row}: {problem.text}"
    return f"points: {problem.column}[{problem.row}] = {problem.value}: {problem.text}"


def _stored(series: pl.Series, model: Model) -> Integers:
    """The checked integers of an input column."""
    name, column = series.name, INPUTS[series.name]
    column = column._replace(choices=choices_of(model, name))
    named = series.dtype == pl.String or isinstance(series.dtype, pl.Enum | pl.Categorical)
    fitting = series.dtype.is_numeric() if column.scale > 1 else series.dtype.is_integer()
    if not (named if column.choices else fitting):
        raise InputError(
            f"points: {name}: expected {column.dtype}, {column.allowed}; found {series.dtype}"
        )
    if column.zero:
        series = series.fill_null(0)
    if series.null_count():
        row = series.is_null().arg_true()[0]
        raise InputError(f"points: {name}[{row}] is null: expected {column.allowed}")
    if not column.choices:
        wide = isinstance(series.dtype, pl.Decimal) or str(series.dtype).endswith("128")
        values = series.to_list() if wide else series.to_numpy()
        return checked_values(column, values, lambda i, value: f"points: {name}[{i}] = {value}")
    texts = series.cast(pl.String)
    distinct_texts = texts.unique(maintain_order=True)
    codes = checked_values(
        column, distinct_texts.to_list(),
        lambda _, value: f"points: {name}[{(texts == value).arg_true()[0]}] = {value}",
    )  # fmt: skip
    rows: Integers = codes[texts.cast(pl.Enum(distinct_texts)).to_physical().to_numpy()]
    return rows
