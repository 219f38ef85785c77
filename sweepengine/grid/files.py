"""Grid files: TOML to `Grid`; an error names the file, the key and the allowed values."""

import math
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError, from_validation, nearest
from sweepengine.data.files import exists, read_toml
from sweepengine.data.models import Model, choices_of, load_model
from sweepengine.data.speeds import on_devices
from sweepengine.data.texts import Name, Text
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import AXES, JOINT, Axis
from sweepengine.grid.checks import (
    IMAGE_RULE_COLUMNS,
    LAYOUT_RULE_COLUMNS,
    Problem,
    check_together,
    checked_values,
    refused_input,
    shown,
)
from sweepengine.grid.grid import Grid, Targets, with_defaults, with_lengths
from sweepengine.grid.lengths import lengths_of, rows_of
from sweepengine.grid.points import phases_of
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


class GridFile(BaseModel):
    """The content of a grid file."""

    model_config = _STRICT
    name: Name
    description: Text = ""
    model: _TEXT = "deepseek-ocr-3b"
    axes: dict[str, Any]
    targets: Targets = Targets()
    report: tuple[str, ...] | None = None
    times: Literal["silicon", "roofline"] | None = None
    lengths: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] | None = None
    cost: _TEXT | None = None


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


def _listed(place: str, written: object) -> list[object]:
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
    for i, value in enumerate(_listed(place, written)):
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
        values = _listed(place, written)
        if key == "device":  # a path stands for the name in its file
            column = column._replace(choices=choices_of(model, key))
            values = [load_device(str(value)).name for value in values]
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
    for names in (LAYOUT_RULE_COLUMNS, IMAGE_RULE_COLUMNS):
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
            place += f" = {shown(_listed(place, table[axis.name])[i])}"
        return f"{place}: {problem.joint_text}"

    check_together(model, columns, message)


def shipped_grids() -> dict[str, Path]:
    """Grid files of the package or its checkout, by stem."""
    package = Path(str(resources.files("sweepengine")))
    folder = next((f for f in (package / "grids", package.parent / "grids") if f.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_grid(name: str | Path) -> Grid:
    """Read a grid file, given by path or by the stem of a shipped grid.

    Raises
    ------
    InputError
        When the file is missing or not valid; the message names file, key and allowed values.
    """
    path = Path(name)
    shipped = shipped_grids()
    if not exists(path) and str(name) in shipped:
        path = shipped[str(name)]
    if not exists(path) and path.suffix != ".toml":
        raise InputError(
            f'grid "{name}" does not exist{nearest(str(name), shipped)}: expected a path to a '
            f"TOML file or one of {', '.join(shipped)}"
        )
    return parse_grid(read_toml(path), str(path), path.parent)


def parse_grid(data: dict[str, Any], source: str, folder: Path | None = None) -> Grid:
    """Make a grid of the content of a grid file.

    Parameters
    ----------
    data : dict
        The parsed file.
    source : str
        Name of the file in messages.
    folder : Path, optional
        Folder that a relative path of a model starts from.

    Raises
    ------
    InputError
        When it is not valid.
    """
    try:
        file = GridFile.model_validate(data)
    except ValidationError as error:
        raise from_validation(source, error, GridFile.model_fields) from None
    name = file.model
    if folder is not None and name.endswith(".toml") and exists(folder / name):
        name = str(folder / name)
    try:
        model = load_model(name)
    except InputError as error:
        raise InputError(f"{source}: model: {error}") from None
    phases = phases_of(model)
    report = phases if file.report is None else file.report
    if not report or not set(report) <= set(phases):
        raise InputError(f"{source}: report: expected some of {', '.join(phases)}")
    model = _timed(source, model, file)
    axes = read_axes(source, model, file.axes)
    grid = Grid(file.name, model, axes, source, report, file.description, file.targets,
                cost=file.cost or "")  # fmt: skip
    if file.lengths is None:
        return grid
    place = f"{source}: lengths"
    return with_lengths(grid, lengths_of(place, model, rows_of(place, file.lengths)))


def _timed(source: str, model: Model, file: GridFile) -> Model:
    """The model with the devices of the axis `device`, if there is one."""
    if "device" not in file.axes:
        if file.times is not None:
            raise InputError(f"{source}: times: expected an axis `device` too")
        return model
    names: list[str] = []
    for i, name in enumerate(_listed(f"{source}: axes.device", file.axes["device"])):
        if not isinstance(name, str):
            raise InputError(f"{source}: axes.device[{i}] = {name!r}: expected a device's name")
        names.append(name)
    try:
        return on_devices(model, names, file.times or "")
    except InputError as error:
        raise InputError(f"{source}: axes.device: {error}") from None
