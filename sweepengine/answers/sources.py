"""What commands read points from: a grid, computed while it is read, or a dataset."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from sweepengine import __version__
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, build
from sweepengine.data.speeds import on_devices
from sweepengine.engine.frames import type_of
from sweepengine.engine.lazy import scan
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.columns import STAGES
from sweepengine.grid.grid import Targets, load_grid
from sweepengine.grid.points import output_names


class Source(NamedTuple):
    """Points, and what their grid says about them."""

    place: str
    """What the user called it, for messages."""
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
    """Stages that a report shows."""
    point_count: int
    columns: tuple[str, ...]
    """Inputs, then outputs."""
    value_bytes: int
    """Of an activation, and of weights and cached values that no format says otherwise."""
    points: pl.LazyFrame
    bases: tuple[str, ...] = ()
    """What its times rest on, and how far off they are expected to be; empty: it has none."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Input columns of its points."""
        return tuple(name for name in self.columns if name in INPUTS)

    @property
    def stages_there(self) -> tuple[str, ...]:
        """Stages whose costs its points have."""
        return tuple(stage for stage in STAGES if f"{stage}_tensor_flops" in self.columns)


def open_source(place: str | Path) -> Source:
    """Open a grid (by file, or by stem of a shipped one) or a dataset (by path or URI).

    Raises
    ------
    InputError
        When it is neither, would overflow, or is a dataset that is not complete or is empty.
    """
    if "://" in str(place) or Path(place).is_dir():
        from sweepengine.store.dataset import MANIFEST, read_manifest, scan_files
        from sweepengine.store.storage import open_storage

        storage = open_storage(place)
        manifest = read_manifest(storage)
        points = scan_files(storage, manifest)
        loaded = build(manifest.model_data, f"{place}/{MANIFEST}: model_data")
        if manifest.devices:
            loaded = on_devices(loaded, manifest.devices, manifest.times)
        points = points.cast({name: type_of(name, loaded) for name in manifest.columns})
        if not manifest.points:
            raise InputError(f"{place}: is empty: expected a dataset with points")
        return Source(
            str(place),
            manifest.grid_name,
            manifest.description,
            manifest.model,
            loaded,
            manifest.grid_hash,
            manifest.engine_version,
            Targets(**manifest.targets),
            manifest.report,
            manifest.points,
            manifest.columns,
            manifest.value_bytes,
            points,
            manifest.bases,
        )
    grid = load_grid(place)
    return Source(
        grid.source,
        grid.name,
        grid.description,
        grid.model.name,
        grid.model,
        grid.hash,
        __version__,
        grid.targets,
        grid.report,
        grid.points,
        (*grid.model.inputs, *output_names(grid.model)),
        grid.model.architecture.convention.dtype_bytes,
        scan(grid),
        grid.bases,
    )
