"""Values of the axes of a grid file: lists, ranges, texts and combinations of columns."""

import math
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sweepengine.data.devices import load_device
from sweepengine.data.drafts import with_drafts
from sweepengine.data.errors import InputError, from_validation
from sweepengine.data.models import Model, choices_of
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import AXES, JOINT, Axis
from sweepengine.grid.checks import (
    RULE_COLUMNS,
    check_together,
    checked_values,
    refused_input,
    shown,
)
from sweepengine.grid.grid import with_defaults
from sweepengine.grid.layout_checks import Problem
from sweepengine.grid.products import expand, part_of
from sweepengine.grid.shorthand import joint_values, mode_sizes

Integers = NDArray[np.int64]
LONGEST_AXIS = 10_000_000
LARGEST_INTEGER = 2**31 - 1
"""Largest number of a range."""
_STRICT = ConfigDict(extra="forbid", frozen=True)
_WHOLE = Annotated[int, Field(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER, strict=True)]
_STEP = Annotated[int, Field(gt=0, le=LARGEST_INTEGER, strict=True)]
_TEXT = Annotated[str, Field(min_length=1, strict=True)]


class _Range(BaseModel):
    model_config = _STRICT
    start: _WHOLE
    stop: _WHOLE
    step: _STEP

    @model_validator(mode="after")
    def _ordered(self) -> "_Range":
        if self.start > self.stop:
            raise ValueError(f"start = {self.start} is beyond stop = {self.stop}")
        return self

    def values(self) -> Integers:
        count = min((self.stop - self.start) // self.step, LONGEST_AXIS) + 1
        return self.start + self.step * np.arange(count, dtype=np.int64)


class _Geometric(BaseModel):
    model_config = _STRICT
    geometric: tuple[_STEP, _WHOLE]
    factor: Annotated[int, Field(ge=2, le=LARGEST_INTEGER, strict=True)]

    @model_validator(mode="after")
    def _ordered(self) -> "_Geometric":
        first, last = self.geometric
        if first > last:
            raise ValueError(f"geometric start = {first} is beyond stop = {last}")
        return self

    def values(self) -> Integers:
        first, last = self.geometric
        values = [first]
        while values[-1] * self.factor <= last:
            values.append(values[-1] * self.factor)
        return np.array(values, np.int64)


class _CropRange(BaseModel):
    model_config = _STRICT
    min: Annotated[int, Field(ge=1, strict=True)]
    max: Annotated[int, Field(le=10_000, strict=True)]

    @model_validator(mode="after")
    def _ordered(self) -> "_CropRange":
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is beyond max = {self.max}")
        return self

    def values(self, model: Model) -> list[tuple[int, ...]]:
        """Every r<=c with min <= r*c <= max, fewest tiles first."""
        return [
            (rows, tiles // rows)
            for tiles in range(self.min, self.max + 1)
            for rows in range(1, math.isqrt(tiles) + 1)
            if tiles % rows == 0 and tiles // rows <= INPUTS["crop_cols"].maximum
        ]


class _ModeRange(_CropRange):
    name: str

    def values(self, model: Model) -> list[tuple[int, ...]]:
        sizes = mode_sizes(model, self.name, True)
        return [(*sizes, *crops) for crops in super().values(model)]


_JOINT_RANGES = {"crops": _CropRange, "mode": _ModeRange}


def _parsed(place: str, kind: Any, written: object) -> Any:
    try:
        return TypeAdapter(kind).validate_python(written)
    except ValidationError as error:
        raise from_validation(place, error) from None


def listed(place: str, written: object) -> list[Any]:
    """A value as a list of values.

    Raises
    ------
    InputError
        For an empty list; `place` names it in the message.
    """
    values = written if isinstance(written, list) else [written]
    if not values:
        raise InputError(f"{place} = []: expected at least one value")
    return values


def _span(place: str, key: str, written: dict[str, Any]) -> Integers:
    """Values of a range of numbers."""
    kind = _Geometric if "geometric" in written else _Range
    values = _parsed(place, kind, written).values()
    if len(values) > LONGEST_AXIS:
        raise InputError(f"{place} = {shown(written)}: expected at most {LONGEST_AXIS:,} values")
    return checked_values(INPUTS[key], values, lambda _, value: f"{place} = {value}")


def _joint(place: str, model: Model, key: str, written: object) -> list[tuple[int, ...]]:
    """Values of a joint axis: texts, pairs of heads, and ranges of crops."""
    rows: list[tuple[int, ...]] = []
    for i, value in enumerate(listed(place, written)):
        at = f"{place}[{i}]" if isinstance(written, list) or key != "crops" else place
        if not isinstance(value, dict) or key not in _JOINT_RANGES:
            rows.append(joint_values(model, key, value, at))
            continue
        parsed = _parsed(at, _JOINT_RANGES[key], value)
        try:
            values = parsed.values(model)
        except ValueError as error:
            raise InputError(f"{at} = {shown(value)}: expected {error}") from None
        if not values:
            raise InputError(f"{at} = {shown(value)}: expected a range that holds a crop grid")
        rows += values
    return rows


def _axis(source: str, model: Model, key: str, written: object) -> Axis:
    place, columns = f"{source}: axes.{key}", AXES[key].columns if key in AXES else (key,)
    if key not in AXES or not model.has[INPUTS[columns[0]].needs]:
        names = [name for name, axis in AXES.items() if model.has[INPUTS[axis.columns[0]].needs]]
        raise refused_input(model, place, "key", columns[0], names)
    column = INPUTS[columns[0]]
    if key in JOINT:
        rows = np.array(_joint(place, model, key, written), np.int64)
    elif isinstance(written, dict) and not column.choices:
        return Axis(key, columns, _span(place, key, written)[:, None])
    else:
        values = listed(place, written)
        if column.choices:
            column = column._replace(choices=choices_of(model, key))
        if key == "device":  # a path stands for the name in its file
            values = [load_device(str(value)).name for value in values]
        if key == "draft":
            values = list(with_drafts(model, values, place)[1])
        rows = checked_values(column, values, lambda i, value: f"{place}[{i}] = {shown(value)}")[
            :, None
        ]
    seen: set[tuple[int, ...]] = set()
    for row in map(tuple, rows.tolist()):
        if row in seen:
            value = row[0] if len(row) == 1 else list(row)
            raise InputError(f"{place}: duplicate value {value}")
        seen.add(row)
    return Axis(key, columns, rows)


def read_axes(source: str, model: Model, table: dict[str, Any]) -> tuple[Axis, ...]:
    """Read an `[axes]` table; inputs that it leaves out are a first axis `defaults` of one value.

    Parameters
    ----------
    source : str
        Name of the file in messages.
    model : Model
        On the devices of the axis `device`.
    table : dict
        Values by axis.

    Raises
    ------
    InputError
        Naming the file, the key and the allowed values.
    """
    for key in ("mode", "precision"):
        conflicting = [
            name for name in table
            if key in table and name != key and {*AXES[key].columns} & {
                *(AXES[name].columns if name in AXES else ())}
        ]  # fmt: skip
        if conflicting:
            sets = ", ".join(AXES[key].columns)
            expected = f"expected no axes.{conflicting[0]}"
            raise InputError(f"{source}: axes.{key}: sets {sets}: {expected}")
    axes = with_defaults(model, [_axis(source, model, key, table[key]) for key in table])
    for names in RULE_COLUMNS:
        involved = [axis for axis in axes if set(axis.columns) & set(names)]
        if any(axis.name in table for axis in involved):
            _check_together(source, model, table, involved, names)
    return axes


def _check_together(
    source: str, model: Model, table: dict[str, Any], axes: list[Axis], names: tuple[str, ...]
) -> None:
    """Check every combination of `axes` against the rules between the columns `names`."""
    parts = [part_of(axis, names) for axis in axes]
    columns = {name: values.astype(np.int64, copy=False) for name, values in expand(parts).items()}

    def message(problem: Problem) -> str:
        axis = next(axis for axis in parts if problem.column in axis.columns)
        row = [columns[name][problem.row] for name in axis.columns]
        i = int(np.argmax((axis.values == row).all(axis=1)))
        place = f"{source}: axes.{axis.name}[{i}]"
        if problem.column != "weight_format":  # its problem names the value
            place += f" = {shown(listed(place, table[axis.name])[i])}"
        return f"{place}: {problem.joint_text}"

    check_together(model, columns, message)
