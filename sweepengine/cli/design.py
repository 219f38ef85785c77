"""`design`: which figures a device should have, under latency targets and a cost."""

from pathlib import Path
from typing import Any

import click

from sweepengine.cli.options import as_json_option, chart_option, options_of
from sweepengine.search.declarations import record_of
from sweepengine.search.options import GridTargets, ServingAssumptions
from sweepengine.show.sizes import say_size
from sweepengine.show.terminal import say, say_json


@click.command(epilog="Example: sweepengine design accelerators --chart designs.svg")
@click.argument("grid")
@options_of(GridTargets)
@options_of(ServingAssumptions)
@chart_option("contours of equal latency and cost")
@as_json_option
def design(grid: str, chart: Path | None, as_json: bool, **given: Any) -> None:
    """Find the cheapest device design in GRID, and what doubling each of its figures gains.

    GRID has axes such as device_bandwidth_gbs, the key `cost` and, optionally, `[[lengths]]`.
    """
    from sweepengine.grid.files import load_grid
    from sweepengine.search.design import find_designs
    from sweepengine.search.targets import targets_of

    loaded = load_grid(grid)
    say_size("design", loaded.points)
    of_grid = (loaded.targets.ttft_s, loaded.targets.tpot_s)
    targets = targets_of("design", record_of(GridTargets, given), of_grid)
    designs = find_designs(loaded, targets, record_of(ServingAssumptions, given))
    if chart is not None:
        from sweepengine.show.design_chart import designs_chart
        from sweepengine.show.rendering import save_chart

        save_chart(designs_chart(designs), chart)
    if as_json:
        say_json(designs.as_dict())
        return
    from sweepengine.show.designs import show_designs

    show_designs(designs)
    if chart is not None:
        say(f"{chart}: written")
