"""`map`: what stops each batch and length."""

from pathlib import Path

import click

from sweepengine.cli.options import as_json_option, chart_option, framework_option, times_option
from sweepengine.cli.requests import (
    lengths_of_options,
    lengths_options,
    setting_of,
    setting_options,
    targets_of,
)
from sweepengine.show.terminal import say, say_json


@click.command(
    name="map",
    epilog="Example: sweepengine map deepseek-ocr-3b --device a100-40gb --device l4 "
    "--mode gundam:2x3",
)
@click.argument("model")
@click.option(
    "--device", "devices", multiple=True, required=True, help="Name or file; a panel each."
)
@click.option("--ttft", type=float, default=2.0, show_default=True, help="Seconds at most.")
@click.option("--tpot", type=float, default=0.05, show_default=True, help="Seconds at most.")
@click.option("--over", type=click.Choice(["prompt", "answer"]),
              help="What varies [default: prompt; of models with vision answer].")  # fmt: skip
@lengths_options
@click.option("--longest", type=int, help="Tokens [default: 131,072; of answers 8,192].")
@click.option("--batch", type=int, default=1024, show_default=True, help="Largest.")
@click.option("--cells", type=int, default=40_000, show_default=True, help="Points a panel.")
@click.option("--layout", default="tp1", show_default=True, help="Such as tp4-ep8.")
@click.option("--precision", default="checkpoint", show_default=True, help="Such as fp8-kv8.")
@framework_option
@times_option
@setting_options
@chart_option()
@as_json_option
def limits_map(
    model: str,
    devices: tuple[str, ...],
    ttft: float,
    tpot: float,
    over: str | None,
    lengths_file: Path | None,
    longest: int | None,
    batch: int,
    cells: int,
    layout: str,
    precision: str,
    framework: str,
    times: str | None,
    share: float,
    memory_share: float,
    chart: Path | None,
    as_json: bool,
    **given: object,
) -> None:
    """Map batch against length: what stops each point, what it makes, the best that serves.

    MODEL is a shipped name, a TOML file, a Hugging Face config.json or a folder that holds one.
    """
    from sweepengine.data.models import load_model
    from sweepengine.search.limits_map import Asked, find_maps

    targets = targets_of("map", ttft, tpot)
    lengths = lengths_of_options("map", load_model(model), lengths_file, given)
    asked = Asked(targets, over or "", longest or 0, batch, cells, layout, precision, framework,
                  times, setting_of(share, memory_share))  # fmt: skip
    maps = find_maps(model, devices, lengths, asked)
    if chart is not None:
        from sweepengine.show.map_chart import maps_chart
        from sweepengine.show.rendering import save_chart

        save_chart(maps_chart(maps), chart)
    if as_json:
        panels = [panel.as_dict() for panel in maps.panels]
        say_json({"model": maps.model.name, "over": maps.over, "unit": maps.unit,
                  "targets": targets._asdict(), "panels": panels})  # fmt: skip
        return
    from sweepengine.show.maps import show_maps

    show_maps(maps)
    if chart is not None:
        say(f"{chart}: written")
