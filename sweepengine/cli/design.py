"""`design`: which figures a device should have."""

from pathlib import Path
from typing import Any

import click

from sweepengine.cli.options import as_json_option, chart_option, options_of
from sweepengine.search.declarations import record_of
from sweepengine.search.options import GridTargets, ServingAssumptions
from sweepengine.show.terminal import say, say_json


@click.command(epilog="Example: sweepengine design accelerators --chart designs.svg")
@click.argument("grid")
@options_of(GridTargets)
@options_of(ServingAssumptions)
@chart_option("lines of equal latency and cost")
@as_json_option
def design(grid: str, chart: Path | None, as_json: bool, **given: Any) -> None:
    """Find the cheapest device for a GRID over figures of a device, and which figure to double.

    The grid has axes such as device_bandwidth_gbs, the key `cost` and optionally `[[lengths]]`.
    """
    from sweepengine.grid.files import load_grid
    from sweepengine.search.design import find_designs
    from sweepengine.search.targets import targets_of

    loaded = load_grid(grid)
    of_grid = (loaded.targets.ttft_s, loaded.targets.tpot_s)
    targets = targets_of("design", record_of(GridTargets, given), of_grid)
    found = find_designs(loaded, targets, record_of(ServingAssumptions, given))
    if chart is not None:
        from sweepengine.show.design_chart import designs_chart
        from sweepengine.show.rendering import save_chart

        save_chart(designs_chart(found), chart)
    if as_json:
        say_json(found.as_dict())
        return
    from sweepengine.show.designs import show_designs

    show_designs(found)
    if chart is not None:
        say(f"{chart}: written")
