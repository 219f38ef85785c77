"""`slo`: which points meet latency targets on devices."""

from pathlib import Path
from typing import Any

import click

from sweepengine.cli.options import (
    as_json_option,
    chart_option,
    devices_option,
    options_of,
    top_option,
)
from sweepengine.search.declarations import record_of
from sweepengine.search.options import GridTargets, SloOptions
from sweepengine.show.terminal import say, say_json, show_answers


@click.command(epilog="Example: sweepengine slo serving --device h100-sxm --device rtx-5090")
@click.argument("grid_or_dir")
@devices_option("device_names")
@options_of(GridTargets)
@click.option("--where", help='SQL condition on the points, such as "crop_rows = 2".')
@options_of(SloOptions)
@top_option("Rows of each Pareto front to show.", 12)
@chart_option("the Pareto fronts")
@as_json_option
def slo(
    grid_or_dir: str,
    device_names: tuple[str, ...],
    where: str | None,
    top: int,
    chart: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Find the points that meet TTFT and TPOT on devices, and the highest throughput of them."""
    from sweepengine.query.sources import open_sources
    from sweepengine.query.sql import filtered
    from sweepengine.search.money import price_source
    from sweepengine.search.slo import find_answers
    from sweepengine.search.targets import targets_of

    options = record_of(SloOptions, given)
    found = []
    for source in open_sources(grid_or_dir):
        of_grid = (source.targets.ttft_s, source.targets.tpot_s)
        targets = targets_of("slo", record_of(GridTargets, given), of_grid)
        devices = [source.device(name) for name in dict.fromkeys(device_names)]
        chosen = source if where is None else filtered(source, "slo: --where", where)
        found.append((chosen, targets, find_answers(chosen, devices, targets, options)))
    if chart is not None:
        from sweepengine.show.charts import front_chart
        from sweepengine.show.rendering import save_chart

        if len(found) > 1:
            raise click.UsageError(f"--chart: expected points of one model, found {len(found)}")
        ((source, targets, answers),) = found
        save_chart(front_chart(answers, targets, source), chart)
    if as_json:
        facts = [
            {
                "source": source.place,
                "model": source.model,
                "value_bytes": source.value_bytes,
                "targets": targets._asdict(),
                "achievable": {
                    "compute": options.compute_fraction,
                    "bandwidth": options.bandwidth_fraction,
                },
                "prices": price_source(options.price_list),
                "answers": [answer.as_dict() for answer in answers],
            }
            for source, targets, answers in found
        ]
        say_json(facts[0] if len(facts) == 1 else facts)
        return
    for source, targets, answers in found:
        if len(found) > 1:
            say(f"model {source.model}")
        show_answers(answers, targets, source, top)
    for text in price_source(options.price_list):
        say(text)
