"""A grid as a Polars LazyFrame, computed while it is queried."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from sweepengine.data.models import Model
from sweepengine.engine import interrupts
from sweepengine.engine.compute import backend_for
from sweepengine.engine.threads import begin, cores, in_order
from sweepengine.engine.typed import (
    TEXT_NAMES,
    column_of,
    compute_chunk,
    schema_of,
    text_series,
    type_of,
)
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import JOINT, MODEL_AXIS, Axis
from sweepengine.grid.axis_texts import texts_of_axes
from sweepengine.grid.grid import Chunk, Grid, first_chunks

BEFORE_COSTS = {*INPUTS, *TEXT_NAMES}
"""Columns that are known before costs are computed."""
CHUNK_ROWS = 1 << 18
"""Points computed together: 64 MB with all columns, two chunks per worker."""


def scan(grid: str | Path | Grid, wide: bool = False) -> pl.LazyFrame:
    """A lazy frame of a grid that computes only what a query needs.

    Columns that the query does not use are not computed. A filter on the columns of one axis drops
    values of the axis. A filter on several axes is applied to a chunk before its costs are
    computed. `head` stops early. Memory is bounded by a few chunks.

    Parameters
    ----------
    grid : str, Path or Grid
        A grid file, the stem of a shipped one, or a grid.
    wide : bool
        Integers of 128 bits, so that arithmetic in conditions cannot overflow.

    Returns
    -------
    polars.LazyFrame
        All input columns, texts of the joint axes, then all output columns of the model; the last
        axis is fastest. Of a grid of several models first their names, a column `model`; null where
        a model lacks a column.

    Raises
    ------
    InputError
        When the grid is not valid or its costs would overflow; raised here, not by `collect`.
    """
    from sweepengine.grid.files import load_grids  # searches make grids without files

    begin("scan")
    grids = (grid,) if isinstance(grid, Grid) else load_grids(grid)
    if len(grids) > 1:
        return stacked({one.model.name: scan(one, wide) for one in grids})
    (loaded,) = grids
    loaded.check()
    schema = schema_of(loaded.model, wide)

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        columns = tuple(schema) if with_columns is None else tuple(with_columns)
        return grid_frames(loaded, columns, predicate, n_rows, wide)

    return register_io_source(source, schema=schema, is_pure=True)


def stacked(points: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """Points of several models by name: a column `model` first, null where a model lacks one."""
    named = [
        frame.select(pl.lit(name).alias(MODEL_AXIS), pl.all()) for name, frame in points.items()
    ]
    return pl.concat(named, how="diagonal_relaxed")


def grid_frames(
    grid: Grid,
    columns: tuple[str, ...],
    predicate: pl.Expr | None = None,
    n_rows: int | None = None,
    wide: bool = False,
    backend: str | None = None,
) -> Iterator[pl.DataFrame]:
    """Compute columns of a grid, frame by frame, in order.

    Parameters
    ----------
    grid : Grid
    columns : tuple of str
        Columns of the frames.
    predicate : polars.Expr, optional
        Filter of the points.
    n_rows : int, optional
        Only the first points, counted before the filter.
    wide : bool
        Integers of 128 bits.
    backend : str, optional
        "plain" or "compiled"; without it the faster one for a process that has computed nothing
        yet, so that the values do not depend on what ran before.
    """
    conjuncts = [] if predicate is None else list(_conjuncts(predicate))
    remaining = conjuncts
    if n_rows is None:
        axes, remaining = _filtered(grid, conjuncts, wide)
        grid = grid._replace(axes=axes)
    if grid.points == 0 or n_rows == 0:
        yield pl.DataFrame(schema={name: type_of(name, grid.model, wide) for name in columns})
        return
    rows = CHUNK_ROWS if n_rows is None else min(CHUNK_ROWS, n_rows)
    points = min(n_rows or grid.points, grid.points)
    chunks = first_chunks(grid, points, rows)
    backend = backend or backend_for(points)
    found = computed_frames(grid.model, chunks, columns, remaining, backend, wide)
    for frame in found:
        interrupts.check()  # a scan that Polars drives does not come back to the main thread
        yield frame


def computed_frames(
    model: Model,
    chunks: Iterable[Chunk],
    columns: tuple[str, ...],
    conjuncts: Iterable[pl.Expr],
    backend: str,
    wide: bool = False,
) -> Iterator[pl.DataFrame]:
    """Compute chunks on all cores, a few ahead of the reader, and filter them; in order.

    Parameters
    ----------
    model : Model
    chunks : iterable of Chunk
    columns : tuple of str
        Columns of the frames.
    conjuncts : iterable of polars.Expr
        Conditions that all hold.
    backend : str
        "plain" or "compiled".
    wide : bool
        Integers of 128 bits.
    """
    conditions = list(conjuncts)
    on_inputs = [part for part in conditions if set(part.meta.root_names()) <= BEFORE_COSTS]
    rest = [part for part in conditions if not any(part is used for used in on_inputs)]
    filtered = {name for part in rest for name in part.meta.root_names()}
    schema = schema_of(model, wide)
    needed = tuple(name for name in schema if name in filtered or name in columns)

    def computed(chunk: Chunk, names: tuple[str, ...]) -> pl.DataFrame:
        if not names:  # a query that only counts rows
            return pl.DataFrame(height=chunk.stop - chunk.start)
        frame = compute_chunk(model, chunk, names, backend)
        return frame.cast({name: schema[name] for name in names}) if wide else frame

    def shown(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(columns) if columns else pl.DataFrame(height=frame.height)

    def work(chunk: Chunk) -> pl.DataFrame:
        if on_inputs:
            names = {name for part in on_inputs for name in part.meta.root_names()}
            kept = computed(chunk, tuple(n for n in schema if n in names))
            mask = kept.select(pl.all_horizontal(on_inputs).alias("kept"))["kept"]
            if not mask.any():
                return pl.DataFrame(schema={name: schema[name] for name in columns})
            return shown(computed(chunk, needed).filter(mask, *rest))
        frame = computed(chunk, needed)
        return shown(frame.filter(*rest) if rest else frame)

    remaining = iter(chunks)
    first = list(islice(remaining, 2))
    if len(first) < 2:  # starting threads would take longer than most small sweeps
        return map(work, first)
    # A reader that stops early may drop this generator on a thread of the pool, which cannot wait
    # for itself.
    return in_order(work, chain(first, remaining), cores(), wait=False)


def _conjuncts(predicate: pl.Expr) -> Iterator[pl.Expr]:
    """The conditions that `predicate` joins by `&`."""
    inputs = predicate.meta.pop()
    for first, second in (inputs, inputs[::-1]) if len(inputs) == 2 else ():
        if (first & second).meta.eq(predicate):
            yield from _conjuncts(first)
            yield from _conjuncts(second)
            return
    yield predicate


def _filtered(
    grid: Grid, conjuncts: list[pl.Expr], wide: bool
) -> tuple[tuple[Axis, ...], list[pl.Expr]]:
    """Axes without values that a condition on one axis rejects, and the other conditions."""
    remaining = []
    axes, model = list(grid.axes), grid.model
    for part in conjuncts:
        names = set(part.meta.root_names())
        for i, axis in enumerate(axes):
            if names and names <= {*axis.columns, *_texts_of(axis, names)}:
                frame = _values_of(axis, names, model, wide)
                kept = frame.select(part.alias("kept"))["kept"].fill_null(False)
                axes[i] = axis._replace(values=axis.values[kept.to_numpy()])
                break
        else:
            remaining.append(part)
    return tuple(axes), remaining


def _texts_of(axis: Axis, names: set[str]) -> list[str]:
    """Those of some columns that are texts of inputs which an axis sets."""
    return [
        name for name in names if name in TEXT_NAMES and {*JOINT[name].columns} <= {*axis.columns}
    ]


def _values_of(axis: Axis, names: set[str], model: Model, wide: bool) -> pl.DataFrame:
    """Columns that an axis sets, a row for each of its values."""
    texts = texts_of_axes(model, [axis], len(axis.values), _texts_of(axis, names))
    return pl.DataFrame(
        [
            *(
                column_of(name, axis.values[:, j], model).cast(type_of(name, model, wide))
                for j, name in enumerate(axis.columns)
                if name in names
            ),
            *(text_series(name, column) for name, column in texts.items()),
        ]
    )
