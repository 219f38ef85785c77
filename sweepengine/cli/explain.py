"""`explain`: the cost of one workload as a tree."""

import click

from sweepengine.cli.options import as_json_option, axis_options, axis_values, place_options
from sweepengine.formulas.serving import SERVING
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
@place_options
@as_json_option
def explain(
    model: str,
    formulas: bool,
    device_names: tuple[str, ...],
    times: str | None,
    framework: str,
    serving: str,
    as_json: bool,
    **axes: object,
) -> None:
    """Show what one workload costs, operator by operator."""
    from sweepengine.costs.explain import explain as explain_point
    from sweepengine.formulas.points import INPUTS
    from sweepengine.grid.grid import parse_grid

    given = axis_values("explain", axes)
    grid = parse_grid({"name": "explain", "model": model, "axes": given}, "explain")
    point = grid.point
    total = explain_point(grid.model.architecture, point)
    inputs = {
        name: INPUTS[name].shown(value)
        for name, value in point._asdict().items()
        if name in grid.model.inputs
    }
    places, timelines = [], []
    if device_names:
        from sweepengine.costs.roofline import on_device
        from sweepengine.costs.timeline import timeline
        from sweepengine.data.devices import load_device
        from sweepengine.data.speeds import place_of

        served = point._replace(serving=SERVING.index(serving))
        for name in device_names:
            device = load_device(name)
            places.append(on_device(grid.model, point, device))
            timelines.append(timeline(grid.model, served, place_of(device, framework, times)))
    if as_json:
        facts: dict[str, object] = {
            "model": grid.model.name,
            "inputs": inputs,
            "cost": total.as_dict(),
        }
        if places:
            facts["devices"] = [place.as_dict() for place in places]
            facts["times"] = [found.as_dict() for found in timelines]
        say_json(facts)
        return
    said = ", ".join(f"{name} {value}" for name, value in inputs.items())
    show_explanation(f"{grid.model.name}: {said}", total, formulas)
    for place, found in zip(places, timelines, strict=True):
        show_place(place)
        show_timeline(found)
