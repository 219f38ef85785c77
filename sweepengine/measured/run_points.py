"""Points of measured runs: their inputs on the device, with what the options add."""

from pathlib import Path
from typing import Any

import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import Model
from sweepengine.formulas.serving import CONTINUOUS, SERVING, STATIC
from sweepengine.grid.axes import AXES
from sweepengine.grid.shorthand import joint_columns, joint_values
from sweepengine.measured.measured_runs import Runs, shipped_model
from sweepengine.search.options import CompareOptions


def served(runs: Runs, options: CompareOptions) -> Runs:
    """The runs with how they were served, which is the first of their assumptions."""
    if options.serving is not None and "serving" in runs.inputs.columns:
        raise InputError(f"{runs.source}: serving: the runs state it: expected no --serving")
    if "serving" in runs.inputs.columns:
        served = "serving as the runs state it"
    elif options.serving == SERVING[CONTINUOUS]:
        served = "serving continuous: requests join a running batch"
    else:
        served = "serving static: one batch after the other; --serving continuous if under load"
    inputs = runs.inputs
    if options.serving is not None:
        inputs = inputs.with_columns(serving=pl.lit(options.serving))
    if runs.benchmark:
        served = "serving continuous, as benchmarks measure it"
    continuous = runs.continuous or options.serving == SERVING[CONTINUOUS]
    assumed = (served, *runs.assumed)
    return runs._replace(inputs=inputs, continuous=continuous, assumed=assumed)


def model_of(runs: Runs) -> str:
    """The shipped model that the runs name."""
    if runs.model and (name := shipped_model(runs.model)):
        return name
    named = f' and "{runs.model}" is not a shipped model' if runs.model else ""
    raise InputError(
        f"{runs.source}: no --model is given{named}: expected --model with a file or one of "
        f"{', '.join(known('models'))}"
    )


def points_of(
    runs: Runs, model: Model, device: Device | str | Path, options: CompareOptions
) -> pl.DataFrame:
    """Inputs of runs on the device.

    With vision, prompts of a table are the text that follows an image of DeepSeek-OCR. Benchmarks,
    and runs of other models that see images, have no image unless they state `images`: they count
    tokens of text.

    Raises
    ------
    InputError
        When runs state another layout than the options, or groups whose layout they do not state.
    """
    frame = runs.inputs
    if runs.groups and options.layout is not None:  # sizes of such runs count otherwise than ours
        frame = frame.drop([name for name in AXES["layout"].columns if name in frame.columns])
        runs = runs._replace(inputs=frame)
    if model.has_vision and "prompt_tokens" in frame.columns:
        frame = frame.rename({"prompt_tokens": "text_tokens"})
    named = device.name if isinstance(device, Device) else str(device)
    extra: dict[str, Any] = {"device": named, "framework": options.framework, "decode_steps": 100,
                             "serving": SERVING[STATIC]}  # fmt: skip
    if model.has_vision and (runs.benchmark or not model.has["crops"]):
        extra["images"] = 0
    if options.layout is not None:
        extra |= _given_layout(runs, model, options.layout)
    elif runs.groups:
        raise InputError(f"{runs.groups}: expected 1, or --layout, such as tp4-ep8 or tp4-dp2")
    return frame.with_columns(
        pl.lit(value).alias(name) for name, value in extra.items() if name not in frame.columns
    )


def _given_layout(runs: Runs, model: Model, layout: str) -> dict[str, int]:
    """Columns of the layout that the options give; runs that state one must agree.

    Raises
    ------
    InputError
        Naming the first run that states another.
    """
    sizes = joint_values(model, "layout", layout, "compare: layout")
    given = dict(zip(AXES["layout"].columns, sizes, strict=True))
    frame = runs.inputs
    if "layout" in frame.columns:
        stated = joint_columns(model, "layout", frame["layout"].to_list(), f"{runs.source}: layout")
        frame = frame.with_columns(**{name: pl.Series(stated[name]) for name in given})
    for name in given.keys() & {*frame.columns}:
        other = frame[name] != given[name]
        if other.any():
            row = int(other.arg_max() or 0)
            raise InputError(
                f"{runs.source}: run {row}: {name} = {frame[name][row]} beside --layout {layout}: "
                "expected the same, or no --layout"
            )
    return {} if "layout" in runs.inputs.columns else given
