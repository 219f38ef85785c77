"""Sources of points: a grid, computed while it is read, or a dataset."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sweepengine.data.devices import Device, device_of, load_device
from sweepengine.data.drafts import with_drafts
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, build
from sweepengine.data.speeds import on_devices
from sweepengine.engine import interrupts
from sweepengine.engine.compute import backend_for
from sweepengine.engine.error_columns import range_columns
from sweepengine.engine.lazy import grid_frames, scan
from sweepengine.engine.threads import cores, in_order
from sweepengine.engine.typed import type_of
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import MODEL_AXIS
from sweepengine.grid.columns import PHASES, RANGES, SCHEMA_VERSION
from sweepengine.grid.files import load_grids, shipped_grids
from sweepengine.grid.grid import Grid, Targets
from sweepengine.grid.points import column_names, stored_names
from sweepengine.grid.products import at_first, axis_of
from sweepengine.query.reading import collected, told
from sweepengine.version import __version__


class Source(NamedTuple):
    """Points, with the facts of their grid."""

    place: str
    """Name that the user gave, for messages."""
    name: str
    description: str
    model: str
    """Name of the model."""
    loaded: Model
    """The model itself; a dataset carries its own."""
    grid_hash: str
    engine_version: str
    targets: Targets
    stages: tuple[str, ...]
    """Phases that a report shows."""
    point_count: int
    columns: tuple[str, ...]
    """Inputs, texts of joint axes, then outputs; of earlier datasets those that they have."""
    value_bytes: int
    """Bytes of an activation, and of weights and KV cache without a format of their own."""
    points: pl.LazyFrame
    widened: Callable[[], pl.LazyFrame]
    pieces: Callable[..., Iterator[pl.DataFrame]]
    """Yields points in order, a piece at a time. Takes columns, a condition or None, and whether
    the condition needs wide integers."""
    bases: tuple[str, ...] = ()
    """What its times are based on, with their expected errors; empty: it has no times."""
    assumed: tuple[str, ...] = ()
    """What its points assume of tokens that drafts have accepted."""
    chosen: tuple[pl.Expr | None, bool] = (None, False)
    """Condition on its points, and whether it needs wide integers."""
    grid: Grid | None = None
    """The grid whose points it computes; None for a dataset."""

    def collected(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Collect a frame of its points that fits in memory; errors name the source."""
        return collected(frame, self.place)

    def frames(
        self, columns: Sequence[str], where: pl.Expr | None = None
    ) -> Iterator[pl.DataFrame]:
        """Yield columns of its points piece by piece, a few pieces ahead of the reader.

        Batches of Polars would take ten times the memory.

        Parameters
        ----------
        columns : sequence of str
        where : polars.Expr, optional
            Condition on the points, in addition to its own.

        Raises
        ------
        InputError
            Naming the source.
        """
        condition, wide = self.chosen
        if where is not None:
            condition = where if condition is None else condition & where
        known = [name for name in columns if name in self.columns and name != MODEL_AXIS]
        kinds = {name: type_of(name, self.loaded) for name in known} if wide else {}
        with told(self.place):
            for frame in self.pieces(tuple(columns), condition, wide=wide):
                interrupts.check()
                yield frame.cast(pl.Schema(kinds)) if wide else frame
        interrupts.check()

    def at_one_step(self) -> tuple["Source", int]:
        """Return its points at one number of decode steps, and how many such numbers there are.

        The points are its own, and the number 1, unless it is a grid with an axis of decode steps.
        """
        if self.grid is None or self.chosen[0] is not None:
            return self, 1
        axes = self.grid.axes
        if (place := axis_of(axes, "decode_steps")) is None:
            return self, 1
        count = len(axes[place].values)
        one = self.grid._replace(axes=tuple(at_first(axes, place)))
        pieces = partial(grid_frames, one, backend=backend_for(self.grid.points))
        return self._replace(pieces=pieces, grid=one), count

    def device(self, name: str | Path) -> Device:
        """The device of its points that has this name, else the one of a file or a shipped one.

        Raises
        ------
        InputError
            When there is none.
        """
        own = {device.name: device for device in self.loaded.devices}
        return own.get(str(name)) or load_device(name)

    @property
    def wide(self) -> pl.LazyFrame:
        """Its points with 128-bit integers, for conditions with arithmetic."""
        return self.widened()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Input columns of its points."""
        return tuple(name for name in self.columns if name in INPUTS)

    @property
    def stages_there(self) -> tuple[str, ...]:
        """Phases whose costs its points have."""
        return tuple(stage for stage in PHASES if f"{stage}_tensor_flops" in self.columns)


def open_source(place: str | Path) -> Source:
    """Open a grid (a file, or the name of a shipped one) or a dataset (a path or URI) of one model.

    Raises
    ------
    InputError
        When it is neither, the grid would overflow, the dataset is incomplete or empty, or it has
        several models.
    """
    sources = open_sources(place)
    if len(sources) > 1:
        raise InputError(f"{place}: expected points of one model, found {len(sources)}")
    return sources[0]


def open_sources(place: str | Path) -> tuple[Source, ...]:
    """As `open_source`, of any number of models: a source each, in their order.

    A folder of datasets, as a run of a grid of several models writes it, has one a model. A folder
    without datasets does not hide the shipped grid of its name.

    Raises
    ------
    InputError
        As `open_source`.
    """
    from sweepengine.store.runs import datasets_of, holds_datasets

    hidden = str(place) in shipped_grids() and not holds_datasets(place)
    if "://" in str(place) or (Path(place).is_dir() and not hidden):
        return tuple(_open_dataset(folder) for folder in datasets_of(place))
    return tuple(_of_grid(grid) for grid in load_grids(place))


def _open_dataset(place: str | Path) -> Source:
    from sweepengine.store.dataset import check_files, scan_files
    from sweepengine.store.manifest import File, manifest_name, read_manifest
    from sweepengine.store.storage import open_storage

    storage = open_storage(place)
    manifest = read_manifest(storage)
    path = f"{place}/{manifest_name(storage.names())}"
    loaded = build(manifest.model_data, f"{path}: model_data")
    drafts = [build(data, f"{path}: drafts") for data in manifest.drafts]
    loaded, _ = with_drafts(loaded, drafts, f"{path}: drafts")
    if manifest.devices:
        try:
            stated = [device_of(data, f"{path}: device_data") for data in manifest.device_data]
            loaded = on_devices(loaded, stated or manifest.devices, manifest.times)
        except InputError as error:
            raise InputError(f"{path}: devices: {error}") from None
        if loaded.device_names != manifest.devices:
            raise InputError(f"{path}: device_data: expected {', '.join(manifest.devices)}")
    known = stored_names(loaded)
    earlier = manifest.schema_version < SCHEMA_VERSION and {*loaded.inputs} <= {*manifest.columns}
    if manifest.columns != (tuple(n for n in known if n in manifest.columns) if earlier else known):
        raise InputError(
            f"{path}: columns: expected those of {loaded.name}; "
            "write the dataset again with this version of sweepengine"
        )

    check_files(storage, manifest)
    ranged = RANGES if "error_class" in manifest.columns else ()
    columns = tuple(n for n in column_names(loaded) if n in (*manifest.columns, *ranged))

    def scanned(files: Sequence[File], wide: bool) -> pl.LazyFrame:
        kinds = {name: type_of(name, loaded, wide) for name in manifest.columns}
        with told(storage.place):
            stored = scan_files(storage, files, wide).cast(pl.Schema(kinds))
            ranges = range_columns(manifest.error_ranges) if ranged else []
            return stored.with_columns(ranges).select(columns) if ranges else stored

    def pieces(
        names: Sequence[str], condition: pl.Expr | None, wide: bool
    ) -> Iterator[pl.DataFrame]:
        def read(file: File) -> pl.DataFrame:
            points = scanned([file], wide)
            kept = points if condition is None else points.filter(condition)
            return kept.select(names).collect()

        return in_order(read, manifest.files, cores(), wait=False)

    return Source(
        place=storage.place,
        name=manifest.grid_name,
        description=manifest.description,
        model=manifest.model,
        loaded=loaded,
        grid_hash=manifest.grid_hash,
        engine_version=manifest.engine_version,
        targets=manifest.targets,
        stages=manifest.report,
        point_count=manifest.points,
        columns=columns,
        value_bytes=manifest.value_bytes,
        points=scanned(manifest.files, False),
        widened=partial(scanned, manifest.files, True),
        pieces=pieces,
        bases=manifest.bases,
        assumed=manifest.assumed,
    )


def _of_grid(grid: Grid) -> Source:
    return Source(
        place=grid.source,
        name=grid.name,
        description=grid.description,
        model=grid.model.name,
        loaded=grid.model,
        grid_hash=grid.hash,
        engine_version=__version__,
        targets=grid.targets,
        stages=grid.report,
        point_count=grid.points,
        columns=column_names(grid.model),
        value_bytes=grid.model.architecture.convention.dtype_bytes,
        points=scan(grid),
        widened=partial(scan, grid, wide=True),
        pieces=partial(grid_frames, grid),
        bases=grid.bases,
        assumed=grid.assumed,
        grid=grid,
    )


def timed_source(source: Source, model: Model, stored: Mapping[str, int]) -> Source | None:
    """A grid whose points name no device, on the device of `model`; None for other sources.

    A product of axes is timed by its tables, several times as fast as points one by one.

    Parameters
    ----------
    source : Source
    model : Model
        Its model, with one device.
    stored : mapping of str to int
        Stored inputs of all points that the grid does not state.
    """
    grid = source.grid
    if grid is None or grid.model.devices:
        return None
    axes = []
    for axis in grid.axes:
        values = axis.values.copy()
        for i, name in enumerate(axis.columns):
            if name in stored:
                values[:, i] = stored[name]
        axes.append(axis._replace(values=values))
    return _of_grid(grid._replace(model=model, axes=tuple(axes)))._replace(chosen=source.chosen)
