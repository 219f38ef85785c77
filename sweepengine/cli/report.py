"""`report`: charts and tables, on one page and as files."""

import sys
from pathlib import Path
from typing import Any

import click

from sweepengine.cli.options import options_of
from sweepengine.search.declarations import record_of
from sweepengine.search.options import ReportOptions
from sweepengine.show.sizes import say_size
from sweepengine.show.terminal import print_table, say


@click.command(epilog="Example: sweepengine report modes --out results/modes")
@click.argument("grids_or_dirs", nargs=-1, required=True, metavar="GRID_OR_DIR...")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Directory to write into."
)
@click.option(
    "--reference",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of published tables (NAME.csv) to compare with; exits 1 if a cell differs.",
)
@click.option(
    "--against", help="Another accounting of the model, to compare with that of the grids."
)
@options_of(ReportOptions)
def report(
    grids_or_dirs: tuple[str, ...],
    out: Path,
    reference: Path | None,
    against: str | None,
    **given: Any,
) -> None:
    """Write a page of charts and tables, and each chart and table as a file.

    A grid of several models gives a page that compares them.
    """
    from sweepengine.query.sources import open_sources
    from sweepengine.show.model_comparison import write_model_comparison
    from sweepengine.show.report import write_report

    options = record_of(ReportOptions, given)
    sources = open_sources(grids_or_dirs[0]) if len(grids_or_dirs) == 1 else ()
    say_size("report", sum(source.point_count for source in sources))
    if len(sources) > 1:
        if reference is not None or against is not None:
            raise click.UsageError("--reference and --against: expected a grid of one model")
        write_model_comparison(sources, out, options.prices, options.price_list)
        say(f"{out / 'index.html'}: written")
        return
    if options != ReportOptions():
        raise click.UsageError("--price: expected one grid of several models")
    compared = write_report(grids_or_dirs, out, reference, against)
    if compared:
        rows = [(c.name, str(c.equal), str(c.different)) for c in compared]
        print_table("Against the published tables", rows,
                    ("table", "cells equal", "cells different"))  # fmt: skip
        for comparison in compared:
            for line in comparison.differences[:10]:
                say(line)
    say(f"{out / 'index.html'}: written")
    if compared:
        equal = sum(c.equal for c in compared)
        different = sum(c.different for c in compared)
        say(f"{equal} cells equal, {different} different")
        if different:
            sys.exit(1)
