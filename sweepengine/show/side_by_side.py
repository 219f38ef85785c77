"""Two accountings of a model side by side: where they part, why, and by how much."""

from typing import NamedTuple

import polars as pl

from sweepengine.costs.accountings import Cause, Figure, causes, figures
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.grid.points import checked_point
from sweepengine.query.sources import Source
from sweepengine.show.tables import Table, markdown


class Beside(NamedTuple):
    """Two accountings on the smallest, middle and largest image of the sources."""

    first: Model
    second: Model
    figures: list[Figure]
    causes: list[Cause]
    middle: str


def laid_beside(source: Source, first: Model) -> Beside:
    """Lay the accounting of a model beside that of a source.

    Raises
    ------
    InputError
        When the models have other inputs, or the source holds no flash points.
    """
    second = source.loaded
    if first.inputs != second.inputs:
        raise InputError(
            f"report: --against {first.name}: has other inputs than {second.name}: "
            "expected another accounting of the same model"
        )
    tiles = [pl.col("crop_rows") * pl.col("crop_cols")] if first.has_vision else []
    images = (
        source.points.filter(pl.col("attention") == "flash")
        .select(source.inputs)
        .unique()
        .sort(*source.inputs[:1], *tiles, *source.inputs)
        .pipe(source.collected)
    )
    if images.is_empty():
        raise InputError(
            f"{source.place}: holds no flash points: expected some to lay side by side"
        )
    chosen = [images.row(i, named=True) for i in (0, images.height // 2, images.height - 1)]
    workloads = []
    for row in chosen:
        name = f"{row['crop_rows']}x{row['crop_cols']}" if tiles else f"{row['prompt_tokens']}"
        workloads.append((name, checked_point(first, row)))
    found = [f for name, point in workloads for f in figures(first, second, name, point)]
    middle = workloads[1]
    return Beside(first, second, found, causes(first, second, *middle), middle[0])


def _figure_rows(beside: Beside) -> list[tuple[str, ...]]:
    return [
        (f.workload, f.column, f"{f.first:,.0f}", f"{f.second:,.0f}", _percent(f.change))
        for f in beside.figures
        if f.first or f.second
    ]


def _cause_rows(beside: Beside) -> list[tuple[str, ...]]:
    return [
        (
            cause.key,
            f"{cause.first}",
            f"{cause.second}",
            cause.why,
            "; ".join(f"{f.column} {_percent(f.change)}" for f in cause.effects) or "none alone",
        )
        for cause in beside.causes
    ]


def _percent(change: float | None) -> str:
    if change is None:
        return "from nothing"
    return "equal" if change == 0 else f"{change:+.2%}"


def _figure_columns(beside: Beside) -> tuple[str, ...]:
    return ("crops", "figure", beside.first.name, beside.second.name, "difference")


def _cause_columns(beside: Beside) -> tuple[str, ...]:
    return ("number", beside.first.name, beside.second.name, "why",
            f"what it alone changes at {beside.middle}")  # fmt: skip


def accountings_page(beside: Beside) -> str:
    """Both as Markdown."""
    text = f"# Two accountings: {beside.first.name} and {beside.second.name}\n\n"
    text += f"{beside.first.description}.\n{beside.second.description}.\n\n## Where they part\n\n"
    text += markdown(_cause_columns(beside), _cause_rows(beside))
    text += "\n## By how much\n\nFlash attention.\n\n"
    return text + markdown(_figure_columns(beside), _figure_rows(beside))


def accountings_tables(beside: Beside) -> list[Table]:
    """Both as tables of a page."""
    return [
        Table("causes", "Where the accountings part, and why",
              _cause_columns(beside), _cause_rows(beside), 0),
        Table("figures", "By how much the accountings part",
              _figure_columns(beside), _figure_rows(beside), 0),
    ]  # fmt: skip
