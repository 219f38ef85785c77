"""Grids: a model and a product of axes; a chunk of a grid is a product too."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from sweepengine.data.acceptance import acceptance_texts
from sweepengine.data.basis import basis
from sweepengine.data.error_classes import Case
from sweepengine.data.errors import InputError
from sweepengine.data.family_factors import stated_factors
from sweepengine.data.models import Model
from sweepengine.data.speeds import stated_device, timing_target
from sweepengine.data.stated import stated
from sweepengine.formulas.points import DRAFT_COLUMNS, INPUT_NAMES, INPUTS, Point
from sweepengine.formulas.serving import CONTINUOUS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.axes import AXES, Axis
from sweepengine.grid.columns import OUTPUT_NAMES
from sweepengine.grid.lengths import AXIS, Lengths
from sweepengine.grid.limits import check_axes
from sweepengine.grid.points import default_values, phases_of

DEFAULTS = "defaults"
"""Name of the first axis, of the inputs that the other axes leave out."""
GAINED_COLUMNS = ("decode_context_parallel",)
"""Columns that joint axes gained; where they change nothing, hashes stay as they were."""
_SECONDS = Annotated[float, Field(ge=1e-9, le=1e9, allow_inf_nan=False, strict=True)]


class Chunk(NamedTuple):
    """Points `start` to `stop` of a grid: the first points of the product of `axes`."""

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
    """With the devices of the axis `device`, if there is one."""
    axes: tuple[Axis, ...]
    """Axes that set every input column (`with_defaults`)."""
    source: str
    """Name of its file in messages."""
    report: tuple[str, ...]
    """Phases that a report of this grid shows."""
    description: str = ""
    targets: Targets = Targets()
    lengths: Lengths | None = None
    """Request lengths of its last axis and their weights; None where it has no such axis."""
    cost: str = ""
    """Cost of a device, an SQL expression over its figures; empty where not given."""

    @property
    def points(self) -> int:
        """Number of points."""
        return math.prod(len(axis.values) for axis in self.axes)

    @property
    def bases(self) -> tuple[str, ...]:
        """Sources of the times of its points, and their expected errors."""
        values = {name: a.values[:, i] for a in self.axes for i, name in enumerate(a.columns)}
        arch, times = self.model.architecture, self.model.times or None
        continuous = CONTINUOUS in values["serving"]
        images = bool(values["images"].any())
        bases = [
            basis(
                arch,
                timing_target(device, FRAMEWORKS[code], times),
                continuous,
                Case(images=images, speculative=drafts),
            )
            for device in self.model.devices
            for code in dict.fromkeys(values["framework"].tolist())
            for drafts in dict.fromkeys((values["draft_tokens"] > 0).tolist())
        ]
        return tuple(dict.fromkeys(bases))

    @property
    def assumed(self) -> tuple[str, ...]:
        """What its points assume of tokens that drafts have accepted."""
        values = {name: a.values[:, i] for a in self.axes for i, name in enumerate(a.columns)}
        distinct = (np.unique(values[name]).tolist() for name in DRAFT_COLUMNS)
        return acceptance_texts(self.model, product(*distinct))

    @property
    def point(self) -> Point:
        """The first point."""
        first = {name: a.values[0, i] for a in self.axes for i, name in enumerate(a.columns)}
        return Point(**{name: int(first[name]) for name in Point._fields})

    @property
    def hash(self) -> str:
        """SHA-256 of the axes and the model's numbers, which decide the result."""
        model = self.model
        digest = hashlib.sha256(json.dumps(stated(model)).encode())
        if model.devices:
            devices = map(stated_device, model.devices)
            digest.update(json.dumps([model.times, stated_factors(), *devices]).encode())
        for axis in self.axes:
            if axis.name == DEFAULTS:  # new inputs that change nothing keep the hash
                values = dict(zip(axis.columns, axis.values[0].tolist(), strict=True))
                kept = {n: value for n, value in values.items() if value != INPUTS[n].without}
                digest.update(json.dumps(kept).encode())
                continue
            gained = [
                i
                for i, name in enumerate(axis.columns)
                if name in GAINED_COLUMNS and (axis.values[:, i] == INPUTS[name].without).all()
            ]
            columns = np.delete(np.array(axis.columns), gained).tolist()
            numbers = np.delete(axis.values, gained, axis=1)
            digest.update(json.dumps([columns, numbers.shape]).encode())
            digest.update(numbers.astype("<i8").tobytes())
        return digest.hexdigest()

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Split into chunks of at most `rows` points, in order.

        In a chunk, leading axes have one value, one axis has a range, and later axes have all
        values. So tables of what is computed once per value stay small.
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
        """Check that the columns `names` do not overflow at the grid's largest corner.

        Raises
        ------
        InputError
            Naming the column and the corner.
        """
        check_axes(self.source, self.model.architecture, self.axes, names)


def first_chunks(grid: Grid, points: int, rows: int) -> Iterator[Chunk]:
    """Chunks of at most `rows` points that cover the first `points` points of a grid."""
    for chunk in grid.chunks(rows):
        if chunk.start >= points:
            return
        yield chunk._replace(stop=min(chunk.stop, points))


def grid_of(model: Model, axes: Mapping[str, ArrayLike], source: str) -> Grid:
    """A grid of checked values.

    Parameters
    ----------
    model : Model
        With its devices where `device` is an axis.
    axes : mapping of str to integers, shape (N,) or (N, columns of the axis)
        Values by axis (`grid.axes.AXES`), the last axis fastest; choices as positions. Inputs
        that no axis sets have the model's defaults.
    source : str
        Name of the grid in messages.
    """
    listed = [
        Axis(name, AXES[name].columns,
             np.array(values, np.int64).reshape(-1, len(AXES[name].columns)))
        for name, values in axes.items()
    ]  # fmt: skip
    return Grid(source, model, with_defaults(model, listed), source, phases_of(model))


def with_defaults(model: Model, axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """Axes, and before them an axis of one value that sets the inputs they leave out."""
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
        When an axis of several values sets a column of the lengths.
    """
    axes = []
    for axis in grid.axes:
        kept = [i for i, name in enumerate(axis.columns) if name not in lengths.columns]
        if len(kept) < len(axis.columns) and len(axis.values) > 1:
            raise InputError(
                f"{grid.source}: axes.{axis.name}: {lengths.source} sets "
                f"{', '.join(lengths.columns)}: expected no axis for these"
            )
        if kept:
            names = tuple(axis.columns[i] for i in kept)
            axes.append(Axis(axis.name, names, axis.values[:, kept]))
    whole = (*axes, Axis(AXIS, lengths.columns, lengths.values))
    return grid._replace(axes=whole, lengths=lengths)
