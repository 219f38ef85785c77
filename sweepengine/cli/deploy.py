"""`deploy`: the best way to run a model on devices."""

from pathlib import Path

import click

from sweepengine.cli.options import as_json_option, chart_option, times_option, top_option
from sweepengine.cli.requests import (
    lengths_of_options,
    lengths_options,
    price_option,
    prices_of,
    setting_of,
    setting_options,
    targets_of,
)
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.show.terminal import say_json


@click.command(
    epilog="Example: sweepengine deploy llama-3.1-70b --device h100-sxm --rate 20 "
    "--prompt 4000 --answer 500"
)
@click.argument("model")
@click.option(
    "--device",
    "kinds",
    multiple=True,
    required=True,
    help="Name or file; of several the best is taken.",
)
@click.option("--devices", type=int, help="How many there are [default: a node].")
@click.option("--rate", type=float, help="Requests a second that must be served.")
@click.option("--ttft", type=float, default=2.0, show_default=True, help="Seconds at most.")
@click.option("--tpot", type=float, default=0.05, show_default=True, help="Seconds at most.")
@lengths_options
@click.option("--precision", "precisions", multiple=True, help="Only these, such as fp8-kv8.")
@click.option("--layout", "layouts", multiple=True, help="Only these, such as tp4-ep8.")
@click.option("--mode-of-serving", "modes", multiple=True,
              type=click.Choice(["aggregated", "disaggregated"]), help="Only this.")  # fmt: skip
@click.option("--framework", "frameworks", multiple=True, type=click.Choice(FRAMEWORKS),
              help="Serving engines to compare [default: vllm].")  # fmt: skip
@click.option("--batch", type=int, default=1024, show_default=True, help="Largest tried.")
@price_option
@setting_options
@times_option
@top_option("Rows shown.", 8)
@chart_option("the front")
@as_json_option
def deploy(
    model: str,
    kinds: tuple[str, ...],
    devices: int | None,
    rate: float | None,
    ttft: float,
    tpot: float,
    lengths_file: Path | None,
    precisions: tuple[str, ...],
    layouts: tuple[str, ...],
    modes: tuple[str, ...],
    frameworks: tuple[str, ...],
    batch: int,
    prices: tuple[str, ...],
    share: float,
    memory_share: float,
    times: str | None,
    top: int,
    chart: Path | None,
    as_json: bool,
    **given: object,
) -> None:
    """Search layouts, formats, batches and modes for MODEL; say the best and how to start it.

    MODEL is a shipped name, a TOML file, a Hugging Face config.json or a folder that holds one.
    """
    from sweepengine.data.models import load_model
    from sweepengine.search.deploy import Asked, find_deployment
    from sweepengine.search.plans import MODES

    targets = targets_of("deploy", ttft, tpot)
    loaded = load_model(model)
    lengths = lengths_of_options("deploy", loaded, lengths_file, given)
    asked = Asked(
        targets, devices, rate, frameworks or FRAMEWORKS[:1], modes or MODES,
        precisions, layouts, batch, times, setting_of(share, memory_share),
    )  # fmt: skip
    found = find_deployment(model, kinds, lengths, asked, prices_of("deploy", prices))
    if chart is not None:
        from sweepengine.show.deployment_chart import deployment_chart
        from sweepengine.show.rendering import save_chart

        save_chart(deployment_chart(found), chart)
    if as_json:
        say_json(found.as_dict())
        return
    from sweepengine.show.deployments import show_deployment

    show_deployment(found, loaded, top)
