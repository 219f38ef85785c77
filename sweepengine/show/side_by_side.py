"""Two accountings of a model compared: where they differ, why, and by how much."""

from typing import NamedTuple

import polars as pl

from sweepengine.costs.accountings import Cause, Figure, causes, figures
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.grid.points import checked_point
from sweepengine.grid.shorthand import images_text
from sweepengine.query.sources import Source
from sweepengine.show.tables import Table, markdown


class Accountings(NamedTuple):
    """Two accountings of the smallest, middle and largest image of a source."""

    first: Model
    second: Model
    figures: list[Figure]
    causes: list[Cause]
    middle: str
    """Name of the workload that the causes are of."""


def compare_accountings(source: Source, first: Model) -> Accountings:
    """Compare the accounting of a model with that of a source.

    Raises
    ------
    InputError
        When the models differ in inputs, or the source holds no flash points.
    """
    second = source.loaded
    if first.inputs != second.inputs:
        raise InputError(
            f"report: --against {first.name}: inputs differ from those of {second.name}: "
            "expected another accounting of the same model"
        )
    tiles = [pl.col("crop_rows") * pl.col("crop_cols")] if first.has["crops"] else []
    images = (
        source.points.filter(pl.col("attention") == "flash")
        .select(source.inputs)
        .unique()
        .sort(*source.inputs[:1], *tiles, *source.inputs)
        .pipe(source.collected)
    )
    if images.is_empty():
        raise InputError(f"{source.place}: no flash points: --against compares those")
    chosen = [images.row(i, named=True) for i in (0, images.height // 2, images.height - 1)]
    workloads = []
    for row in chosen:
        name = f"{row['crop_rows']}x{row['crop_cols']}" if tiles else _workload(row)
        given = {column: value for column, value in row.items() if value is not None}
        workloads.append((name, checked_point(first, given)))
    compared = [f for name, point in workloads for f in figures(first, second, name, point)]
    middle = workloads[1]
    return Accountings(first, second, compared, causes(first, second, *middle), middle[0])


def _workload(row: dict[str, object]) -> str:
    """Name of a workload without crops."""
    return images_text(row) if "images" in row else f"{row['prompt_tokens']}"


def _figure_rows(pair: Accountings) -> list[tuple[str, ...]]:
    return [
        (f.workload, f.column, f"{f.first:,.0f}", f"{f.second:,.0f}", _percent(f.change))
        for f in pair.figures
        if f.first or f.second
    ]


def _cause_rows(pair: Accountings) -> list[tuple[str, ...]]:
    return [
        (
            cause.key,
            f"{cause.first}",
            f"{cause.second}",
            cause.why,
            "; ".join(f"{f.column} {_percent(f.change)}" for f in cause.effects) or "no change",
        )
        for cause in pair.causes
    ]


def _percent(change: float | None) -> str:
    if change is None:
        return "from 0"
    return "equal" if change == 0 else f"{change:+.2%}"


def _figure_columns(pair: Accountings) -> tuple[str, ...]:
    return ("crops", "figure", pair.first.name, pair.second.name, "difference")


def _cause_columns(pair: Accountings) -> tuple[str, ...]:
    return ("key", pair.first.name, pair.second.name, "why",
            f"effect of changing it alone, at {pair.middle}")  # fmt: skip


def accountings_page(pair: Accountings) -> str:
    """Write both accountings as Markdown."""
    text = f"# Two accountings: {pair.first.name} and {pair.second.name}\n\n"
    text += f"{pair.first.description}.\n{pair.second.description}.\n\n## Where they differ\n\n"
    text += markdown(_cause_columns(pair), _cause_rows(pair))
    text += "\n## By how much\n\nFlash attention.\n\n"
    return text + markdown(_figure_columns(pair), _figure_rows(pair))


def accountings_tables(pair: Accountings) -> list[Table]:
    """Return the tables of a page."""
    return [
        Table("causes", "Where the accountings differ, and why",
              _cause_columns(pair), _cause_rows(pair), 0),
        Table("figures", "By how much the accountings differ",
              _figure_columns(pair), _figure_rows(pair), 0),
    ]  # fmt: skip
