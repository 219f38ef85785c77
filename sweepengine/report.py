"""A report: the tables of grids or datasets, and the comparison with published ones."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from sweepengine.dataset import read_manifest, scan_dataset
from sweepengine.errors import InputError
from sweepengine.evaluation import SCHEMA, compute_chunk
from sweepengine.grid import Targets, load_grid
from sweepengine.tables import MOST_ROWS, Comparison, Table, compare, markdown, stage_tables
from sweepengine.tables import write_csv as write_table_csv


class Sweep(NamedTuple):
    """Points to report on, with what their grid says about them."""

    name: str
    description: str
    model: str
    grid_hash: str
    engine_version: str
    targets: Targets
    stages: tuple[str, ...]
    points: pl.DataFrame


def load_sweep(source: str | Path) -> Sweep:
    """Read a dataset, or compute a grid, that is small enough to be reported point by point.

    Raises
    ------
    InputError
        When it is neither, or has more than `MOST_ROWS` points.
    """
    if Path(source).is_dir():
        manifest = read_manifest(Path(source))
        _refuse_many(str(source), manifest.points)
        return Sweep(
            manifest.grid_name,
            manifest.description,
            manifest.model,
            manifest.grid_hash,
            manifest.engine_version,
            Targets(**manifest.targets),
            manifest.report,
            scan_dataset(Path(source)).collect().cast(SCHEMA),
        )
    from sweepengine import __version__

    grid = load_grid(source)
    _refuse_many(grid.source, grid.points)
    grid.check()
    points = pl.concat([compute_chunk(grid.model, chunk) for chunk in grid.chunks(MOST_ROWS)])
    return Sweep(
        grid.name,
        grid.description,
        grid.model.name,
        grid.hash,
        __version__,
        grid.targets,
        grid.report,
        points,
    )


def _refuse_many(source: str, points: int) -> None:
    if points > MOST_ROWS:
        raise InputError(f"{source}: {points:,} points: expected at most {MOST_ROWS:,} in a report")


def write_report(sources: list[str], out: Path, reference: Path | None = None) -> list[Comparison]:
    """Write each table as Markdown and CSV, an index, and the comparison with `reference`.

    Parameters
    ----------
    sources : list of str
        Grid files, stems of shipped grids, or datasets. Each shows the stages its grid names.
    out : Path
        Directory; made if missing.
    reference : Path, optional
        Directory of published tables to compare with, ``NAME.csv`` for each table.

    Returns
    -------
    list of Comparison
        One for each table; empty without a reference.
    """
    sweeps = [load_sweep(source) for source in sources]
    tables = [
        (sweep, table)
        for sweep in sweeps
        for stage in sweep.stages
        for table in stage_tables(sweep.points, stage, sweep.targets.ttft_s, sweep.targets.tpot_s)
    ]
    names = [table.name for _, table in tables]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"report: {name} comes from several sources: expected it from one")
    compared = [compare(table, reference) for _, table in tables] if reference else []
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{out}: is a file: expected a directory to write into") from None
    for sweep, table in tables:
        write_table_csv(table, out / f"{table.name}.csv")
        (out / f"{table.name}.md").write_text(_page(sweep, table), encoding="utf-8")
    if compared:
        (out / "comparison.md").write_text(_comparison_page(compared), encoding="utf-8")
    (out / "README.md").write_text(_index(tables, compared), encoding="utf-8")
    return compared


def _page(sweep: Sweep, table: Table) -> str:
    return f"# {table.title}\n\n{_provenance(sweep)}\n\n{markdown(table.columns, table.rows)}"


def _provenance(sweep: Sweep) -> str:
    return (
        f"{sweep.description}. Model {sweep.model}, grid {sweep.name} "
        f"({sweep.grid_hash[:12]}), sweepengine {sweep.engine_version}."
    )


def _comparison_page(compared: list[Comparison]) -> str:
    rows = [(c.name, f"{c.equal}", f"{c.different}") for c in compared]
    total = ("all", f"{sum(c.equal for c in compared)}", f"{sum(c.different for c in compared)}")
    text = "# Cells against the published tables\n\nEvery printed digit counts.\n\n"
    text += markdown(("table", "cells equal", "cells different"), [*rows, total])
    differences = [line for c in compared for line in c.differences]
    if differences:
        text += "\n" + "\n".join(f"- {line}" for line in differences) + "\n"
    return text


def _index(tables: list[tuple[Sweep, Table]], compared: list[Comparison]) -> str:
    text = "# Report\n\nTFLOPs are 1e12 FLOPs; a multiply-add is 2 FLOPs.\n\n"
    for sweep, table in tables:
        text += (
            f"- {table.title}: [{table.name}.md]({table.name}.md), "
            f"[{table.name}.csv]({table.name}.csv), {len(table.rows)} rows. {_provenance(sweep)}\n"
        )
    if compared:
        equal = sum(c.equal for c in compared)
        different = sum(c.different for c in compared)
        text += (
            f"\nAgainst the published tables: {equal} cells equal, {different} different "
            "([comparison.md](comparison.md)).\n"
        )
    return text
