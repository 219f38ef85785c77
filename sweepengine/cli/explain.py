"""`explain`: the cost of one workload as a tree."""

from typing import Any

import click

from sweepengine.cli.options import as_json_option, axis_options, axis_values, options_of
from sweepengine.formulas.points import DRAFT_COLUMNS
from sweepengine.formulas.serving import SERVING
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.search.declarations import record_of
from sweepengine.search.options import PlaceOptions
from sweepengine.show.terminal import say, say_json, show_explanation, show_roofline
from sweepengine.show.times import show_timeline


@click.command(
    epilog="Example: sweepengine explain --model qwen3-32b --prompt-tokens 4000 --device h200"
)
@axis_options
@click.option("--model", default="deepseek-ocr-3b", show_default=True, help="Name or file.")
@click.option("--formulas", is_flag=True, help="Add the formula of each operator.")
@click.option("--device", "device_names", multiple=True,
              help="Add memory and the time of each operator on this device, by name or file."
)  # fmt: skip
@options_of(PlaceOptions)
@as_json_option
def explain(
    model: str, formulas: bool, device_names: tuple[str, ...], as_json: bool, **given: Any
) -> None:
    """Show the cost of one workload, operator by operator."""
    from sweepengine.costs.explain import explain as explain_point
    from sweepengine.data.acceptance import acceptance_text
    from sweepengine.data.drafts import with_drafts
    from sweepengine.data.models import load_model
    from sweepengine.grid.points import checked_point, shown_input

    options = record_of(PlaceOptions, given)
    loaded, values = load_model(model), axis_values("explain", given)
    if "draft" in values:
        loaded, (values["draft"],) = with_drafts(loaded, [values["draft"]], "explain: --draft")
    point = checked_point(loaded, values, "explain")
    total = explain_point(loaded.architecture, point)
    assumed = acceptance_text(loaded, *(getattr(point, name) for name in DRAFT_COLUMNS))
    inputs = {
        name: shown_input(loaded, name, value)
        for name, value in point._asdict().items()
        if name in loaded.inputs
    }
    rooflines, timelines = [], []
    if device_names:
        from sweepengine.costs.roofline import on_device
        from sweepengine.costs.timeline import timeline
        from sweepengine.data.devices import load_device
        from sweepengine.data.speeds import timing_target
        from sweepengine.search.engine_settings import engine_values

        in_engine = point._replace(
            serving=SERVING.index(options.serving),
            framework=FRAMEWORKS.index(options.framework),
            **engine_values("explain", options.engine, options.framework),
        )
        for name in device_names:
            device = load_device(name)
            target = timing_target(device, options.framework, options.times)
            rooflines.append(on_device(loaded, in_engine, device))
            timelines.append(timeline(loaded, in_engine, target))
    if as_json:
        cost = total.as_dict()
        facts: dict[str, object] = {"model": loaded.name, "inputs": inputs, "cost": cost}
        if assumed:
            facts["assumed"] = [assumed]
        if rooflines:
            facts["devices"] = [roofline.as_dict() for roofline in rooflines]
            facts["times"] = [times.as_dict() for times in timelines]
        say_json(facts)
        return
    workload = ", ".join(f"{name} {value}" for name, value in inputs.items())
    show_explanation(f"{loaded.name}: {workload}", total, formulas)
    if assumed:
        say(assumed)
    for roofline, times in zip(rooflines, timelines, strict=True):
        show_roofline(roofline)
        show_timeline(times)
