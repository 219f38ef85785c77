"""Polars SQL over a grid, computed while it is queried, or over a dataset."""

import re

import polars as pl
from polars.exceptions import PolarsError

from sweepengine.data.errors import InputError
from sweepengine.data.machine import MOST_COUNTED
from sweepengine.grid.columns import TYPES
from sweepengine.query.reading import told
from sweepengine.query.sources import Source
from sweepengine.query.sql import checked, filtered

TABLE = "points"
COUNT_ALL = re.compile(r"\bcount\s*\(\s*\*\s*\)", re.IGNORECASE)
ONE = "of_each_point"
"""A column of ones, whose sum counts more points than `count(*)` can."""


def query(
    source: Source,
    where: str | None = None,
    select: str | None = None,
    group_by: str | None = None,
    sort: str | None = None,
    top: int | None = None,
) -> pl.LazyFrame:
    """Filter and aggregate points; nothing is computed before the result is collected.

    Parameters
    ----------
    source : Source
        Grid or dataset: the table `points` in SQL.
    where : str, optional
        SQL condition on columns, ``batch_size = 8 AND crop_rows <= 2``.
    select : str, optional
        SQL expressions, ``max(decode_tensor_flops) AS most``. Default: all columns, or with
        `group_by` its columns and ``count(*) AS points``.
    group_by : str, optional
        Columns, separated by commas.
    sort : str, optional
        Column of the result, largest first; ``"NAME asc"`` sorts smallest first.
    top : int, optional
        Most rows.

    Returns
    -------
    polars.LazyFrame
        Arithmetic is exact: integers have 128 bits in SQL, enough for a sum over any grid, and for
        a product of two costs or four inputs. In 32 or 64 bits Polars would wrap.

    Raises
    ------
    InputError
        When the SQL is not valid or names an unknown column.
    """
    points = source.points
    if where is not None:
        points = filtered(source, "query: --where", where).points
    keys = _columns(group_by, source.columns) if group_by is not None else []
    with told("query"):
        if select is not None:
            select = checked("query: --select", select)
            points = _widened(points, source.columns, keys)
        chosen = select or (", ".join([*keys, "count(*) AS points"]) if keys else "*")
        if source.point_count > MOST_COUNTED and COUNT_ALL.search(chosen):
            points = points.with_columns(pl.lit(1, pl.Int64).alias(ONE))
            chosen = COUNT_ALL.sub(f"sum({ONE})", chosen)
        text = f"SELECT {chosen} FROM {TABLE}"
        text += f" GROUP BY {', '.join(keys)}" if keys else ""
        text += f" ORDER BY {_order(sort)}" if sort is not None else ""
        text += f" LIMIT {top}" if top is not None else ""
        result = pl.SQLContext({TABLE: points}).execute(text)
        result.collect_schema()
    return result


def _columns(text: str, known: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise InputError(f'query: --group-by "{name}": expected some of {", ".join(known)}')
    return names


def _order(sort: str) -> str:
    match = re.fullmatch(r"\s*(\w+)(?:\s+(asc|desc))?\s*", sort, re.IGNORECASE)
    if match is None:
        raise InputError(f'query: --sort "{sort}": expected a column, or "COLUMN asc"')
    return f'"{match[1]}" {match[2] or "desc"}'


def _widened(points: pl.LazyFrame, columns: tuple[str, ...], keys: list[str]) -> pl.LazyFrame:
    """Widen integers, so that no sum over a grid wraps."""
    return points.with_columns(
        pl.col(name).cast(pl.Int128)
        for name in columns
        if TYPES.get(name) in ("Int32", "Int64") and name not in keys
    )


def narrowed(frame: pl.DataFrame) -> pl.DataFrame:
    """Narrow 128-bit columns to Int64, which every file format has.

    Raises
    ------
    InputError
        When a value does not fit; the message names the column and the formats that hold it.
    """
    for name, kind in frame.schema.items():
        if kind == pl.Int128:
            try:
                frame = frame.with_columns(pl.col(name).cast(pl.Int64))
            except PolarsError:
                raise InputError(
                    f"query: {name} does not fit Int64: expected --format csv, json or table"
                ) from None
    return frame
