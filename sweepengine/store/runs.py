"""Runs: compute a grid into a Parquet dataset on all cores, and resume after a stop."""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sweepengine.data.errors import InputError, shown
from sweepengine.engine.compute import backend_for
from sweepengine.engine.error_columns import factors_of_axes
from sweepengine.engine.threads import cores, in_order
from sweepengine.grid.columns import SCHEMA_VERSION
from sweepengine.grid.files import load_grids
from sweepengine.grid.grid import Chunk, Grid, first_chunks
from sweepengine.grid.points import stored_names
from sweepengine.store.manifest import (
    FILE_NAME,
    MANIFESTS,
    File,
    Manifest,
    formulas_hash,
    manifest_data,
    manifest_name,
    read_manifest,
    write_manifest,
)
from sweepengine.store.shards import Shard, Shards, write_shard
from sweepengine.store.storage import LOCK, UNFINISHED, Storage, open_storage
from sweepengine.version import __version__

EXECUTORS = ("local", "ray")
LEAST_BYTES = 1
"""Least bytes of a point on the disk: grids of 31 to 68 columns took 2.7 to 30."""
ROWS_PER_FILE = 1 << 19
"""Most points of a file: 512 Ki points are 110 MB in memory, once per worker."""


class Summary(NamedTuple):
    """Summary of a run."""

    points: int
    """Points in the dataset."""
    written: int
    """Points written by this run; the others are of an earlier run."""
    files: int
    seconds: float
    bytes: int
    place: str
    """Directory or URI."""

    @property
    def points_per_second(self) -> float:
        """Points written per second."""
        return self.written / self.seconds


def run(
    grid: str | Path | Grid,
    out: str | Path,
    overwrite: bool = False,
    workers: int | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
    engine: str = "local",
    address: str | None = None,
) -> Summary:
    """Compute a grid into a directory of Parquet files and a manifest.

    A stopped run resumes when it is started again, and writes the same bytes as an undisturbed run.
    Of a grid of several models each has a dataset of its own, in a folder of its name.

    Parameters
    ----------
    grid : str, Path or Grid
        A grid file, the stem of a shipped one, or a grid.
    out : str or Path
        Directory, created if missing, or URI that pyarrow or fsspec reads (``s3://...``).
    overwrite : bool
        Replace an existing dataset. Files that no run wrote are never removed.
    workers : int, optional
        Threads, each computing and writing files; all cores by default.
    limit : int, optional
        Only the first `limit` points.
    progress : callable, optional
        Called with the number of points of each file that is complete.
    engine : str
        "local" for threads of this process, "ray" for tasks of a Ray cluster.
    address : str, optional
        Address of the cluster; None starts a local one.

    Raises
    ------
    InputError
        When the grid is not valid or would overflow, or `out` is a file, holds other files or
        another dataset, or another run writes to it.

    Notes
    -----
    Files of an earlier run are read, and rewritten where checksum, rows or provenance differ. The
    manifest of a complete dataset has the CRC-32 of each file; until then the footer of a file has
    that of its data.
    """
    grids = (grid,) if isinstance(grid, Grid) else load_grids(grid)
    if len(grids) == 1:
        return _run(grids[0], out, overwrite, workers, limit, progress, engine, address)
    done: list[Summary] = []
    for one in grids:
        left = None if limit is None else limit - sum(summary.points for summary in done)
        if left is None or left > 0:
            folder = f"{str(out).rstrip('/')}/{one.model.name}"
            done.append(_run(one, folder, overwrite, workers, left, progress, engine, address))
    return Summary(
        points=sum(summary.points for summary in done),
        written=sum(summary.written for summary in done),
        files=sum(summary.files for summary in done),
        seconds=sum(summary.seconds for summary in done),
        bytes=sum(summary.bytes for summary in done),
        place=str(out),
    )


def datasets_of(place: str | Path) -> tuple[str | Path, ...]:
    """The dataset of a place, or those that a run of a grid of several models wrote there."""
    if not str(place) or "://" in str(place) or _is_dataset(place):
        return (place,)
    return tuple(_inside(place)) or (place,)


def holds_datasets(place: str | Path) -> bool:
    """Whether a local folder is a dataset, or holds some."""
    return _is_dataset(place) or bool(_inside(place))


def _is_dataset(place: str | Path) -> bool:
    return any((Path(place) / name).exists() for name in MANIFESTS)


def _inside(place: str | Path) -> list[Path]:
    """Datasets in a folder, one for each model."""
    return sorted({path.parent for name in MANIFESTS for path in Path(place).glob(f"*/{name}")})


def _run(
    loaded: Grid,
    out: str | Path,
    overwrite: bool,
    workers: int | None,
    limit: int | None,
    progress: Callable[[int], None] | None,
    engine: str,
    address: str | None,
) -> Summary:
    """As `run`, of the grid of one model."""
    began = time.perf_counter()
    for name, number in (("workers", workers), ("limit", limit)):
        if number is not None and number < 1:
            raise InputError(f"{name} = {number}: expected an integer of at least 1")
    if engine not in EXECUTORS:
        raise InputError(f'engine = "{engine}": expected one of {", ".join(EXECUTORS)}')
    loaded.check()
    points = loaded.points if limit is None else min(limit, loaded.points)
    storage = open_storage(out)
    manifest = _manifest(loaded, points)
    storage.prepare()
    _refuse_foreign(storage)
    _require_space(storage, points)
    shards: list[Shard] = []
    with storage.locked():
        present, finished = _claim(storage, manifest, overwrite)
        task = Shards(storage, loaded.model, manifest, workers or cores(), present, finished)
        try:
            write_manifest(storage, manifest)
            chunks = first_chunks(loaded, points, manifest.rows_per_file)
            for shard in _written(task, chunks, engine, address):
                shards.append(shard)
                if progress:
                    progress(shard.file.rows)
            storage.settle()
            files = sorted((shard.file for shard in shards), key=lambda file: file.name)
            whole = manifest.model_copy(update={"complete": True, "files": tuple(files)})
            write_manifest(storage, whole)
        except OSError as error:
            raise InputError(
                f"{storage.place}: cannot be written: {error.strerror or error}{storage.free()}; "
                "complete files are kept: run the same command again to resume"
            ) from None
    seconds = time.perf_counter() - began
    written = sum(shard.written for shard in shards)
    size = sum(file.bytes for file in files)
    return Summary(points, written, len(files), seconds, size, storage.place)


def _written(
    shards: Shards, chunks: Iterator[Chunk], engine: str, address: str | None
) -> Iterator[Shard]:
    """Write chunks with an executor; yield each file when it is complete."""
    if engine == "local":
        return in_order(partial(write_shard, shards), chunks, shards.workers, wait=True)
    from sweepengine.store.cluster import write_on_ray

    return write_on_ray(shards, chunks, address)


def _manifest(grid: Grid, points: int) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        engine_version=__version__,
        formulas_hash=formulas_hash(),
        grid_hash=grid.hash,
        grid_name=grid.name,
        description=grid.description,
        model=grid.model.name,
        model_data=grid.model.data,
        engine=backend_for(points),
        columns=stored_names(grid.model),
        value_bytes=grid.model.architecture.convention.dtype_bytes,
        points=points,
        rows_per_file=ROWS_PER_FILE,
        targets=grid.targets,
        report=grid.report,
        devices=grid.model.device_names,
        drafts=tuple(draft.data for draft in grid.model.drafts),
        device_data=tuple(device.data for device in grid.model.devices),
        times=grid.model.times,
        bases=grid.bases,
        assumed=grid.assumed,
        error_ranges=factors_of_axes(grid.model, grid.axes) if grid.model.devices else {},
        complete=False,
    )


def _require_space(storage: Storage, points: int) -> None:
    """Refuse a run whose points cannot fit on the disk, at the least that a point takes."""
    free = storage.free_bytes()
    least = points * LEAST_BYTES - sum(storage.sizes().values())
    if free is not None and least > free:
        raise InputError(
            f"{storage.place}: {points:,} points need at least {least:,} bytes, {free:,} are free: "
            "expected fewer points (--limit), or a larger disk"
        )


def _refuse_foreign(storage: Storage) -> None:
    """Refuse a folder with other files before anything is written."""
    names = storage.names()
    foreign = [name for name in names if not _ours(name)]
    manifest = manifest_name(names)
    if foreign and manifest not in names:
        raise InputError(
            f"{storage.place}: is not empty and not a dataset (it holds {foreign[0]}): "
            "expected an empty or new directory"
        )
    if manifest in names:
        _refuse_other_manifest(storage, manifest)


def _ours(name: str) -> bool:
    """Whether a run could have given a file this name."""
    plain = name.removesuffix(UNFINISHED)
    return plain in (*MANIFESTS, LOCK) or re.fullmatch(FILE_NAME, plain) is not None


def _claim(
    storage: Storage, manifest: Manifest, overwrite: bool
) -> tuple[frozenset[str], frozenset[File]]:
    """Resume the same dataset, replace another one with `overwrite`, otherwise refuse it.

    Returns
    -------
    tuple
        Names of the files that stay, and the files in the manifest of a complete run.
    """
    names = storage.names()
    written = manifest_name(names)
    if overwrite:
        for name in names:
            if _ours(name) and name != LOCK:
                storage.remove(name)
        return frozenset(), frozenset()
    finished: frozenset[File] = frozenset()
    if written in names:
        before = read_manifest(storage)
        for field in Manifest.model_fields:
            old, new = getattr(before, field), getattr(manifest, field)
            if field not in ("complete", "files") and old != new:
                raise InputError(
                    f"{storage.place}/{written}: {field} = {shown(old)}, this run has "
                    f"{shown(new)}: expected the same; --overwrite replaces the dataset"
                )
        finished = frozenset(before.files)
    elif any(re.fullmatch(FILE_NAME, name) for name in names):
        raise InputError(
            f"{storage.place}: holds points without {written}: --overwrite replaces them"
        )
    for name in names:
        if _ours(name) and name.endswith(UNFINISHED):
            storage.remove(name)
    return frozenset(names), finished


def _refuse_other_manifest(storage: Storage, name: str) -> None:
    """Refuse to replace a manifest that no run wrote, of any version."""
    path = f"{storage.place}/{name}"
    try:
        data = manifest_data(storage, name)
    except (InputError, OSError):
        data = None
    if not isinstance(data, dict) or not {"schema_version", "grid_hash"} <= set(data):
        raise InputError(f"{path}: no run wrote it: remove it, or choose another directory")
