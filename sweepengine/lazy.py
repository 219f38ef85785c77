"""A grid as a Polars LazyFrame that is computed while it is queried."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import polars as pl
from polars.io.plugins import register_io_source

from sweepengine.architecture import Model
from sweepengine.axes import Axis
from sweepengine.evaluation import SCHEMA, column_of, compute_chunk
from sweepengine.grid import Chunk, Grid, load_grid
from sweepengine.schema import INPUT_NAMES

Result = TypeVar("Result")
CHUNK_ROWS = 1 << 18
"""Points computed together: 64 MB with all columns, two such for each worker."""


def scan(grid: str | Path | Grid) -> pl.LazyFrame:
    """Query a grid without computing what the query does not need.

    Columns that are not asked for are not computed. A filter on the columns of one axis drops
    that axis's values, so whole sub-products are skipped without being enumerated; chunks that a
    filter on several axes rejects are skipped before their costs are computed. `head` stops
    early. Memory stays bounded by a few chunks.

    Parameters
    ----------
    grid : str, Path or Grid
        A grid file, the stem of a shipped one, or a grid.

    Returns
    -------
    polars.LazyFrame
        All input columns, then all output columns (`sweepengine.evaluation.SCHEMA`), in the order
        of the grid: the last axis is fastest.

    Raises
    ------
    InputError
        When the grid is not valid or its costs would overflow; at once, not when it is collected.
    """
    loaded = grid if isinstance(grid, Grid) else load_grid(grid)
    loaded.check()

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        columns = tuple(SCHEMA) if with_columns is None else tuple(with_columns)
        return grid_frames(loaded, columns, predicate, n_rows)

    return register_io_source(source, schema=SCHEMA, is_pure=True)


def grid_frames(
    grid: Grid,
    columns: tuple[str, ...],
    predicate: pl.Expr | None = None,
    n_rows: int | None = None,
) -> Iterator[pl.DataFrame]:
    """Compute columns of a grid, frame by frame in order: its first `n_rows`, then filtered."""
    conjuncts = [] if predicate is None else list(_conjuncts(predicate))
    remaining = conjuncts
    if n_rows is None:
        axes, remaining = _filtered(grid.axes, conjuncts)
        grid = grid._replace(axes=axes)
    if grid.points == 0 or n_rows == 0:
        yield pl.DataFrame(schema={name: SCHEMA[name] for name in columns})
        return
    rows = CHUNK_ROWS if n_rows is None else min(CHUNK_ROWS, n_rows)
    yield from computed_frames(
        grid.model, first_chunks(grid, n_rows or grid.points, rows), columns, remaining
    )


def first_chunks(grid: Grid, points: int, rows: int) -> Iterator[Chunk]:
    """Chunks, of at most `rows` points each, of the first `points` points of a grid."""
    for chunk in grid.chunks(rows):
        if chunk.start >= points:
            return
        yield chunk._replace(stop=min(chunk.stop, points))


def computed_frames(
    model: Model,
    chunks: Iterable[Chunk],
    columns: tuple[str, ...],
    conjuncts: Iterable[pl.Expr] = (),
) -> Iterator[pl.DataFrame]:
    """Compute chunks on all cores, a few ahead of the reader, and filter them; in order."""
    conditions = list(conjuncts)
    on_inputs = [part for part in conditions if set(part.meta.root_names()) <= set(INPUT_NAMES)]
    rest = [part for part in conditions if not any(part is other for other in on_inputs)]
    asked = {name for part in rest for name in part.meta.root_names()}
    needed = tuple(name for name in SCHEMA if name in asked or name in columns)

    def work(chunk: Chunk) -> pl.DataFrame:
        if on_inputs:
            names = {name for part in on_inputs for name in part.meta.root_names()}
            kept = compute_chunk(model, chunk, tuple(n for n in SCHEMA if n in names), False)
            mask = kept.select(pl.all_horizontal(on_inputs).alias("kept"))["kept"]
            if not mask.any():
                return pl.DataFrame(schema={name: SCHEMA[name] for name in columns})
            return compute_chunk(model, chunk, needed, False).filter(mask, *rest).select(columns)
        frame = compute_chunk(model, chunk, needed, False)
        return frame.filter(*rest).select(columns) if rest else frame.select(columns)

    # A reader that stops early may drop this generator on a thread of the pool itself, which
    # cannot wait for itself to end.
    return in_order(work, chunks, os.cpu_count() or 1, wait=False)


def in_order(
    work: Callable[[Chunk], Result], chunks: Iterable[Chunk], workers: int, wait: bool
) -> Iterator[Result]:
    """Results of `work` on chunks, in order, computed on threads a few ahead of the reader.

    When the reader stops or `work` raises, what has not begun is dropped; `wait` says whether to
    wait for what has.
    """
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for chunk in chunks:
            pending.append(pool.submit(work, chunk))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)


def _conjuncts(predicate: pl.Expr) -> Iterator[pl.Expr]:
    """The parts that `predicate` joins by `&`."""
    inputs = predicate.meta.pop()
    for first, second in (inputs, inputs[::-1]) if len(inputs) == 2 else ():
        if (first & second).meta.eq(predicate):
            yield from _conjuncts(first)
            yield from _conjuncts(second)
            return
    yield predicate


def _filtered(
    axes: tuple[Axis, ...], conjuncts: list[pl.Expr]
) -> tuple[tuple[Axis, ...], list[pl.Expr]]:
    """Axes without the values that a conjunct on them alone rejects, and the other conjuncts."""
    remaining = []
    found = list(axes)
    for part in conjuncts:
        names = set(part.meta.root_names())
        for i, axis in enumerate(found):
            if names and names <= set(axis.columns):
                frame = pl.DataFrame(
                    [column_of(name, axis.values[:, j]) for j, name in enumerate(axis.columns)]
                )
                kept = frame.select(part.alias("kept"))["kept"].fill_null(False)
                found[i] = axis._replace(values=axis.values[kept.to_numpy()])
                break
        else:
            remaining.append(part)
    return tuple(found), remaining
