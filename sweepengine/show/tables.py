"""The published tables: rows, formats, and the comparison cell by cell."""

import csv
import html
import re
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.devices import TERA
from sweepengine.data.errors import InputError
from sweepengine.data.files import read_text
from sweepengine.formulas.points import INPUTS

CROPS = ("crops", "crop_rows", "crop_cols", "image_tokens")
MOST_ROWS = 10_000
"""Rows of the largest table that a report shows."""


class Table(NamedTuple):
    """A finished table; every cell is the text as printed."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    measured: int
    """How many columns, counted from the right, hold results."""


class Comparison(NamedTuple):
    """Cells of a table compared with a published one."""

    name: str
    equal: int
    different: int
    differences: list[str]


def _flops_table(points: pl.DataFrame, name: str, title: str, stages: Sequence[str]) -> Table:
    measured = [
        (metrics.total("tensor_flops", stages) / TERA).alias("tensor_tflops"),
        (metrics.total("cuda_flops", stages) / TERA).alias("cuda_tflops"),
        metrics.tensor_cuda_ratio(stages).alias("tensor_cuda_ratio"),
    ]
    return _table(points, name, title, measured, ("{:.6e}", "{:.6e}", "{:.3f}"), ())


def _required_table(
    points: pl.DataFrame, name: str, title: str, measure: pl.Expr, shown: tuple[str, ...]
) -> Table:
    measured = [measure.alias("required_tflops_per_s")]
    return _table(points, name, title, measured, ("{:.3f}",), shown)


def _table(
    points: pl.DataFrame,
    name: str,
    title: str,
    measured: list[pl.Expr],
    formats: tuple[str, ...],
    shown: tuple[str, ...],
) -> Table:
    """Make distinct rows in the order of the points; inputs that vary become columns."""
    varying = [
        column
        for column in points.columns
        if column in INPUTS and column not in (*CROPS, *shown) and points[column].n_unique() > 1
    ]
    keys: list[str | pl.Expr] = [*varying, *shown]
    if "crop_rows" in points.columns:
        crops = (pl.col("crop_rows") * pl.col("crop_cols")).alias("crops")
        keys = [*varying, crops, *CROPS[1:], *shown]
    elif not keys:
        keys = ["context_tokens"]
    cells = points.select(*keys, *measured).unique(maintain_order=True)
    if "attention" in varying:
        alike = cells.drop("attention").unique(maintain_order=True)
        if alike.height * points["attention"].n_unique() == cells.height:
            cells = alike  # FLOPs do not depend on the attention kernel
    count = len(measured)
    rows = [
        tuple(
            str(value) if i < len(row) - count else formats[i - len(row)].format(value)
            for i, value in enumerate(row)
        )
        for row in cells.iter_rows()
    ]
    return Table(name, title, tuple(cells.columns), rows, count)


def stage_tables(
    points: pl.DataFrame, stage: str, ttft_s: float | None, tpot_s: float | None
) -> list[Table]:
    """Return the tables of one phase.

    Parameters
    ----------
    points : polars.DataFrame
        Input and output columns of the points, in the order of the rows.
    stage : str
        "vision", "prefill" (shown together with vision, as published) or "decode".
    ttft_s, tpot_s : float or None
        Targets in seconds; None leaves its table out.

    Raises
    ------
    InputError
        When there are no points, or more than a table can show.
    """
    if not 0 < points.height <= MOST_ROWS:
        raise InputError(
            f"report: {points.height:,} points: expected 1..{MOST_ROWS:,}; "
            "`run` and `query` take larger grids"
        )
    if stage == "vision":
        return [_flops_table(points, "vision", "Vision", ("vision",))]
    if stage == "prefill":
        both = [s for s in ("vision", "prefill") if f"{s}_tensor_flops" in points.columns]
        title = " + ".join(both).capitalize()
        tables = [_flops_table(points, "_".join(both), title, both)]
        if ttft_s is not None:
            title = f"Required TFLOPs/s for a TTFT of {ttft_s:g} s"
            need = metrics.required_tflops_for_ttft(ttft_s, both)
            tables.append(_required_table(points, "ttft", title, need, ()))
        return tables
    tables = [_flops_table(points, "decode", "Decode, all steps", ("decode",))]
    stepping = points.filter(pl.col("decode_steps") > 0)
    if tpot_s is not None and stepping.height:
        title = f"Required TFLOPs/s for a TPOT of {tpot_s * 1000:g} ms"
        need = metrics.required_tflops_for_tpot(tpot_s)
        tables.append(_required_table(stepping, "tpot", title, need, ("decode_steps",)))
    return tables


def csv_text(table: Table) -> str:
    """Write a table as CSV, with cells as printed."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return file.getvalue()


def markdown_text(text: str) -> str:
    """Escape a user's text for Markdown, so that it makes neither links nor tags."""
    return re.sub(r"([\\`|\[\]])", r"\\\1", html.escape(text, quote=False))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]], rule: str = "---:") -> str:
    """Write cells as a Markdown table, aligned to the right unless `rule` differs.

    Parameters
    ----------
    columns : iterable of str
    rows : iterable of iterables of str
        A text for each column.
    rule : str
        Markdown for the alignment of all columns.
    """
    names = list(columns)
    lines = ["| " + " | ".join(names) + " |", "|" + "|".join(rule for _ in names) + "|"]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def compare(table: Table, reference: Path) -> Comparison:
    """Compare measured cells, as printed, with the published table of the same name.

    A row that is missing on either side counts as different in each of its cells.

    Raises
    ------
    InputError
        When `reference` has no such table, or it has other columns.
    """
    path = reference / f"{table.name}.csv"
    try:
        lines = read_text(path).splitlines()
        header, *published = [tuple(row) for row in csv.reader(lines)]
    except (ValueError, csv.Error):
        raise InputError(f"{path}: expected the published table in CSV") from None
    if header != table.columns:
        raise InputError(
            f"{path}: columns {', '.join(header)}: expected {', '.join(table.columns)}"
        )
    keys = len(header) - table.measured
    computed = {row[:keys]: row[keys:] for row in table.rows}
    expected = {row[:keys]: row[keys:] for row in published}
    equal, differences = 0, []
    for key in expected | computed:
        for i, column in enumerate(header[keys:]):
            value = computed[key][i] if key in computed else "missing"
            wanted = expected[key][i] if key in expected else "missing"
            if value == wanted:
                equal += 1
            else:
                row = " ".join(f"{n}={v}" for n, v in zip(header, key, strict=False))
                differences.append(f"{table.name} {row} {column}: {value}, published {wanted}")
    return Comparison(table.name, equal, len(differences), differences)
