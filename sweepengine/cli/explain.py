"""`explain`: the cost of one workload as a tree."""

import click

from sweepengine.cli.options import as_json_option, axis_options, axis_values
from sweepengine.show.terminal import say_json, show_explanation, show_place


@click.command()
@axis_options
@click.option("--model", default="deepseek-ocr-3b", show_default=True, help="Name or file.")
@click.option("--formulas", is_flag=True, help="Add each operator's formula.")
@click.option(
    "--device",
    "device_names",
    multiple=True,
    help="Add least times and memory on this device, by name or file.",
)
@as_json_option
def explain(
    model: str, formulas: bool, device_names: tuple[str, ...], as_json: bool, **axes: object
) -> None:
    """Show what one workload costs, operator by operator."""
    from sweepengine.answers.explain import explain as explain_point
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
    places = []
    if device_names:
        from sweepengine.answers.roofs import on_device
        from sweepengine.data.devices import load_device

        places = [on_device(grid.model, point, load_device(name)) for name in device_names]
    if as_json:
        facts: dict[str, object] = {
            "model": grid.model.name,
            "inputs": inputs,
            "cost": total.as_dict(),
        }
        if places:
            facts["devices"] = [place.as_dict() for place in places]
        say_json(facts)
        return
    said = ", ".join(f"{name} {value}" for name, value in inputs.items())
    show_explanation(f"{grid.model.name}: {said}", total, formulas)
    for place in places:
        show_place(place)
