"""`map`: the limiting factor of each batch and length."""

from pathlib import Path
from typing import Any

import click

from sweepengine.cli.options import (
    as_json_option,
    chart_option,
    devices_option,
    options_of,
    searched,
)
from sweepengine.search.options import MapOptions, RequestOptions
from sweepengine.show.terminal import say, say_json


@click.command(
    name="map",
    epilog="Example: sweepengine map deepseek-ocr-3b --device a100-40gb --device l4 "
    "--mode gundam:2x3",
)
@click.argument("model")
@devices_option("devices", "Device, by name or file; each has a panel.")
@options_of(RequestOptions)
@options_of(MapOptions)
@chart_option()
@as_json_option
def limits_map(
    model: str, devices: tuple[str, ...], chart: Path | None, as_json: bool, **given: Any
) -> None:
    """Map batch against length: limiting factor, throughput, highest throughput within targets.

    MODEL is a shipped name, a TOML file, a Hugging Face config.json or a folder that holds one.
    """
    from sweepengine.search.limits_map import find_maps

    maps = searched("map", find_maps, model, devices, MapOptions, given)
    if chart is not None:
        from sweepengine.show.map_chart import maps_chart
        from sweepengine.show.rendering import save_chart

        save_chart(maps_chart(maps), chart)
    if as_json:
        panels = [panel.as_dict() for panel in maps.panels]
        say_json({"model": maps.model.name, "over": maps.over, "unit": maps.unit,
                  "targets": maps.options.targets._asdict(), "panels": panels})  # fmt: skip
        return
    from sweepengine.show.maps import show_maps

    show_maps(maps)
    if chart is not None:
        say(f"{chart}: written")
