"""What commands read points from: a grid, computed while it is read, or a dataset."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from sweepengine import __version__
from sweepengine.data.errors import InputError
from sweepengine.engine.frames import SCHEMA
from sweepengine.engine.lazy import scan
from sweepengine.grid.grid import Targets, load_grid
from sweepengine.store.dataset import read_manifest, scan_files
from sweepengine.store.storage import is_remote, open_storage


class Source(NamedTuple):
    """Points, and what their grid says about them."""

    place: str
    """What the user called it, for messages."""
    name: str
    description: str
    model: str
    """Name or path of the model."""
    grid_hash: str
    engine_version: str
    targets: Targets
    stages: tuple[str, ...]
    """Stages that a report shows."""
    point_count: int
    points: pl.LazyFrame


def open_source(place: str | Path) -> Source:
    """Open a grid (by file, or by stem of a shipped one) or a dataset (by path or URI).

    Raises
    ------
    InputError
        When it is neither, would overflow, or is a dataset that is not complete or is empty.
    """
    if is_remote(place) or Path(place).is_dir():
        storage = open_storage(place)
        manifest = read_manifest(storage)
        points = scan_files(storage, manifest).cast(SCHEMA)
        if not manifest.points:
            raise InputError(f"{place}: is empty: expected a dataset with points")
        return Source(
            str(place),
            manifest.grid_name,
            manifest.description,
            manifest.model,
            manifest.grid_hash,
            manifest.engine_version,
            Targets(**manifest.targets),
            manifest.report,
            manifest.points,
            points,
        )
    grid = load_grid(place)
    return Source(
        grid.source,
        grid.name,
        grid.description,
        grid.model_name,
        grid.hash,
        __version__,
        grid.targets,
        grid.report,
        grid.points,
        scan(grid),
    )
