"""Grid to Parquet dataset: chunks computed and written on all cores, resumable."""

import os
import shutil
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from sweepengine import __version__
from sweepengine.dataset import (
    LOCK,
    MANIFEST,
    UNFINISHED,
    Manifest,
    arrow_schema,
    file_name,
    locked,
    read_manifest,
    sync_folder,
    write_manifest,
    write_points,
)
from sweepengine.errors import InputError
from sweepengine.evaluation import compute_chunk
from sweepengine.grid import Chunk, Grid, load_grid
from sweepengine.lazy import first_chunks
from sweepengine.schema import SCHEMA_VERSION

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
    folder: Path

    @property
    def points_per_second(self) -> float:
        """Points written for each second of the run."""
        return self.written / self.seconds


def run(
    grid: str | Path | Grid,
    out: str | Path,
    overwrite: bool = False,
    workers: int | None = None,
    limit: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Summary:
    """Compute a grid into a directory of Parquet files and a manifest.

    A run that was killed goes on where it stopped when it is started again, and ends in the same
    bytes as one that was not.

    Parameters
    ----------
    grid : str, Path or Grid
        A grid file, the stem of a shipped one, or a grid.
    out : str or Path
        Directory; made if missing.
    overwrite : bool
        Replace another dataset that is there. Files that no run wrote are never removed.
    workers : int, optional
        Threads, each computing and writing files; all cores by default.
    limit : int, optional
        Only the first `limit` points.
    progress : callable, optional
        Called with a number of points whenever that many more are done.

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
    loaded.check()
    points = loaded.points if limit is None else min(limit, loaded.points)
    folder = Path(out)
    manifest = _manifest(loaded, points)
    _prepare(folder)
    with locked(folder):
        _claim(folder, manifest, overwrite)
        write_manifest(folder, manifest)
        written = _write_chunks(folder, loaded, manifest, workers or os.cpu_count() or 1, progress)
        sync_folder(folder)
        write_manifest(folder, manifest.model_copy(update={"complete": True}))
    chunks = first_chunks(loaded, points, manifest.rows_per_file)
    files = [folder / file_name(chunk.start, chunk.stop) for chunk in chunks]
    size = sum(path.stat().st_size for path in files)
    return Summary(points, written, len(files), time.perf_counter() - began, size, folder)


def _manifest(grid: Grid, points: int) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        engine_version=__version__,
        grid_hash=grid.hash,
        grid_name=grid.name,
        description=grid.description,
        model=grid.model.name,
        points=points,
        rows_per_file=ROWS_PER_FILE,
        targets=grid.targets.model_dump(),
        report=grid.report,
        complete=False,
    )


def _prepare(folder: Path) -> None:
    """Make the directory; refuse one that holds something else before anything is written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: is a file: expected a directory to write into") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written to: expected a writable directory")
    present = {path.name for path in folder.iterdir()}
    foreign = sorted(name for name in present if not _ours(name))
    if foreign and MANIFEST not in present:
        raise InputError(
            f"{folder}: is not empty and no dataset (it holds {foreign[0]}): "
            "expected an empty or new directory"
        )


def _ours(name: str) -> bool:
    plain = name.removesuffix(UNFINISHED)
    return plain in (MANIFEST, LOCK) or (plain.startswith("points-") and plain.endswith(".parquet"))


def _claim(folder: Path, manifest: Manifest, overwrite: bool) -> None:
    """Go on with the same dataset, replace another one if told to, refuse it otherwise."""
    if overwrite:
        for path in folder.iterdir():
            if _ours(path.name) and path.name != LOCK:
                path.unlink()
        return
    if (folder / MANIFEST).exists():
        before = read_manifest(folder)
        for field in Manifest.model_fields:
            old, new = getattr(before, field), getattr(manifest, field)
            if field != "complete" and old != new:
                raise InputError(
                    f"{folder / MANIFEST}: {field} = {old!r}, this run has {new!r}: "
                    "expected the same; --overwrite replaces the dataset"
                )
    elif any(path.name.startswith("points-") for path in folder.iterdir()):
        raise InputError(f"{folder}: holds points without {MANIFEST}: --overwrite replaces them")
    for path in folder.glob(f"*{UNFINISHED}"):
        path.unlink()


def _write_chunks(
    folder: Path,
    grid: Grid,
    manifest: Manifest,
    workers: int,
    progress: Callable[[int], None] | None,
) -> int:
    schema = arrow_schema(manifest)
    model = grid.model

    def write(chunk: Chunk) -> int:
        frame = compute_chunk(model, chunk, parallel=False)
        write_points(folder / file_name(chunk.start, chunk.stop), frame, schema)
        return chunk.stop - chunk.start

    written = 0

    def settle(done: Future[int]) -> None:
        nonlocal written
        written += done.result()
        if progress:
            progress(done.result())

    pending: deque[Future[int]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for chunk in first_chunks(grid, manifest.points, manifest.rows_per_file):
                if (folder / file_name(chunk.start, chunk.stop)).exists():
                    if progress:
                        progress(chunk.stop - chunk.start)
                    continue
                pending.append(pool.submit(write, chunk))
                if len(pending) > workers:
                    settle(pending.popleft())
            while pending:
                settle(pending.popleft())
        except OSError as error:
            free = shutil.disk_usage(folder).free
            raise InputError(
                f"{folder}: cannot be written: {error.strerror or error} ({free:,} bytes free); "
                "the files there are complete, run the same command again to go on"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return written
