"""The published tables: laid out, formatted, and compared cell by cell."""

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
_FLOPS = ("tensor_tflops", "cuda_tflops", "tensor_cuda_ratio")
_TOKENS_FROM = ("view_size", "tile_size", "crop_rows", "crop_cols")


class Table(NamedTuple):
    """A finished table: every cell is the text that is printed."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    measured: int
    """How many columns, from the right, hold results."""


class Comparison(NamedTuple):
    """Cells of a table against a published one."""

    name: str
    equal: int
    different: int
    differences: list[str]


def _flops_table(points: pl.DataFrame, name: str, title: str, stages: Sequence[str]) -> Table:
    tera = TERA
    measured = [
        (metrics.total("tensor_flops", stages) / tera).alias("tensor_tflops"),
        (metrics.total("cuda_flops", stages) / tera).alias("cuda_tflops"),
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
    """Rows in the order of the points, each once; inputs that vary are columns too."""
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
    found = points.select(*keys, *measured).unique(maintain_order=True)
    if "attention" in varying:
        alike = found.drop("attention").unique(maintain_order=True)
        if alike.height * points["attention"].n_unique() == found.height:
            found = alike  # FLOPs do not depend on how attention is done
    count = len(measured)
    rows = [
        tuple(
            str(value) if i < len(row) - count else formats[i - len(row)].format(value)
            for i, value in enumerate(row)
        )
        for row in found.iter_rows()
    ]
    return Table(name, title, tuple(found.columns), rows, count)


def stage_tables(
    points: pl.DataFrame, stage: str, ttft_s: float | None, tpot_s: float | None
) -> list[Table]:
    """Tables that a report shows of one stage.

    Parameters
    ----------
    points : polars.DataFrame
        Input and output columns of the points, in the order of the rows.
    stage : str
        "vision", "prefill" (shown together with vision, as published) or "decode".
    ttft_s, tpot_s : float or None
        Targets in seconds; without one its table is left out.

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
    """A table as CSV, cells as printed."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(table.rows)
    return file.getvalue()


def markdown_text(text: str) -> str:
    """A user's text in Markdown: as it is, neither links nor tags."""
    return re.sub(r"([\\`|\[\]])", r"\\\1", html.escape(text, quote=False))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]], rule: str = "---:") -> str:
    """Lay cells out as a Markdown table, to the right as numbers are unless `rule` says else."""
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
        When there is no such table under `reference`, or it has other columns.
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
    ours = {row[:keys]: row[keys:] for row in table.rows}
    theirs = {row[:keys]: row[keys:] for row in published}
    equal, differences = 0, []
    for key in [*theirs, *(key for key in ours if key not in theirs)]:
        for i, column in enumerate(header[keys:]):
            here = ours[key][i] if key in ours else "missing"
            there = theirs[key][i] if key in theirs else "missing"
            if here == there:
                equal += 1
            else:
                place = " ".join(f"{n}={v}" for n, v in zip(header, key, strict=False))
                differences.append(f"{table.name} {place} {column}: {here}, published {there}")
    return Comparison(table.name, equal, len(differences), differences)
