"""`slo`: what meets latency targets on devices."""

from pathlib import Path

import click

from sweepengine.cli.options import as_json_option, chart_option, place_options, top_option
from sweepengine.cli.requests import price_option, prices_of
from sweepengine.show.terminal import say_json, show_answers


@click.command(epilog="Example: sweepengine slo serving --device h100-sxm --device rtx-5090")
@click.argument("grid_or_dir")
@click.option("--device", "device_names", multiple=True, required=True, help="Name or file.")
@click.option("--ttft", type=float, help="Seconds to the first token [default: the grid's].")
@click.option("--tpot", type=float, help="Seconds for each further token [default: the grid's].")
@price_option
@click.option("--where", help='Only these points: an SQL condition, such as "crop_rows = 2".')
@click.option(
    "--compute-fraction",
    type=float,
    default=1.0,
    show_default=True,
    help="Fraction of the compute peaks that kernels reach, at the roofline.",
)
@click.option(
    "--bandwidth-fraction",
    type=float,
    default=1.0,
    show_default=True,
    help="Fraction of the memory bandwidth that kernels reach, at the roofline.",
)
@place_options
@top_option("Rows of each Pareto front.", 12)
@chart_option("the fronts")
@as_json_option
def slo(
    grid_or_dir: str,
    device_names: tuple[str, ...],
    ttft: float | None,
    tpot: float | None,
    prices: tuple[str, ...],
    where: str | None,
    compute_fraction: float,
    bandwidth_fraction: float,
    times: str | None,
    framework: str,
    serving: str,
    top: int,
    chart: Path | None,
    as_json: bool,
) -> None:
    """Say what meets TTFT and TPOT on devices, and what serves most."""
    from sweepengine.costs.metrics import Achievable
    from sweepengine.data.devices import load_device
    from sweepengine.query.sources import open_source
    from sweepengine.query.sql import filtered
    from sweepengine.search.slo import Asked, find_answers
    from sweepengine.search.targets import Objectives, seconds_target

    asked = prices_of("slo", prices)
    devices = [load_device(name) for name in dict.fromkeys(device_names)]
    source = open_source(grid_or_dir)
    targets = Objectives(
        seconds_target("slo", "ttft_s", ttft, source.targets.ttft_s),
        seconds_target("slo", "tpot_s", tpot, source.targets.tpot_s),
    )
    if where is not None:
        source = filtered(source, "slo: --where", where)
    answers = find_answers(
        source,
        devices,
        targets,
        asked,
        Achievable(compute_fraction, bandwidth_fraction),
        Asked(framework, serving, times),
    )
    if chart is not None:
        from sweepengine.show.charts import front_chart
        from sweepengine.show.rendering import save_chart

        save_chart(front_chart(answers, targets, source), chart)
    if as_json:
        facts = {
            "source": source.place,
            "model": source.model,
            "value_bytes": source.value_bytes,
            "targets": targets._asdict(),
            "achievable": {"compute": compute_fraction, "bandwidth": bandwidth_fraction},
            "answers": [answer.as_dict() for answer in answers],
        }
        say_json(facts)
        return
    show_answers(answers, targets, source, top)
