"""One point on one device from all sides: what the explorer shows beside its controls."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs.roofline import on_device
from sweepengine.costs.timeline import Timeline, timeline
from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import timing_target
from sweepengine.engine.frames import cost
from sweepengine.formulas.points import INPUTS, Point
from sweepengine.formulas.serving import SERVING
from sweepengine.formulas.speeds import FRAMEWORKS, TIMES
from sweepengine.grid.checks import format_problem, layout_problem
from sweepengine.grid.lengths import Lengths, lengths_of
from sweepengine.grid.plain import layout_of
from sweepengine.grid.points import checked_point
from sweepengine.grid.shorthand import read_layout, read_precision
from sweepengine.search.fit import bound_by, fewest
from sweepengine.search.limits_map import Maps, find_maps
from sweepengine.search.options import LatencyTargets, MapOptions, ServingAssumptions
from sweepengine.search.placements import (
    group_limit,
    layouts_of,
    precisions_of,
    read_precisions,
    search_grid,
)
from sweepengine.search.plans import spelled_layouts
from sweepengine.search.steady_state import FITS, served_frames
from sweepengine.search.targets import meets_ttft, pareto_front

FEWEST = "fewest devices"
"""A layout: that of `fit`, where nobody says."""
LAYOUTS = ("tp1", "tp2", "tp4", "tp8", "tp16", "tp2-pp2", "tp8-pp2", "dp2", "dp8", "tp8-ep8", "ep8",
           "ep16", "ep32", "dp8-ep64")  # fmt: skip
PRECISIONS = ("checkpoint", "checkpoint-kv8", "bf16", "fp8", "fp8-kv8", "int8", "w4a16", "mxfp4",
              "nvfp4", "nvfp4-kv8")  # fmt: skip
"""Layouts and precisions that are offered, as far as a model can have them."""
CROPS = ("none", "1x2", "2x2", "2x3", "3x3", "3x4", "4x4", "4x5", "5x5")
FRONT_BATCHES = tuple(1 << power for power in range(11))
MAP_CELLS = 1_600


class Control(NamedTuple):
    """A control: what may be chosen, or a number."""

    name: str
    label: str
    default: str
    choices: tuple[str, ...] = ()
    """Empty: a number."""

    def read(self, text: str) -> str:
        """A value that was asked for.

        Raises
        ------
        InputError
            When it is none of the choices, or no number above 0.
        """
        if self.choices:
            if text not in self.choices:
                raise InputError(f"{self.name} = {text}: expected {', '.join(self.choices)}")
            return text
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        least = 0 if self.name == "cached" else 1e-6
        if not least <= value <= 1e9:
            raise InputError(f"{self.name} = {text}: expected a number above 0")
        return text


def controls_of(model: Model) -> list[Control]:
    """What can be chosen of a model beside itself and devices."""
    layouts = [one for one in LAYOUTS if not layout_problem(model, read_layout(one))]
    formats = [
        one
        for one in PRECISIONS
        if not format_problem(model, read_precision(model.architecture, one)[0])
    ]
    found = [
        Control("layout", "layout", FEWEST, (FEWEST, *layouts)),
        Control("precision", "precision", formats[0], tuple(formats)),
    ]
    if model.has_vision:
        found.append(Control("crops", "crops", "2x3", CROPS))
    found += [
        Control("prompt", "prompt, tokens", "10" if model.has_vision else "4000"),
        Control("cached", "cached before, tokens", "0"),
        Control("answer", "answer, tokens", "1000" if model.has_vision else "500"),
        Control("batch", "batch", "8"),
    ]
    if model.has["heads"]:
        own, grouped = model.heads
        pairs = tuple(f"{own}/{kv}" for kv in range(own, 0, -1) if own % kv == 0)
        found.append(Control("heads", "heads / KV heads", f"{own}/{grouped}", pairs))
    return [
        *found,
        Control("attention", "attention", "flash", ("flash", "eager")),
        Control("serving", "serving", SERVING[0], SERVING),
        Control("framework", "framework", FRAMEWORKS[0], FRAMEWORKS),
        Control("times", "times", TIMES[0], TIMES),
        Control("ttft", "TTFT at most, s", "2"),
        Control("tpot", "TPOT at most, ms", "50"),
    ]


class Explored(NamedTuple):
    """What is shown of one device."""

    model: Model
    device: Device
    state: dict[str, str]
    """Every control's value."""
    inputs: dict[str, Any]
    """The point, by input column, as `cost` takes it."""
    cost: dict[str, int | float]
    """All of its output columns."""
    layout: str
    memory: dict[str, int]
    """Bytes of a device: `weights`, `cache`, `activations`, `capacity`; and `largest_batch`."""
    device_tokens_per_s: float
    times: Timeline
    bound: dict[str, dict[str, float]]
    """Stage to what binds it, as parts of its time."""
    front: pl.DataFrame
    """Batches, layouts and formats that no other beats, of those that fit and meet the TTFT."""
    maps: Maps


def explore(
    model: Model | str | Path, device: Device | str | Path, chosen: Mapping[str, str]
) -> Explored:
    """Look at one point on one device.

    Parameters
    ----------
    model, device : str or Path
        Values, names or files.
    chosen : mapping of str to str
        Values of controls by name (`controls_of`); others take their defaults.

    Raises
    ------
    InputError
        When a value is none that its control takes, or the point is not valid.
    """
    loaded, kind = load_model(model), load_device(device)
    state = {one.name: one.read(chosen.get(one.name, one.default)) for one in controls_of(loaded)}
    times = None if state["times"] == TIMES[0] else state["times"]
    place = timing_target(kind, state["framework"], times)
    timed = loaded._replace(devices=(kind,), times=place.times)
    targets = LatencyTargets(float(state["ttft"]), float(state["tpot"]) / 1000)
    request, batch = _request(loaded, state), _whole("batch", state)
    lengths = lengths_of("explore", loaded, request)
    (precision,) = read_precisions("explore", loaded, [state["precision"]])

    def served(axes: Mapping[str, Any]) -> pl.DataFrame:
        grid = search_grid(loaded, place, axes, lengths, "explore")
        return pl.concat(served_frames(grid, place))

    limit, layout = group_limit(loaded, kind, ServingAssumptions().memory_share), state["layout"]
    if layout == FEWEST:
        axes: dict[str, Any] = {
            "precision": precision,
            "layout": layouts_of(loaded, limit, simple=True),
        }
        (layout,) = spelled_layouts(fewest(served(axes | {"batch_size": 1})))
    point = _point(timed, state, lengths, layout)
    inputs = {
        name: INPUTS[name].shown(value)
        for name, value in point._asdict().items()
        if name in loaded.inputs
    }
    named = device.name if isinstance(device, Device) else str(device)
    inputs |= {"device": named, "framework": place.framework, "serving": state["serving"]}
    found = cost(model, place.times, **inputs)
    if state["serving"] == SERVING[0]:
        at = on_device(loaded, point, kind)
        held, largest = at.memory_bytes, at.largest_batch
        made = batch * point.decode_steps / (found["ttft_seconds"] + found["decode_seconds"])
        made /= at.devices
    else:
        rows = served({"precision": precision, "layout": layout_of(point), "batch_size": batch})
        row = rows.row(0, named=True)
        held, largest = int(row["memory_bytes"]), int(row["largest_batch"])
        made = row["device_tokens_per_s"]
    weights, cache = int(found["weight_bytes"]), int(found["decode_kv_cache_bytes"])
    memory = {
        "weights": weights,
        "cache": cache,
        "activations": max(held - weights - cache, 0),
        "capacity": kind.memory_bytes,
        "largest_batch": largest,
    }
    wide = [one for one in layouts_of(loaded, limit) if one.pipeline == 1]
    rows = served({"precision": list(precisions_of(loaded, kind)), "layout": wide,
                   "batch_size": FRONT_BATCHES})  # fmt: skip
    rows = rows.filter(FITS, meets_ttft(targets))
    front = pareto_front(rows.with_columns(spelled_layouts(rows)))
    over = "answer" if loaded.has_vision else "prompt"
    others = {name: value for name, value in request.items() if name != over}
    mapped = MapOptions(targets, over, cells=MAP_CELLS, layout=layout, precision=state["precision"],
                        framework=place.framework, times=place.times)  # fmt: skip
    maps = find_maps(loaded, [kind], lengths_of("explore", loaded, others), mapped)
    line = timeline(loaded, point, place)
    return Explored(
        model=loaded,
        device=kind,
        state=state,
        inputs=inputs,
        cost=found,
        layout=layout,
        memory=memory,
        device_tokens_per_s=made,
        times=line,
        bound=bound_by(line),
        front=front,
        maps=maps,
    )


def _request(model: Model, state: Mapping[str, str]) -> dict[str, list[Any]]:
    """The lengths of a request as a table of one row."""
    found: dict[str, list[Any]] = {"prompt": [_whole("prompt", state)]}
    if "cached_tokens" in model.inputs:
        found["cached_tokens"] = [_whole("cached", state)]
    if model.has_vision:
        found["crops"] = [state["crops"]]
    return found | {"answer": [_whole("answer", state)]}


def _point(model: Model, state: Mapping[str, str], lengths: Lengths, layout: str) -> Point:
    """The point where controls stand; its values are checked as any others are."""
    given: dict[str, Any] = {
        column: int(lengths.column(column, model)[0]) for column in lengths.columns
    }
    if "heads" in state:
        given["heads"] = tuple(int(number) for number in state["heads"].split("/"))
    given |= {
        "layout": layout,
        "precision": state["precision"],
        "batch_size": _whole("batch", state),
        "attention": state["attention"],
        "serving": state["serving"],
    }
    return checked_point(model, given, "explore")


def _whole(name: str, state: Mapping[str, str]) -> int:
    """A control that counts.

    Raises
    ------
    InputError
        When it is no whole number.
    """
    try:
        return int(state[name])
    except ValueError:
        raise InputError(f"{name} = {state[name]}: expected a whole number") from None
