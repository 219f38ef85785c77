"""`schema`: columns of points, with their types, units and meanings."""

from typing import Any

import click

from sweepengine.cli.options import as_json_option
from sweepengine.show.terminal import print_table, say_json


@click.command(epilog="Example: sweepengine schema capacity")
@click.argument("grid_or_dir", required=False)
@as_json_option
def schema(grid_or_dir: str | None, as_json: bool) -> None:
    """Print columns, types, units and meanings: of a grid or a dataset, or all that there are."""
    from sweepengine.query.schema import columns_of, every_column
    from sweepengine.query.sources import open_sources

    columns = every_column() if grid_or_dir is None else columns_of(open_sources(grid_or_dir))
    if as_json:
        say_json([column._asdict() for column in columns])
        return
    title = f"{len(columns)} columns" + (f" of {grid_or_dir}" if grid_or_dir else "")
    rows: list[tuple[Any, ...]] = [
        (column.name, column.kind, column.dtype, column.unit, column.stated) for column in columns
    ]
    print_table(title, rows, ("column", "kind", "type", "unit", "meaning"))
