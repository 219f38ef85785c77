"""Grid to Parquet dataset: chunks computed and written on all cores, resumable."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sweepengine import __version__
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.engine.compute import compute_arrays, engine_for
from sweepengine.engine.threads import cores, in_order
from sweepengine.grid.columns import SCHEMA_VERSION
from sweepengine.grid.grid import Chunk, Grid, first_chunks, load_grid
from sweepengine.grid.points import output_names
from sweepengine.store.dataset import (
    MANIFEST,
    Manifest,
    arrow_schema,
    file_name,
    read_manifest,
    write_manifest,
    write_points,
)
from sweepengine.store.storage import LOCK, UNFINISHED, Storage, open_storage

ENGINES = ("local", "ray")
ROWS_PER_FILE = 1 << 19
"""Points in a file at the most: 512 Ki points are 110 MB in memory, one such for each worker."""


class Summary(NamedTuple):
    """What a run did."""

    points: int
    """Points in the dataset."""
    written: int
    """Points written now; the others were there from an earlier run."""
    files: int
    seconds: float
    bytes: int
    place: str
    """Directory or URI."""

    @property
    def points_per_second(self) -> float:
        """Points written for each second of the run."""
        return self.written / self.seconds


class Shards(NamedTuple):
    """What it takes to write any file of one dataset; it can be sent to another process."""

    storage: Storage
    model: Model
    manifest: Manifest
    workers: int
    """How many files are written at once."""


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

    A run that was killed goes on where it stopped when it is started again, and ends in the same
    bytes as one that was not.

    Parameters
    ----------
    grid : str, Path or Grid
        A grid file, the stem of a shipped one, or a grid.
    out : str or Path
        Directory, made if missing, or URI that pyarrow or fsspec understands (``s3://...``).
    overwrite : bool
        Replace another dataset that is there. Files that no run wrote are never removed.
    workers : int, optional
        Threads, each computing and writing files; all cores by default.
    limit : int, optional
        Only the first `limit` points.
    progress : callable, optional
        Called with a number of points whenever that many more are done.
    engine : str
        "local" for threads of this process, "ray" for tasks of a Ray cluster.
    address : str, optional
        Of the cluster; a local one is started without.

    Raises
    ------
    InputError
        When the grid is not valid or would overflow, or `out` is a file, not empty, another
        dataset, or being written by another run.
    """
    began = time.perf_counter()
    loaded = grid if isinstance(grid, Grid) else load_grid(grid)
    for name, number in (("workers", workers), ("limit", limit)):
        if number is not None and number < 1:
            raise InputError(f"{name} = {number}: expected an integer of at least 1")
    if engine not in ENGINES:
        raise InputError(f'engine = "{engine}": expected one of {", ".join(ENGINES)}')
    loaded.check()
    points = loaded.points if limit is None else min(limit, loaded.points)
    storage = open_storage(out)
    manifest = _manifest(loaded, points)
    storage.prepare()
    _refuse_foreign(storage)
    written = 0
    with storage.locked():
        present = _claim(storage, manifest, overwrite)
        shards = Shards(storage, loaded.model, manifest, workers or cores())
        try:
            write_manifest(storage, manifest)
            chunks = first_chunks(loaded, points, manifest.rows_per_file)
            missing = _missing(chunks, present, progress)
            for rows in _written(shards, missing, engine, address):
                written += rows
                if progress:
                    progress(rows)
            storage.settle()
            write_manifest(storage, manifest.model_copy(update={"complete": True}))
        except OSError as error:
            raise InputError(
                f"{storage.place}: cannot be written: {error.strerror or error}{storage.free()}; "
                "the files there are complete, run the same command again to go on"
            ) from None
    chunks = first_chunks(loaded, points, manifest.rows_per_file)
    sizes = [storage.size(shard_name(chunk)) for chunk in chunks]
    seconds = time.perf_counter() - began
    return Summary(points, written, len(sizes), seconds, sum(sizes), storage.place)


def shard_name(chunk: Chunk) -> str:
    """Name of the file that holds a chunk."""
    return file_name(chunk.start, chunk.stop)


def _missing(
    chunks: Iterator[Chunk], present: set[str], progress: Callable[[int], None] | None
) -> Iterator[Chunk]:
    """Chunks whose files are not there; the others count as progress."""
    for chunk in chunks:
        if shard_name(chunk) not in present:
            yield chunk
        elif progress:
            progress(chunk.stop - chunk.start)


def _written(
    shards: Shards, chunks: Iterator[Chunk], engine: str, address: str | None
) -> Iterator[int]:
    """Write chunks with an engine; yields the rows of each file as it is done."""
    if engine == "local":
        return write_on_threads(shards, chunks)
    from sweepengine.store.cluster import write_on_ray

    return write_on_ray(shards, chunks, address)


def write_shard(shards: Shards, chunk: Chunk) -> int:
    """Compute a chunk and write its file; the number of its points."""
    columns = compute_arrays(shards.model, chunk, engine=shards.manifest.engine)
    schema = arrow_schema(shards.manifest)
    write_points(
        shards.storage, shard_name(chunk), columns, schema, shards.manifest.devices
    )  # fmt: skip
    return chunk.stop - chunk.start


def write_on_threads(shards: Shards, chunks: Iterator[Chunk]) -> Iterator[int]:
    """Write chunks on threads of this process, as many at once as there are workers."""
    return in_order(partial(write_shard, shards), chunks, shards.workers, wait=True)


def _manifest(grid: Grid, points: int) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        engine_version=__version__,
        grid_hash=grid.hash,
        grid_name=grid.name,
        description=grid.description,
        model=grid.model.name,
        model_data=grid.model.data,
        engine=engine_for(points),
        columns=(*grid.model.inputs, *output_names(grid.model)),
        value_bytes=grid.model.architecture.convention.dtype_bytes,
        points=points,
        rows_per_file=ROWS_PER_FILE,
        targets=grid.targets.model_dump(),
        report=grid.report,
        devices=grid.model.device_names,
        times=grid.times,
        bases=grid.bases,
        complete=False,
    )


def _refuse_foreign(storage: Storage) -> None:
    """Refuse a folder that holds something else before anything is written."""
    names = storage.names()
    foreign = [name for name in names if not _ours(name)]
    if foreign and MANIFEST not in names:
        raise InputError(
            f"{storage.place}: is not empty and no dataset (it holds {foreign[0]}): "
            "expected an empty or new directory"
        )


def _ours(name: str) -> bool:
    plain = name.removesuffix(UNFINISHED)
    return plain in (MANIFEST, LOCK) or (plain.startswith("points-") and plain.endswith(".parquet"))


def _claim(storage: Storage, manifest: Manifest, overwrite: bool) -> set[str]:
    """Go on with the same dataset, replace another one if told to, refuse it otherwise.

    Returns
    -------
    set of str
        Names of the files that are there and stay.
    """
    names = storage.names()
    if overwrite:
        for name in names:
            if _ours(name) and name != LOCK:
                storage.remove(name)
        return set()
    if MANIFEST in names:
        before = read_manifest(storage)
        for field in Manifest.model_fields:
            old, new = getattr(before, field), getattr(manifest, field)
            if field != "complete" and old != new:
                raise InputError(
                    f"{storage.place}/{MANIFEST}: {field} = {old!r}, this run has {new!r}: "
                    "expected the same; --overwrite replaces the dataset"
                )
    elif any(name.startswith("points-") and not name.endswith(UNFINISHED) for name in names):
        raise InputError(
            f"{storage.place}: holds points without {MANIFEST}: --overwrite replaces them"
        )
    for name in names:
        if _ours(name) and name.endswith(UNFINISHED):
            storage.remove(name)
    return set(names)
