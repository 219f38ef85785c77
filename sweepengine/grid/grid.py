"""A grid: a model, and the product of axes of values over it; chunks of it are products too."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.data.speeds import basis, stated_device, timing_target
from sweepengine.data.stated import stated
from sweepengine.formulas.points import INPUT_NAMES, INPUTS, Point
from sweepengine.formulas.serving import CONTINUOUS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.axes import AXES, Axis
from sweepengine.grid.columns import OUTPUT_NAMES
from sweepengine.grid.lengths import AXIS, Lengths
from sweepengine.grid.limits import check_axes
from sweepengine.grid.points import default_values, phases_of

DEFAULTS = "defaults"
"""Name of the first axis, of what the others leave out."""
_SECONDS = Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False, strict=True)]


class Chunk(NamedTuple):
    """Points `start` to `stop` of a grid: the first ones of a product of `axes`."""

    start: int
    stop: int
    axes: tuple[Axis, ...]


class Targets(BaseModel):
    """Latency targets for reports, seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    ttft_s: _SECONDS | None = None
    tpot_s: _SECONDS | None = None


class Grid(NamedTuple):
    """A cartesian product of axes over one model; the last axis is fastest."""

    name: str
    model: Model
    """With the devices that its points are timed on, one of its axis `device` each."""
    axes: tuple[Axis, ...]
    """That set every input column (`with_defaults`)."""
    source: str
    """Where it was read from, for messages."""
    report: tuple[str, ...]
    """Stages that a report of this grid shows."""
    description: str = ""
    targets: Targets = Targets()
    lengths: Lengths | None = None
    """Of its last axis, which are requests of different weights; None: it has no such axis."""
    cost: str = ""
    """What a device costs, an SQL expression over its figures; empty: nobody says."""

    @property
    def points(self) -> int:
        """Number of points."""
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def bases(self) -> tuple[str, ...]:
        """What the times of its points rest on, and how far off they are expected to be."""
        values = {name: a.values[:, i] for a in self.axes for i, name in enumerate(a.columns)}
        arch, times = self.model.architecture, self.model.times or None
        continuous = CONTINUOUS in values["serving"]
        found = [
            basis(arch, timing_target(device, FRAMEWORKS[code], times), continuous)
            for device in self.model.devices
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
        model = self.model
        digest = hashlib.sha256(json.dumps(stated(model)).encode())
        if model.devices:
            digest.update(json.dumps([model.times, *map(stated_device, model.devices)]).encode())
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


def grid_of(model: Model, axes: Mapping[str, ArrayLike], source: str) -> Grid:
    """A grid of checked values.

    Parameters
    ----------
    model : Model
        With devices where `device` is an axis.
    axes : mapping of str to integers, shape (N,) or (N, columns of the axis)
        Values by axis (`grid.axes.AXES`), the last axis fastest; choices as positions. Inputs
        that no axis sets have the model's defaults.
    source : str
        What to call it in messages.
    """
    found = [
        Axis(name, AXES[name].columns,
             np.array(values, np.int64).reshape(-1, len(AXES[name].columns)))
        for name, values in axes.items()
    ]  # fmt: skip
    return Grid(source, model, with_defaults(model, found), source, phases_of(model))


def with_defaults(model: Model, axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Axes, and before them one of a single value that sets what they leave out."""
    named = {name for axis in axes for name in axis.columns}
    constant = tuple(name for name in INPUT_NAMES if name not in named)
    if not constant:
        return tuple(axes)
    defaults = default_values(model)
    values = np.array([[defaults[name] for name in constant]], np.int64)
    return (Axis(DEFAULTS, constant, values), *axes)


def with_lengths(grid: Grid, lengths: Lengths) -> Grid:
    """The grid with lengths as its last and fastest axis.

    Raises
    ------
    InputError
        When another of its axes sets a column of theirs.
    """
    axes = []
    for axis in grid.axes:
        kept = [i for i, name in enumerate(axis.columns) if name not in lengths.columns]
        if len(kept) < len(axis.columns) and len(axis.values) > 1:
            raise InputError(
                f"{grid.source}: axes.{axis.name}: {lengths.source} sets "
                f"{', '.join(lengths.columns)}: expected no such axis beside it"
            )
        if kept:
            names = tuple(axis.columns[i] for i in kept)
            axes.append(Axis(axis.name, names, axis.values[:, kept]))
    whole = (*axes, Axis(AXIS, lengths.columns, lengths.values))
    return grid._replace(axes=whole, lengths=lengths)
