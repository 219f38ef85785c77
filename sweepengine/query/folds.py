"""Points aggregated into few rows, piece by piece, for charts and tables of large grids."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from sweepengine.grid.columns import same_at_any_step
from sweepengine.query.sources import Source

MERGED_ROWS = 1 << 18
"""Rows of partial results at which they are merged."""
COUNT = ":count"
"""Suffix of the column with the number of values of a mean."""


class Fold(NamedTuple):
    """One aggregate of a group of points."""

    name: str
    of: pl.Expr
    """Measure of a point; nulls are left out."""
    how: str = "mean"
    """"min", "max", "sum" of whole numbers, "mean", "any" or "first"."""


def spread(name: str, of: pl.Expr) -> list[Fold]:
    """Return folds to the smallest, mean and largest value, named ``{name}:min`` and so on."""
    return [Fold(f"{name}:{how}", of, how) for how in ("min", "mean", "max")]


def folded(
    source: Source,
    keys: Sequence[str | pl.Expr],
    folds: Sequence[Fold],
    where: pl.Expr | None = None,
) -> pl.DataFrame:
    """Aggregate groups of points, in the order in which groups first appear.

    Memory holds a few pieces of the points and a row for each group, for any number of points.

    Parameters
    ----------
    source : Source
    keys : sequence of str or polars.Expr
        Keys of the groups: columns, or named expressions of one point.
    folds : sequence of Fold
    where : polars.Expr, optional
        Condition on the points.

    Returns
    -------
    polars.DataFrame
        Columns of the keys, then of the folds.
    """
    named = [pl.col(key) if isinstance(key, str) else key for key in keys]
    names = [key.meta.output_name() for key in named]
    at_one, steps = source.at_one_step()
    conditions = [] if where is None else [where]
    alike = {
        fold.name for fold in folds if not named and steps > 1 and _without_steps(fold, conditions)
    }
    read = [(source, [fold for fold in folds if fold.name not in alike])]
    if alike:
        read.append((at_one, [fold for fold in folds if fold.name in alike]))
    merged = [_read(one, named, some, where) for one, some in read if some or named]
    shown = [
        (pl.col(fold.name) / pl.col(fold.name + COUNT)).alias(fold.name)
        if fold.how == "mean"
        else pl.col(fold.name) * (steps if fold.how == "sum" and fold.name in alike else 1)
        for fold in folds
    ]
    return pl.concat(merged, how="horizontal").select(*names, *shown)


def _without_steps(fold: Fold, conditions: Sequence[pl.Expr]) -> bool:
    """Tell whether a fold is known from points at one number of decode steps."""
    names = {name for of in (fold.of, *conditions) for name in of.meta.root_names()}
    return fold.how != "mean" and all(same_at_any_step(name) for name in names)


def _read(
    source: Source, keys: Sequence[pl.Expr], folds: Sequence[Fold], where: pl.Expr | None
) -> pl.DataFrame:
    """Return the folds of a source; a mean is a sum and a count."""
    names = [key.meta.output_name() for key in keys]
    read = [*keys, *(fold.of for fold in folds)]
    columns = list(
        dict.fromkeys(name for expression in read for name in expression.meta.root_names())
    )
    figures = [part for fold in folds for part in _partial(fold)]
    parts: list[pl.DataFrame] = []
    for frame in source.frames(columns or source.inputs[:1], where):
        parts.append(_grouped(frame, keys, figures))
        if sum(part.height for part in parts) > MERGED_ROWS:
            parts = [_merged(parts, names, folds)]
    return _merged(parts, names, folds)


def _grouped(frame: pl.DataFrame, keys: Sequence[pl.Expr], figures: list[pl.Expr]) -> pl.DataFrame:
    if not keys:
        return frame.select(figures)
    return frame.group_by(keys, maintain_order=True).agg(figures)


def _partial(fold: Fold) -> list[pl.Expr]:
    """Return the aggregates of one piece."""
    if fold.how == "mean":
        return [
            fold.of.cast(pl.Float64).sum().alias(fold.name),
            fold.of.count().cast(pl.Int64).alias(fold.name + COUNT),
        ]
    values = fold.of.drop_nulls() if fold.how == "first" else fold.of
    result: pl.Expr = getattr(values, fold.how)().alias(fold.name)
    return [result.cast(pl.Int64) if fold.how == "sum" else result]


def _merged(
    parts: Sequence[pl.DataFrame], names: Sequence[str], folds: Sequence[Fold]
) -> pl.DataFrame:
    figures = []
    for fold in folds:
        if fold.how == "mean":
            figures += [pl.col(fold.name).sum(), pl.col(fold.name + COUNT).sum()]
        else:
            column = pl.col(fold.name)
            figures.append(
                getattr(column.drop_nulls() if fold.how == "first" else column, fold.how)()
            )
    return _grouped(pl.concat(parts), [pl.col(name) for name in names], figures)
