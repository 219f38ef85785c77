"""Points folded into few rows, piece by piece: what a chart or a table of a large grid shows."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from sweepengine.query.sources import Source

MOST_ROWS = 1 << 18
"""Rows of partial results before they are merged."""
COUNT = ":count"
"""Ends the name of how many values a mean is of."""


class Fold(NamedTuple):
    """One figure of a group."""

    name: str
    of: pl.Expr
    """Of each point; nulls are left out."""
    how: str = "mean"
    """"min", "max", "sum", "mean", "any" or "first"."""


def spread(name: str, of: pl.Expr) -> list[Fold]:
    """Least, mean and largest value, named ``{name}:min`` and so on."""
    return [Fold(f"{name}:{how}", of, how) for how in ("min", "mean", "max")]


def folded(
    source: Source,
    keys: Sequence[str | pl.Expr],
    folds: Sequence[Fold],
    where: pl.Expr | None = None,
) -> pl.DataFrame:
    """Figures of groups of points, in the order in which groups first come.

    Memory holds a few pieces of the points and a row for each group, however many points there
    are.

    Parameters
    ----------
    source : Source
    keys : sequence of str or polars.Expr
        What groups are told apart by: columns, or expressions of one point with a name.
    folds : sequence of Fold
    where : polars.Expr, optional
        Only points that meet it.

    Returns
    -------
    polars.DataFrame
        Columns of the keys, then of the folds.
    """
    named = [pl.col(key) if isinstance(key, str) else key for key in keys]
    names = [key.meta.output_name() for key in named]
    read = [*named, *(fold.of for fold in folds), *([] if where is None else [where])]
    columns = list(dict.fromkeys(name for one in read for name in one.meta.root_names()))
    whole: pl.DataFrame | None = None
    parts: list[pl.DataFrame] = []
    for frame in source.frames(columns or source.inputs[:1]):
        kept = frame if where is None else frame.filter(where)
        parts.append(_grouped(kept, named, [one for fold in folds for one in _begun(fold)]))
        if sum(part.height for part in parts) > MOST_ROWS:
            parts = [whole := _merged(parts, names, folds)]
    whole = _merged(parts, names, folds)
    ended = [
        (pl.col(fold.name) / pl.col(fold.name + COUNT)).alias(fold.name)
        if fold.how == "mean"
        else pl.col(fold.name)
        for fold in folds
    ]
    return whole.select(*names, *ended)


def _grouped(frame: pl.DataFrame, keys: Sequence[pl.Expr], figures: list[pl.Expr]) -> pl.DataFrame:
    if not keys:
        return frame.select(figures)
    return frame.group_by(keys, maintain_order=True).agg(figures)


def _begun(fold: Fold) -> list[pl.Expr]:
    """A fold over one piece."""
    if fold.how == "mean":
        return [
            fold.of.cast(pl.Float64).sum().alias(fold.name),
            fold.of.count().cast(pl.Int64).alias(fold.name + COUNT),
        ]
    values = fold.of.drop_nulls() if fold.how == "first" else fold.of
    found: pl.Expr = getattr(values, fold.how)()
    return [found.cast(pl.Int64).alias(fold.name) if fold.how == "sum" else found.alias(fold.name)]


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
