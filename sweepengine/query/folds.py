"""Points aggregated into few rows, piece by piece, for charts and tables of large grids."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

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
    """"min", "max", "sum", "mean", "any" or "first"."""


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
    read = [*named, *(fold.of for fold in folds), *([] if where is None else [where])]
    columns = list(
        dict.fromkeys(name for expression in read for name in expression.meta.root_names())
    )
    parts: list[pl.DataFrame] = []
    for frame in source.frames(columns or source.inputs[:1]):
        kept = frame if where is None else frame.filter(where)
        parts.append(_grouped(kept, named, [part for fold in folds for part in _partial(fold)]))
        if sum(part.height for part in parts) > MERGED_ROWS:
            parts = [_merged(parts, names, folds)]
    results = [
        (pl.col(fold.name) / pl.col(fold.name + COUNT)).alias(fold.name)
        if fold.how == "mean"
        else pl.col(fold.name)
        for fold in folds
    ]
    return _merged(parts, names, folds).select(*names, *results)


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
