"""`explain`: the cost of one workload as a tree."""

from typing import Any

import click

from sweepengine.cli.options import as_json_option, axis_options, axis_values, options_of
from sweepengine.formulas.points import DRAFT_COLUMNS, INPUTS
from sweepengine.formulas.serving import SERVING
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.search.declarations import record_of
from sweepengine.search.options import PlaceOptions
from sweepengine.show.terminal import say, say_json, show_explanation
from sweepengine.show.times import show_parts, show_roofline, show_timeline


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
    from sweepengine.costs.roofline import on_device
    from sweepengine.costs.time_parts import time_parts
    from sweepengine.costs.timeline import timeline
    from sweepengine.data.acceptance import acceptance_text
    from sweepengine.data.devices import load_device
    from sweepengine.data.drafts import with_drafts
    from sweepengine.data.models import load_model
    from sweepengine.data.speeds import timing_target
    from sweepengine.grid.points import checked_point, shown_input
    from sweepengine.search.engine_settings import engine_values

    options = record_of(PlaceOptions, given)
    loaded, values = load_model(model), axis_values("explain", given)
    if "draft" in values:
        loaded, (values["draft"],) = with_drafts(loaded, [values["draft"]], "explain: --draft")
    point = checked_point(loaded, values, "explain")
    in_engine = point._replace(
        serving=SERVING.index(options.serving),
        framework=FRAMEWORKS.index(options.framework),
        **engine_values("explain", options.engine, options.framework),
    )
    total = explain_point(loaded.architecture, point)
    drafted, accepted, draft = (shown_input(loaded, name, getattr(point, name))
                                for name in DRAFT_COLUMNS)  # fmt: skip
    assumed = acceptance_text(int(drafted), float(accepted), str(draft))
    inputs = {
        name: shown_input(loaded, name, value)
        for name, value in point._asdict().items()
        if name in loaded.inputs
    }
    devices = [on_device(loaded, in_engine, load_device(name)) for name in device_names]
    timelines = [
        timeline(loaded, in_engine, timing_target(one.device, options.framework, options.times))
        for one in devices
    ]
    parts = [time_parts(times) for times in timelines]
    if as_json:
        cost = total.as_dict()
        facts: dict[str, object] = {"model": loaded.name, "inputs": inputs, "cost": cost}
        if assumed:
            facts["assumed"] = [assumed]
        if devices:
            facts["devices"] = [one.as_dict() for one in devices]
            facts["times"] = [
                times.as_dict() | {"parts": of._asdict()}
                for times, of in zip(timelines, parts, strict=True)
            ]
        say_json(facts)
        return
    if assumed:
        say(assumed)
    for one, times, of in zip(devices, timelines, parts, strict=True):
        show_roofline(one)
        show_parts(of)
        show_timeline(times)
        say()
    show_explanation(f"{loaded.name}: {workload_text(inputs)}", total, formulas)


def workload_text(inputs: dict[str, Any]) -> str:
    """Describe the inputs of a point, without those that state nothing."""
    return ", ".join(
        f"{name} {value}"
        for name, value in inputs.items()
        if value != INPUTS[name].shown(INPUTS[name].without)
    )
