"""`explain`: the cost of one workload as a tree."""

from typing import Any

import click

from sweepengine.cli.options import as_json_option, axis_options, axis_values, options_of
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.serving import SERVING
from sweepengine.search.declarations import record_of
from sweepengine.search.options import PlaceOptions
from sweepengine.show.terminal import say_json, show_explanation, show_place
from sweepengine.show.times import show_timeline


@click.command(
    epilog="Example: sweepengine explain --model qwen3-32b --prompt-tokens 4000 --device h200"
)
@axis_options
@click.option("--model", default="deepseek-ocr-3b", show_default=True, help="Name or file.")
@click.option("--formulas", is_flag=True, help="Add each operator's formula.")
@click.option(
    "--device",
    "device_names",
    multiple=True,
    help="Add the time of each operator, and memory, on this device, by name or file.",
)
@options_of(PlaceOptions)
@as_json_option
def explain(
    model: str,
    formulas: bool,
    device_names: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Show what one workload costs, operator by operator."""
    from sweepengine.costs.explain import explain as explain_point
    from sweepengine.data.models import load_model
    from sweepengine.grid.points import checked_point

    place_options = record_of(PlaceOptions, given)
    loaded = load_model(model)
    point = checked_point(loaded, axis_values("explain", given), "explain")
    total = explain_point(loaded.architecture, point)
    inputs = {
        name: INPUTS[name].shown(value)
        for name, value in point._asdict().items()
        if name in loaded.inputs
    }
    places, timelines = [], []
    if device_names:
        from sweepengine.costs.roofline import on_device
        from sweepengine.costs.timeline import timeline
        from sweepengine.data.devices import load_device
        from sweepengine.data.speeds import timing_target

        served = point._replace(serving=SERVING.index(place_options.serving))
        for name in device_names:
            device = load_device(name)
            at = timing_target(device, place_options.framework, place_options.times)
            places.append(on_device(loaded, point, device))
            timelines.append(timeline(loaded, served, at))
    if as_json:
        facts: dict[str, object] = {
            "model": loaded.name,
            "inputs": inputs,
            "cost": total.as_dict(),
        }
        if places:
            facts["devices"] = [place.as_dict() for place in places]
            facts["times"] = [found.as_dict() for found in timelines]
        say_json(facts)
        return
    said = ", ".join(f"{name} {value}" for name, value in inputs.items())
    show_explanation(f"{loaded.name}: {said}", total, formulas)
    for place, found in zip(places, timelines, strict=True):
        show_place(place)
        show_timeline(found)
