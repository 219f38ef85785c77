"""The `[axes]` table of a grid file: spelled values -> arrays, every problem naming its key."""

import json
import math
import re
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError, from_validation
from sweepengine.data.models import Model
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import INPUT_NAMES, INPUTS
from sweepengine.grid.axes import AXES, Axis
from sweepengine.grid.points import (
    default_values,
    format_problem,
    layout_problem,
    refuse_input,
)
from sweepengine.grid.shorthand import read_layout, read_precision

Integers = NDArray[np.int64]
LONGEST_AXIS = 10_000_000
LARGEST = 2**31 - 1
"""Largest number of a range; no axis has one beyond."""
DEFAULTS = "defaults"
"""Name of the first axis, of what a table leaves out."""
_STRICT = ConfigDict(extra="forbid", frozen=True)
_WHOLE = Annotated[int, Field(ge=-LARGEST, le=LARGEST, strict=True)]
_STEP = Annotated[int, Field(gt=0, le=LARGEST, strict=True)]


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

    def values(self) -> range:
        return range(self.start, self.stop + 1, self.step)


class _Geometric(BaseModel):
    model_config = _STRICT
    geometric: tuple[_STEP, _WHOLE]
    factor: Annotated[int, Field(ge=2, le=LARGEST, strict=True)]

    @model_validator(mode="after")
    def _ordered(self) -> "_Geometric":
        first, last = self.geometric
        if first > last:
            raise ValueError(f"geometric start = {first} is beyond stop = {last}")
        return self

    def values(self) -> list[int]:
        first, last = self.geometric
        found = [first]
        while found[-1] * self.factor <= last:
            found.append(found[-1] * self.factor)
        return found


class _CropRange(BaseModel):
    model_config = _STRICT
    min: Annotated[int, Field(ge=1, strict=True)]
    max: Annotated[int, Field(le=10_000, strict=True)]

    @model_validator(mode="after")
    def _ordered(self) -> "_CropRange":
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is beyond max = {self.max}")
        return self

    def values(self) -> list[tuple[int, int]]:
        """Every r<=c with min <= r*c <= max, fewest tiles first."""
        return [
            (rows, tiles // rows)
            for tiles in range(self.min, self.max + 1)
            for rows in range(1, math.isqrt(tiles) + 1)
            if tiles % rows == 0 and tiles // rows <= INPUTS["crop_cols"].maximum
        ]


class _ModeRange(_CropRange):
    name: str


class _AxisReader:
    """Reads the `[axes]` table of one file; every problem names its key."""

    def __init__(self, source: str, model: Model) -> None:
        self.source = source
        self.model = model

    def fail(self, key: str, value: object, expected: str) -> InputError:
        shown = json.dumps(value, default=str)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return InputError(f"{self.source}: axes.{key} = {shown}: expected {expected}")

    def spelled(self, key: str, kind: type[BaseModel], value: object) -> Any:
        try:
            return TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            raise from_validation(f"{self.source}: axes.{key}", error) from None

    def values(self, key: str, written: object) -> list[object]:
        if not isinstance(written, list):
            written = [written]
        if not written:
            raise self.fail(key, written, "at least one value")
        return written

    def number(self, key: str, value: object, name: str) -> int:
        column = INPUTS[name]
        found: int | None = column.held(value)
        if found is None:
            raise self.fail(key, value, column.allowed)
        return found

    def span(self, key: str, written: dict[str, Any]) -> Integers:
        """Values of a range, without a Python object for each, as a range may be long."""
        spelled = self.spelled(key, _Geometric if "geometric" in written else _Range, written)
        values = spelled.values()
        if len(values) > LONGEST_AXIS:
            raise self.fail(key, written, f"at most {LONGEST_AXIS:,} values")
        for value in (values[0], values[-1]):
            self.number(key, value, key)
        if isinstance(values, range):
            found = np.arange(values.start, values.stop, values.step, dtype=np.int64)
        else:
            found = np.array(values, dtype=np.int64)
        found *= INPUTS[key].scale
        for value in found[found % INPUTS[key].multiple != 0][:1].tolist():
            self.number(key, value, key)
        return found[:, None]

    def numbers(self, key: str, written: object) -> list[tuple[int, ...]]:
        return [
            (self.number(f"{key}[{i}]", value, key),)
            for i, value in enumerate(self.values(key, written))
        ]

    def crops(self, key: str, written: object) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for i, value in enumerate(self.values(key, written)):
            place = f"{key}[{i}]" if isinstance(written, list) else key
            if isinstance(value, dict):
                found += self.between(place, _CropRange, value)
            else:
                found.append(self.crop(place, value))
        return found

    def between(self, key: str, kind: type[_CropRange], value: object) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = self.spelled(key, kind, value).values()
        if not found:
            raise self.fail(key, value, "a range that holds a crop grid")
        return found

    def crop(self, key: str, value: object) -> tuple[int, int]:
        if value == "none":
            return (0, 0)
        match = (
            re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", value) if isinstance(value, str) else None
        )
        expected = 'ROWSxCOLS, such as "2x3", or "none"'
        if match is None:
            raise self.fail(key, value, expected)
        rows, cols = int(match[1]), int(match[2])
        if not (1 <= rows <= 1000 and 1 <= cols <= 1000):
            raise self.fail(key, value, f"{expected}; rows and columns 1..1000")
        return rows, cols

    def mode(self, key: str, written: object) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        known = ", ".join(self.model.modes)
        for i, value in enumerate(self.values(key, written)):
            place = f"{key}[{i}]"
            name, crops = value, [(0, 0)]
            if isinstance(value, dict):
                crops = self.between(place, _ModeRange, value)
                name = value["name"]
            elif isinstance(value, str) and ":" in value:
                name, _, crop = value.partition(":")
                crops = [self.crop(place, crop)]
            mode = self.model.modes.get(name) if isinstance(name, str) else None
            if mode is None:
                expected = f'one of {known}, with tiles as "gundam:2x3"'
                raise self.fail(place, value, expected)
            if (mode.tile_size is None) != (crops == [(0, 0)]):
                expected = (
                    f'no crops, as mode "{name}" has no tiles'
                    if mode.tile_size is None
                    else f'crops, such as "{name}:2x3", as mode "{name}" has tiles'
                )
                raise self.fail(place, value, expected)
            tile = mode.tile_size or default_values(self.model)["tile_size"]
            found += [(mode.view_size, tile, *crop) for crop in crops]
        return found

    def heads(self, key: str, written: object) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for i, value in enumerate(self.values(key, written)):
            place = f"{key}[{i}]"
            expected = "[attention_heads, key_value_heads], such as [10, 5]"
            if not isinstance(value, list) or len(value) != 2:
                raise self.fail(place, value, expected)
            heads = self.number(f"{place}[0]", value[0], "attention_heads")
            kv_heads = self.number(f"{place}[1]", value[1], "key_value_heads")
            if self.model.query_width % heads:
                allowed = f"attention_heads that divide {self.model.query_width}"
                raise self.fail(place, value, allowed)
            if heads % kv_heads:
                raise self.fail(place, value, f"key_value_heads that divide {heads}")
            found.append((heads, kv_heads))
        return found

    def precision(self, key: str, written: object) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for i, value in enumerate(self.values(key, written)):
            try:
                formats = read_precision(self.model.architecture, value)
            except ValueError as error:
                raise self.fail(f"{key}[{i}]", value, str(error)) from None
            if problem := format_problem(self.model, formats[0]):
                raise InputError(f"{self.source}: axes.{key}[{i}]: {problem}")
            found.append(formats)
        return found

    def layout(self, key: str, written: object) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for i, value in enumerate(self.values(key, written)):
            try:
                layout = read_layout(value)
            except ValueError as error:
                raise self.fail(f"{key}[{i}]", value, str(error)) from None
            for name, number in zip(AXES[key].columns, layout, strict=True):
                self.number(f"{key}[{i}]", number, name)
            found.append(tuple(layout))
        return found

    def check_layouts(self, axes: list[Axis], written: object) -> None:
        """Refuse a layout that the model cannot have, with any of the heads that are swept."""
        by_name = {axis.name: axis.values.tolist() for axis in axes}
        for i, layout in enumerate(by_name.get("layout", [])):
            for queries, keys in by_name.get("heads", [(0, 0)]):
                if problem := layout_problem(self.model, Layout(*layout), (queries, keys)):
                    value = self.values("layout", written)[i]
                    raise InputError(f'{self.source}: axes.layout[{i}] = "{value}": {problem}')

    def device(self, key: str, written: object) -> list[tuple[int, ...]]:
        names = [load_device(str(value)).name for value in self.values(key, written)]
        return [(self.model.device_names.index(name),) for name in names]

    def choices(self, key: str, written: object) -> list[tuple[int, ...]]:
        if key == "device":
            return self.device(key, written)
        found: list[tuple[int, ...]] = []
        column = INPUTS[key]
        for i, value in enumerate(self.values(key, written)):
            if value not in column.choices:
                raise self.fail(f"{key}[{i}]", value, column.allowed)
            code = column.choices.index(str(value))
            if key == "weight_format" and (problem := format_problem(self.model, code)):
                raise InputError(f"{self.source}: axes.{key}[{i}]: {problem}")
            found.append((code,))
        return found

    def axis(self, key: str, written: object) -> Axis:
        has = self.model.has
        mine = [name for name, axis in AXES.items() if has[INPUTS[axis.columns[0]].needs]]
        if key not in mine:
            first = AXES[key].columns[0] if key in AXES else key
            raise refuse_input(self.model, f"{self.source}: axes.{key}", "key", first, mine)
        columns, spelling = AXES[key].columns, AXES[key].spelling
        if spelling == "numbers" and isinstance(written, dict):
            return Axis(key, columns, self.span(key, written))
        values = getattr(self, spelling)(key, written)
        seen: set[tuple[int, ...]] = set()
        for value in values:
            if value in seen:
                shown = value[0] if len(value) == 1 else list(value)
                raise InputError(f"{self.source}: axes.{key}: duplicate value {shown}")
            seen.add(value)
        return Axis(key, columns, np.array(values, np.int64))

    def axes(self, table: dict[str, Any]) -> tuple[Axis, ...]:
        for key in ("mode", "precision"):
            columns = set(AXES[key].columns)
            beside = [
                name
                for name in table
                if key in table and name != key and name in AXES and columns & {*AXES[name].columns}
            ]
            if beside:
                raise InputError(
                    f"{self.source}: axes.{key}: sets {', '.join(AXES[key].columns)}: "
                    f"expected no axes.{beside[0]}"
                )
        axes = [self.axis(key, written) for key, written in table.items()]
        self.check_layouts(axes, table.get("layout"))
        named = {name for axis in axes for name in axis.columns}
        constant = tuple(name for name in INPUT_NAMES if name not in named)
        if not constant:
            return tuple(axes)
        defaults = default_values(self.model)
        values = [[defaults[name] for name in constant]]
        return (Axis(DEFAULTS, constant, np.array(values, np.int64)), *axes)


def read_axes(source: str, model: Model, table: dict[str, Any]) -> tuple[Axis, ...]:
    """Read an `[axes]` table; what it leaves out is a first axis, `defaults`, of one value.

    Raises
    ------
    InputError
        Naming the file, the key and what is allowed.
    """
    return _AxisReader(source, model).axes(table)
