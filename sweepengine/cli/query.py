"""`query`: SQL over a grid while it is computed, or over a dataset."""

import sys
from pathlib import Path

import click

from sweepengine.cli.options import OutputFile, top_option
from sweepengine.show.terminal import cell, print_table, say

TABLE_ROWS = 20
UPRIGHT_COLUMNS = 10
FILE_FORMATS = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
FEW_ROWS = 5
"""Rows of a table that is turned on its side, as it has more columns than a terminal."""


@click.command(
    epilog='Example: sweepengine query capacity --where "batch_size = 8" --sort weight_bytes'
)
@click.argument("grid_or_dir")
@click.option("--where", help='SQL condition, such as "batch_size = 8 AND crop_rows <= 2".')
@click.option("--select", help='SQL expressions, such as "max(decode_tensor_flops) AS most".')
@click.option("--group-by", help="Columns to group by, separated by commas.")
@click.option("--sort", help='Column to sort by, largest first; "COLUMN asc" is smallest first.')
@top_option("Only the first N rows.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    help=f"A table shows {TABLE_ROWS} rows unless --top says more [default: as FILE ends, else "
    "table].",
)
@click.option("--out", type=OutputFile(), help="File instead of the terminal.")
def query(
    grid_or_dir: str,
    where: str | None,
    select: str | None,
    group_by: str | None,
    sort: str | None,
    top: int | None,
    kind: str | None,
    out: Path | None,
) -> None:
    """Filter and aggregate with SQL while computing a grid, or read a dataset."""
    from sweepengine.data.errors import InputError
    from sweepengine.query.export import write_frames
    from sweepengine.query.query import query as find
    from sweepengine.query.reading import collected
    from sweepengine.query.sources import open_source

    if kind is None:
        kind = "table" if out is None else FILE_FORMATS.get(out.suffix, "")
    if out is not None and kind in ("", "table"):
        raise InputError(
            f"query: --out {out}: expected --format csv, json or parquet, or such an ending"
        )
    if kind == "parquet" and out is None and sys.stdout.isatty():
        raise InputError("query: --format parquet is not for a terminal: expected --out FILE")
    source = open_source(grid_or_dir)
    if kind != "table":
        write_frames(find(source, where, select, group_by, sort, top), kind, out)
        return
    found = find(source, where, select, group_by, sort, None)
    upright = len(found.collect_schema()) <= UPRIGHT_COLUMNS
    shown = top or (TABLE_ROWS if upright else FEW_ROWS)
    rows = collected(found.head(shown + (top is None)), "query")
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
