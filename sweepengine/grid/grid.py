"""Grid files: TOML -> axes -> chunks, each itself a product of axes."""

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweepengine.data.devices import Device
from sweepengine.data.errors import InputError, from_validation, nearest
from sweepengine.data.files import exists, read_toml
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import basis, on_devices, place_of, stated_device
from sweepengine.data.stated import stated
from sweepengine.data.texts import Name, Text
from sweepengine.formulas.points import INPUTS, Point
from sweepengine.formulas.serving import CONTINUOUS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.axes import Axis
from sweepengine.grid.columns import OUTPUT_NAMES
from sweepengine.grid.lengths import Lengths, lengths_of, rows_of, with_lengths
from sweepengine.grid.limits import check_axes
from sweepengine.grid.points import stages_of
from sweepengine.grid.spelling import DEFAULTS, read_axes

_STRICT = ConfigDict(extra="forbid", frozen=True)
_SECONDS = Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False, strict=True)]


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


class GridFile(BaseModel):
    """A grid file as written."""

    model_config = _STRICT
    name: Name
    description: Text = ""
    model: Annotated[str, Field(min_length=1, strict=True)] = "deepseek-ocr-3b"
    axes: dict[str, Any]
    targets: Targets = Targets()
    report: tuple[str, ...] | None = None
    times: Literal["silicon", "roofline"] | None = None
    lengths: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] | None = None
    cost: Annotated[str, Field(min_length=1, strict=True)] | None = None


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
    devices: tuple[Device, ...] = ()
    """That its points are timed on, one of its axis `device` each."""
    times: str = ""
    """What times are of; empty: silicon's where a device has rates."""
    lengths: Lengths | None = None
    """Of its last axis, which are requests of different weights; None: it has no such axis."""
    cost: str = ""
    """What a device costs, an SQL expression over its figures; empty: nobody says."""

    @property
    def points(self) -> int:
        """Number of points."""
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def model(self) -> Model:
        """The model it is costed on."""
        model = load_model(self.model_name)
        return model._replace(devices=self.devices, times=self.times) if self.devices else model

    @property
    def bases(self) -> tuple[str, ...]:
        """What the times of its points rest on, and how far off they are expected to be."""
        values = {name: a.values[:, i] for a in self.axes for i, name in enumerate(a.columns)}
        arch, times = self.model.architecture, self.times or None
        served = CONTINUOUS in values["serving"]
        found = [
            basis(arch, place_of(device, FRAMEWORKS[code], times), served)
            for device in self.devices
            for code in dict.fromkeys(values["framework"].tolist())
        ]
        return tuple(dict.fromkeys(found))

    @property
    def point(self) -> Point:
        """Its first point."""
        first = {name: a.values[0, i] for a in self.axes for i, name in enumerate(a.columns)}
        return Point(**{name: int(first[name]) for name in Point._fields})

    @property
    def hash(self) -> str:
        """SHA-256 of what decides the result: the axes and the model's numbers."""
        digest = hashlib.sha256(json.dumps(stated(self.model)).encode())
        if self.devices:
            digest.update(json.dumps([self.times, *map(stated_device, self.devices)]).encode())
        for axis in self.axes:
            if axis.name == DEFAULTS:  # but for those that change nothing, which newer inputs have
                values = dict(zip(axis.columns, axis.values[0].tolist(), strict=True))
                kept = {n: value for n, value in values.items() if value != INPUTS[n].without}
                digest.update(json.dumps(kept).encode())
                continue
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

    def check(self, names: Sequence[str] = OUTPUT_NAMES) -> None:
        """Refuse the grid when its largest corner does not fit the types of some columns.

        Raises
        ------
        InputError
            Naming the column and the corner.
        """
        check_axes(self.source, self.model.architecture, self.axes, names)


def first_chunks(grid: Grid, points: int, rows: int) -> Iterator[Chunk]:
    """Chunks, of at most `rows` points each, of the first `points` points of a grid."""
    for chunk in grid.chunks(rows):
        if chunk.start >= points:
            return
        yield chunk._replace(stop=min(chunk.stop, points))


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
    if not exists(path) and str(name) in shipped:
        path = shipped[str(name)]
    if not exists(path) and path.suffix != ".toml":
        raise InputError(
            f'grid "{name}" does not exist{nearest(str(name), shipped)}: expected a path to a '
            f"TOML file or one of {', '.join(shipped)}"
        )
    return parse_grid(read_toml(path), str(path), path.parent)


def parse_grid(data: dict[str, Any], source: str, folder: Path | None = None) -> Grid:
    """Make a grid of what a grid file holds; `folder` is where a model's path starts from."""
    try:
        file = GridFile.model_validate(data)
    except ValidationError as error:
        raise from_validation(source, error, GridFile.model_fields) from None
    model_name = file.model
    if folder is not None and file.model.endswith(".toml") and exists(folder / file.model):
        model_name = str(folder / file.model)
    try:
        model = load_model(model_name)
    except InputError as error:
        raise InputError(f"{source}: model: {error}") from None
    stages = stages_of(model)
    report = stages if file.report is None else file.report
    if not report or not set(report) <= set(stages):
        raise InputError(f"{source}: report: expected some of {', '.join(stages)}")
    model = _timed(source, model, file)
    axes = read_axes(source, model, file.axes)
    grid = Grid(
        file.name,
        file.description,
        model_name,
        axes,
        file.targets,
        report,
        source,
        model.devices,
        model.times,
        cost=file.cost or "",
    )
    if file.lengths is None:
        return grid
    place = f"{source}: lengths"
    return with_lengths(grid, lengths_of(place, model, rows_of(place, file.lengths)))


def _timed(source: str, model: Model, file: GridFile) -> Model:
    """The model on the devices of the axis `device`, if there is one."""
    if "device" not in file.axes:
        if file.times is not None:
            raise InputError(f"{source}: times: expected an axis `device` beside it")
        return model
    written = file.axes["device"]
    names = written if isinstance(written, list) else [written]
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise InputError(f"{source}: axes.device[{i}] = {name!r}: expected a device's name")
    try:
        return on_devices(model, names, file.times or "")
    except InputError as error:
        raise InputError(f"{source}: axes.device: {error}") from None
