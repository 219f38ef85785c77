"""Grid files: TOML -> axes -> chunks, each itself a product of axes."""

import hashlib
import json
import math
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sweepengine.architecture import Model, load_model, read_toml
from sweepengine.errors import InputError, from_validation
from sweepengine.layers.residual import ATTENTIONS
from sweepengine.limits import check_limits
from sweepengine.schema import INPUT_NAMES, INPUTS, STAGES

Integers = NDArray[np.int64]
LONGEST_AXIS = 10_000_000
_STRICT = ConfigDict(extra="forbid", frozen=True)
_BY_NAME = {column.name: column for column in INPUTS}
_WHOLE = Annotated[int, Field(strict=True)]
_SECONDS = Annotated[float, Field(gt=0, allow_inf_nan=False)]
WORKLOAD_COLUMNS = (
    "view_size", "tile_size", "crop_rows", "crop_cols", "text_tokens", "attention_heads",
    "key_value_heads", "attention",
)  # fmt: skip


class Axis(NamedTuple):
    """One axis of a grid: the values of one column, or of columns that vary together."""

    name: str
    columns: tuple[str, ...]
    values: Integers
    """Shape (values, columns)."""


class Chunk(NamedTuple):
    """Points `start` to `stop` of a grid: the first ones of a product of `axes`."""

    start: int
    stop: int
    axes: tuple[Axis, ...]


class Targets(BaseModel):
    """Latency targets for reports, seconds."""

    model_config = _STRICT
    ttft_s: _SECONDS | None = None
    tpot_s: _SECONDS | None = None


class _Range(BaseModel):
    model_config = _STRICT
    start: _WHOLE
    stop: _WHOLE
    step: Annotated[int, Field(gt=0, strict=True)]

    @model_validator(mode="after")
    def _ordered(self) -> "_Range":
        if self.start > self.stop:
            raise ValueError(f"start = {self.start} is beyond stop = {self.stop}")
        return self

    def values(self) -> range:
        return range(self.start, self.stop + 1, self.step)


class _Geometric(BaseModel):
    model_config = _STRICT
    geometric: tuple[Annotated[int, Field(gt=0, strict=True)], _WHOLE]
    factor: Annotated[int, Field(ge=2, strict=True)]

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
            if tiles % rows == 0 and tiles // rows <= _BY_NAME["crop_cols"].maximum
        ]


class _ModeRange(_CropRange):
    name: str


class GridFile(BaseModel):
    """A grid file as written."""

    model_config = _STRICT
    name: Annotated[str, Field(min_length=1, strict=True)]
    description: Annotated[str, Field(strict=True)] = ""
    model: Annotated[str, Field(min_length=1, strict=True)] = "deepseek-ocr-3b"
    axes: dict[str, Any]
    targets: Targets = Targets()
    report: tuple[str, ...] = STAGES


class Grid(NamedTuple):
    """A cartesian product of axes over one model; the last axis is fastest."""

    name: str
    description: str
    model_name: str
    axes: tuple[Axis, ...]
    targets: Targets
    report: tuple[str, ...]
    """Stages that a report of this grid shows."""
    source: str
    """Where it was read from, for messages."""

    @property
    def points(self) -> int:
        """Number of points."""
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def model(self) -> Model:
        """The model it is costed on."""
        return load_model(self.model_name)

    @property
    def hash(self) -> str:
        """SHA-256 of what decides the result: the axes and the model's numbers."""
        digest = hashlib.sha256(json.dumps(self.model.architecture).encode())
        for axis in self.axes:
            digest.update(json.dumps([axis.columns, axis.values.shape]).encode())
            digest.update(axis.values.astype("<i8").tobytes())
        return digest.hexdigest()

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Split into chunks of at most `rows` points, in order.

        A chunk is a product itself: leading axes hold one value, one axis a range, all later
        ones every value. So what is computed once for an axis's value stays small.
        """
        lengths = [len(axis.values) for axis in self.axes]
        pivot, inner = len(lengths), 1
        while pivot > 0 and inner * lengths[pivot - 1] <= rows:
            pivot -= 1
            inner *= lengths[pivot]
        if pivot == 0:
            yield Chunk(0, self.points, self.axes)
            return
        pivot -= 1
        width = max(rows // inner, 1)
        start = 0
        for outer in np.ndindex(*lengths[:pivot]):
            leading = tuple(
                axis._replace(values=axis.values[i : i + 1])
                for axis, i in zip(self.axes, outer, strict=False)
            )
            split = self.axes[pivot]
            for low in range(0, lengths[pivot], width):
                part = split._replace(values=split.values[low : low + width])
                stop = start + len(part.values) * inner
                yield Chunk(start, stop, (*leading, part, *self.axes[pivot + 1 :]))
                start = stop

    def check(self) -> None:
        """Refuse the grid when its largest corner does not fit the columns' types.

        Raises
        ------
        InputError
            Naming the column and the corner.
        """
        columns = {
            name: axis.values[:, i] for axis in self.axes for i, name in enumerate(axis.columns)
        }
        heads = np.stack([columns["attention_heads"], columns["key_value_heads"]], axis=1)
        check_limits(self.source, self.model.architecture, columns, self._images(), heads)

    def _images(self) -> Integers:
        """Distinct (view_size, tile_size, crop_rows, crop_cols), or a few that bound them."""
        names = ("view_size", "tile_size", "crop_rows", "crop_cols")
        axes = [axis for axis in self.axes if set(axis.columns) & set(names)]
        bounded = [
            axis
            if len(axis.columns) > 1
            else axis._replace(values=axis.values.max(axis=0, keepdims=True))
            for axis in axes
        ]
        columns = expand(bounded)
        return np.stack([columns[name] for name in names], axis=1)


def expand(
    axes: list[Axis] | tuple[Axis, ...], dtype: type[np.integer[Any]] = np.int64
) -> dict[str, NDArray[Any]]:
    """All points of a product of axes, a column each; the last axis is fastest."""
    total = math.prod(len(axis.values) for axis in axes)
    outer, inner = 1, total
    columns = {}
    for axis in axes:
        count = len(axis.values)
        inner //= count
        for i, name in enumerate(axis.columns):
            values = axis.values[:, i].astype(dtype)[None, :, None]
            columns[name] = np.broadcast_to(values, (outer, count, inner)).reshape(-1)
        outer *= count
    return columns


def kernel_inputs(axes: tuple[Axis, ...]) -> tuple[Integers, Integers, Integers]:
    """Workloads, axis parts and axis lengths, as `kernel.compute` takes them."""
    described = [axis for axis in axes if set(axis.columns) & set(WORKLOAD_COLUMNS)]
    columns = expand(described)
    workloads = np.stack([columns[name] for name in WORKLOAD_COLUMNS], axis=1)
    parts = []
    stride = len(workloads)
    for axis in axes:
        part = np.zeros((3, len(axis.values)), np.int64)
        if set(axis.columns) & set(WORKLOAD_COLUMNS):
            stride //= len(axis.values)
            part[0] = np.arange(len(axis.values)) * stride
        for i, name in enumerate(axis.columns):
            if name == "decode_steps":
                part[1] = axis.values[:, i]
            elif name == "batch_size":
                part[2] = axis.values[:, i]
        parts.append(part)
    lengths = np.array([len(axis.values) for axis in axes], np.int64)
    return workloads, np.concatenate(parts, axis=1), lengths


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
        column = _BY_NAME[name]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(key, value, column.allowed)
        if not column.minimum <= value <= column.maximum or value % column.multiple:
            raise self.fail(key, value, column.allowed)
        return value

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
        for value in found[found % _BY_NAME[key].multiple != 0][:1].tolist():
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
            tile = mode.tile_size or _BY_NAME["tile_size"].default
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
            hidden = self.model.architecture.decoder.hidden
            if hidden % heads:
                raise self.fail(place, value, f"attention_heads that divide {hidden}")
            if heads % kv_heads:
                raise self.fail(place, value, f"key_value_heads that divide {heads}")
            found.append((heads, kv_heads))
        return found

    def attention(self, key: str, written: object) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        for i, value in enumerate(self.values(key, written)):
            if value not in ATTENTIONS:
                raise self.fail(f"{key}[{i}]", value, '"eager" or "flash"')
            found.append((ATTENTIONS.index(str(value)),))
        return found

    def axis(self, key: str, written: object) -> Axis:
        readers = {
            "mode": (self.mode, ("view_size", "tile_size", "crop_rows", "crop_cols")),
            "crops": (self.crops, ("crop_rows", "crop_cols")),
            "heads": (self.heads, ("attention_heads", "key_value_heads")),
            "attention": (self.attention, ("attention",)),
            **{
                name: (self.numbers, (name,))
                for name in ("view_size", "tile_size", "text_tokens", "decode_steps", "batch_size")
            },
        }
        if key not in readers:
            raise InputError(
                f"{self.source}: axes.{key}: unknown key: expected one of {', '.join(readers)}"
            )
        read, columns = readers[key]
        if key in _BY_NAME and key != "attention" and isinstance(written, dict):
            return Axis(key, columns, self.span(key, written))
        values = read(key, written)
        seen: set[tuple[int, ...]] = set()
        for value in values:
            if value in seen:
                shown = value[0] if len(value) == 1 else list(value)
                raise InputError(f"{self.source}: axes.{key}: duplicate value {shown}")
            seen.add(value)
        return Axis(key, columns, np.array(values, np.int64))

    def axes(self, table: dict[str, Any]) -> tuple[Axis, ...]:
        joint = sorted({"crops", "view_size", "tile_size"} & set(table))
        if "mode" in table and joint:
            raise InputError(
                f"{self.source}: axes.mode: sets view, tile and crops: expected no axes.{joint[0]}"
            )
        axes = [self.axis(key, written) for key, written in table.items()]
        named = {name for axis in axes for name in axis.columns}
        constant = tuple(name for name in INPUT_NAMES if name not in named)
        if not constant:
            return tuple(axes)
        values = [[default_value(self.model, name) for name in constant]]
        return (Axis("defaults", constant, np.array(values, np.int64)), *axes)


def default_value(model: Model, name: str) -> int:
    """Value of an input column that is not given; heads default to the model file's own."""
    decoder = model.architecture.decoder
    own = {
        "attention_heads": decoder.attention_heads,
        "key_value_heads": decoder.key_value_heads,
    }
    return own.get(name, _BY_NAME[name].default)


def shipped_grids() -> dict[str, Path]:
    """Grid files that come with the package or its checkout, by stem."""
    package = Path(str(resources.files("sweepengine")))
    folder = next((f for f in (package / "grids", package.parent / "grids") if f.is_dir()), package)
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_grid(name: str | Path) -> Grid:
    """Read a grid file, named by path or by the stem of one that is shipped.

    Raises
    ------
    InputError
        When there is none, or it is not valid; the message names file, key and what is allowed.
    """
    path = Path(name)
    shipped = shipped_grids()
    if not path.is_file() and str(name) in shipped:
        path = shipped[str(name)]
    if not path.is_file() and path.suffix != ".toml":
        raise InputError(
            f'grid "{name}" does not exist: expected a path to a TOML file or one of '
            f"{', '.join(shipped)}"
        )
    return parse_grid(read_toml(path), str(path), path.parent)


def parse_grid(data: dict[str, Any], source: str, folder: Path | None = None) -> Grid:
    """Make a grid of what a grid file holds; `folder` is where a model's path starts from."""
    try:
        file = GridFile.model_validate(data)
    except ValidationError as error:
        raise from_validation(source, error) from None
    unknown = [stage for stage in file.report if stage not in STAGES]
    if unknown or not file.report:
        raise InputError(f"{source}: report: expected some of {', '.join(STAGES)}")
    model_name = file.model
    if folder is not None and file.model.endswith(".toml") and (folder / file.model).is_file():
        model_name = str(folder / file.model)
    try:
        model = load_model(model_name)
    except InputError as error:
        raise InputError(f"{source}: model: {error}") from None
    axes = _AxisReader(source, model).axes(file.axes)
    return Grid(file.name, file.description, model_name, axes, file.targets, file.report, source)
