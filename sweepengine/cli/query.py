"""`query`: SQL over a grid while it is computed, or over a dataset."""

import sys
from pathlib import Path

import click

from sweepengine.show.terminal import cell, print_table, say

TABLE_ROWS = 20
UPRIGHT_COLUMNS = 10
FEW_ROWS = 5
"""Rows of a table that is turned on its side, as it has more columns than a terminal."""


@click.command()
@click.argument("grid_or_dir")
@click.option("--where", help='SQL condition, such as "batch_size = 8 AND crop_rows <= 2".')
@click.option("--select", help='SQL expressions, such as "max(decode_tensor_flops) AS most".')
@click.option("--group-by", help="Columns to group by, separated by commas.")
@click.option("--sort", help='Column to sort by, largest first; "COLUMN asc" is smallest first.')
@click.option("--top", type=click.IntRange(1), help="Only the first N rows.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help=f"A table shows {TABLE_ROWS} rows unless --top says more.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="File instead of the terminal."
)
def query(
    grid_or_dir: str,
    where: str | None,
    select: str | None,
    group_by: str | None,
    sort: str | None,
    top: int | None,
    kind: str,
    out: Path | None,
) -> None:
    """Filter and aggregate with SQL while computing a grid, or read a dataset."""
    from sweepengine.answers.export import write_frames
    from sweepengine.answers.query import query as find
    from sweepengine.answers.sources import open_source
    from sweepengine.answers.sql import sql
    from sweepengine.data.errors import InputError

    if kind == "parquet" and out is None and sys.stdout.isatty():
        raise InputError("query: --format parquet is not for a terminal: expected --out FILE")
    source = open_source(grid_or_dir)
    if kind != "table":
        with sql("query"):
            write_frames(find(source, where, select, group_by, sort, top), kind, out)
        return
    found = find(source, where, select, group_by, sort, None)
    upright = len(found.collect_schema()) <= UPRIGHT_COLUMNS
    shown = top or (TABLE_ROWS if upright else FEW_ROWS)
    with sql("query"):
        rows = found.head(shown + (top is None)).collect(engine="streaming")
    cells = [tuple(cell(value) for value in row) for row in rows.head(shown).iter_rows()]
    title = f"{source.name}, model {source.model}"
    if upright:
        print_table(title, cells, tuple(rows.columns))
    else:
        turned = [(name, *(row[i] for row in cells)) for i, name in enumerate(rows.columns)]
        print_table(title, turned, ("column", *(f"row {i + 1}" for i in range(len(cells)))))
    for basis in source.bases:
        say(basis)
    if rows.height > shown:
        say("... and more rows: --top says how many, --format csv writes all")
