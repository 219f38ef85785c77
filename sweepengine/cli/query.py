"""`query`: SQL over a grid while it is computed, or over a dataset."""

import sys
from pathlib import Path

import click

from sweepengine.cli.options import OutputFile, top_option
from sweepengine.show.cells import cell
from sweepengine.show.sizes import say_size
from sweepengine.show.terminal import print_table, say

TABLE_ROWS = 20
WIDEST_TABLE = 10
"""Columns of the widest table that is not transposed."""
FILE_FORMATS = {".csv": "csv", ".json": "json", ".parquet": "parquet"}
TRANSPOSED_ROWS = 5
"""Rows of a transposed table, by default."""


@click.command(
    epilog='Example: sweepengine query capacity --where "batch_size = 8" --sort weight_bytes'
)
@click.argument("grid_or_dir")
@click.option("--where", help='SQL condition, such as "batch_size = 8 AND crop_rows <= 2".')
@click.option("--select", help='SQL expressions, such as "max(decode_tensor_flops) AS most".')
@click.option("--group-by", help="Columns to group by, separated by commas.")
@click.option("--sort", help='Column to sort by, largest first; "COLUMN asc" sorts smallest first.')
@top_option("Only the first N rows.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    help=f"A table shows {TABLE_ROWS} rows unless --top is given [default: by the ending of FILE, "
    "else table].",
)
@click.option("--out", type=OutputFile(), help="Write to FILE instead of the terminal.")
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
    """Filter and aggregate the points of a grid or a dataset with SQL.

    A grid is computed while it is queried.
    """
    from sweepengine.data.errors import InputError
    from sweepengine.query.export import write_frames
    from sweepengine.query.models import joined
    from sweepengine.query.query import query as find
    from sweepengine.query.reading import collected
    from sweepengine.query.sources import open_sources

    if kind is None:
        kind = "table" if out is None else FILE_FORMATS.get(out.suffix, "")
    if out is not None and kind in ("", "table"):
        raise InputError(f"query: --out {out}: expected --format csv, json or parquet")
    if kind == "parquet" and out is None and sys.stdout.isatty():
        raise InputError("query: --format parquet cannot be printed: expected --out FILE")
    source = joined(open_sources(grid_or_dir))
    say_size("query", source.point_count)
    if kind != "table":
        write_frames(find(source, where, select, group_by, sort, top), kind, out)
        return
    points = find(source, where, select, group_by, sort, None)
    upright = len(points.collect_schema()) <= WIDEST_TABLE
    shown = top or (TABLE_ROWS if upright else TRANSPOSED_ROWS)
    rows = collected(points.head(shown + (top is None)), "query")
    cells = [tuple(cell(value) for value in row) for row in rows.head(shown).iter_rows()]
    title = f"{source.name}, model {source.model}"
    if upright:
        print_table(title, cells, tuple(rows.columns))
    else:
        transposed = [(name, *(row[i] for row in cells)) for i, name in enumerate(rows.columns)]
        print_table(title, transposed, ("column", *(f"row {i + 1}" for i in range(len(cells)))))
    for note in (*source.bases, *source.assumed):
        say(note)
    if rows.height > shown:
        say("... more rows: --top N prints N, --format csv writes all")
