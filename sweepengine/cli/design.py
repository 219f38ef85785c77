"""`design`: which figures a device should have."""

from pathlib import Path

import click

from sweepengine.cli.options import as_json_option, chart_option
from sweepengine.cli.requests import setting_of, setting_options
from sweepengine.show.terminal import say, say_json


@click.command(epilog="Example: sweepengine design accelerators --chart designs.svg")
@click.argument("grid")
@click.option("--ttft", type=float, help="Seconds to the first token [default: the grid's].")
@click.option("--tpot", type=float, help="Seconds for each further token [default: the grid's].")
@setting_options
@chart_option("lines of equal latency and cost")
@as_json_option
def design(
    grid: str,
    ttft: float | None,
    tpot: float | None,
    share: float,
    memory_share: float,
    chart: Path | None,
    as_json: bool,
) -> None:
    """Say of a GRID over figures of a device which is the cheapest, and what to double.

    The grid has axes such as device_bandwidth_gbs, the key `cost` and optionally `[[lengths]]`.
    """
    from sweepengine.grid.grid import load_grid
    from sweepengine.search.design import find_designs
    from sweepengine.search.targets import Objectives, seconds_target

    loaded = load_grid(grid)
    targets = Objectives(
        seconds_target("design", "ttft_s", ttft, loaded.targets.ttft_s),
        seconds_target("design", "tpot_s", tpot, loaded.targets.tpot_s),
    )
    found = find_designs(loaded, targets, setting_of(share, memory_share))
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
