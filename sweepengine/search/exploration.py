"""Everything that the explorer shows of one point on one device."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs.engine_starts import LoggedMemory, logged_memory, start_of
from sweepengine.costs.time_parts import TimeParts, time_parts
from sweepengine.costs.timeline import Timeline, timeline
from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError, printable
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import timing_target
from sweepengine.engine.frames import cost
from sweepengine.formulas.points import Point, tokens_of
from sweepengine.formulas.serving import CONTINUOUS, SERVING
from sweepengine.formulas.speeds import FRAMEWORKS, TIMES
from sweepengine.formulas.tokens import ceil_div
from sweepengine.grid.layout_checks import format_problem, layout_problem
from sweepengine.grid.lengths import Lengths, lengths_of
from sweepengine.grid.plain import image_of
from sweepengine.grid.points import checked_point, shown_input
from sweepengine.grid.shorthand import read_layout, read_precision
from sweepengine.search.fit import Card, fewest, find_fit, within_nodes
from sweepengine.search.known_errors import with_errors
from sweepengine.search.limits_map import Maps, find_maps
from sweepengine.search.options import EngineOptions, FitOptions, LatencyTargets, MapOptions
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
"""Choice of the control "layout": the layout that `fit` takes."""
OFFERED_LAYOUTS = ("tp1", "tp2", "tp4", "tp8", "tp16", "tp2-pp2", "tp8-pp2", "dp2", "dp8",
                   "tp8-ep8", "ep8", "ep16", "ep32", "dp8-ep64")  # fmt: skip
OFFERED_PRECISIONS = ("checkpoint", "checkpoint-kv8", "bf16", "fp8", "fp8-kv8", "int8", "w4a16",
                      "mxfp4", "nvfp4", "nvfp4-kv8")  # fmt: skip
"""Layouts and precisions that controls offer, where they are valid for the model."""
OFFERED_CROPS = ("none", "1x2", "2x2", "2x3", "3x3", "3x4", "4x4", "4x5", "5x5")
OFFERED_IMAGES = ("512x512", "1024x1024", "2339x1654", "3300x2550", "1080x1920", "2160x3840")
"""Height x width: also a4@200dpi, letter@300dpi, screens."""
OFFERED_COUNTS = ("0", "1", "2", "4", "8", "16")
FRONT_BATCHES = tuple(1 << power for power in range(11))
MAP_CELLS = 8_100


class Control(NamedTuple):
    """A control of the explorer: a list of choices, or a number."""

    name: str
    label: str
    default: str
    choices: tuple[str, ...] = ()
    """Empty: a number."""

    def read(self, text: str) -> str:
        """Check the text of a value.

        Raises
        ------
        InputError
            When it is not one of the choices, or not a number above 0.
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
    """Controls of a model, in the order shown."""
    layouts = [text for text in OFFERED_LAYOUTS if not layout_problem(model, read_layout(text))]
    formats = [
        text
        for text in OFFERED_PRECISIONS
        if not format_problem(model, read_precision(model.architecture, text)[0])
    ]
    controls = [
        Control("layout", "layout", FEWEST, (FEWEST, *layouts)),
        Control("precision", "precision", formats[0], tuple(formats)),
    ]
    if model.has["crops"]:
        controls.append(Control("crops", "crops", "2x3", OFFERED_CROPS))
    elif model.has["image"]:
        controls.append(
            Control("image", "image, height x width", OFFERED_IMAGES[2], OFFERED_IMAGES)
        )
    if model.has_vision:
        controls.append(Control("images", "images a request", "1", OFFERED_COUNTS))
    controls += [
        Control("prompt", "prompt, tokens", "10" if model.has_vision else "4000"),
        Control("cached", "cached prefix, tokens", "0"),
        Control("answer", "answer, tokens", "1000" if model.has_vision else "500"),
        Control("batch", "batch", "8"),
    ]
    if model.has["heads"]:
        heads, key_value = model.heads
        pairs = tuple(f"{heads}/{kv}" for kv in range(heads, 0, -1) if heads % kv == 0)
        controls.append(Control("heads", "heads / KV heads", f"{heads}/{key_value}", pairs))
    return [
        *controls,
        Control("attention", "attention", "flash", ("flash", "eager")),
        Control("serving", "serving", SERVING[CONTINUOUS], SERVING),
        Control("framework", "serving engine", FRAMEWORKS[0], FRAMEWORKS),
        Control("times", "times", TIMES[0], TIMES),
        Control("ttft", "TTFT target, s", "2"),
        Control("tpot", "TPOT target, ms", "50"),
    ]


class Explored(NamedTuple):
    """What the explorer shows of one device."""

    model: Model
    device: Device
    state: dict[str, str]
    """Value of each control."""
    inputs: dict[str, Any]
    """The point's input columns, as `cost` takes them."""
    cost: dict[str, int | float]
    """Its output columns."""
    layout: str
    memory: dict[str, int]
    """Bytes of a device: `weights`, `runtime`, `activations`, `graphs`, `cache`, `capacity`."""
    device_tokens_per_s: float
    times: Timeline
    parts: TimeParts
    """Of its TTFT and TPOT."""
    missed: tuple[str, ...]
    """What keeps the point from the targets: memory, TTFT or TPOT; empty if it meets them."""
    card: Card | None
    """What `fit` answers for these requests in this layout; None where the controls choose what
    `fit` does not: eager attention, other heads or static batches."""
    logged: LoggedMemory
    """What the serving engine's log prints when it starts."""
    front: pl.DataFrame
    """Pareto front of batch sizes, layouts and formats that fit and meet the TTFT, with the columns
    `grid.columns.ERRORS`."""
    maps: Maps


def explore(
    model: Model | str | Path, device: Device | str | Path, chosen: Mapping[str, str]
) -> Explored:
    """Compute what the explorer shows of one point on one device.

    Parameters
    ----------
    model : Model, str or Path
    device : Device, str or Path
        Values, names or files.
    chosen : mapping of str to str
        Values of controls by name (`controls_of`); others take their defaults.

    Raises
    ------
    InputError
        When a value or the point is not valid.
    """
    loaded, kind = load_model(model), load_device(device)
    controls = {control.name: control for control in controls_of(loaded)}
    for name in chosen:
        if name not in controls:
            raise InputError(
                f"explore: {printable(name)}: {loaded.name} has no such control: "
                f"expected {', '.join(controls)}"
            )
    state = {name: c.read(chosen.get(name, c.default)) for name, c in controls.items()}
    times = None if state["times"] == TIMES[0] else state["times"]
    timing = timing_target(kind, state["framework"], times)
    timed = loaded._replace(devices=(kind,), times=timing.times)
    targets = LatencyTargets(float(state["ttft"]), float(state["tpot"]) / 1000)
    request, batch = _request(loaded, state), _whole("batch", state)
    lengths = lengths_of("explore", loaded, request)
    (precision,) = read_precisions("explore", loaded, [state["precision"]])

    def steady(axes: Mapping[str, Any]) -> pl.DataFrame:
        grid = search_grid(loaded, timing, axes, lengths, "explore")
        return pl.concat(served_frames(grid, timing))

    limit, layout = group_limit(loaded, timing, EngineOptions()), state["layout"]
    if layout == FEWEST:
        layouts = within_nodes(layouts_of(loaded, limit, simple=True), kind)
        rows = steady({"precision": precision, "layout": layouts, "batch_size": 1})
        (layout,) = spelled_layouts(fewest(rows))
    point = _point(timed, state, lengths, layout)
    inputs = {
        name: shown_input(loaded, name, value)
        for name, value in point._asdict().items()
        if name in loaded.inputs
    }
    named = device.name if isinstance(device, Device) else str(device)
    inputs |= {"device": named, "framework": timing.framework, "serving": state["serving"]}
    costs = cost(model, timing.times, **inputs)
    throughput = costs["tokens_per_second"] / costs["devices"]
    sequences = ceil_div(batch, point.data_parallel)
    memory = {
        "weights": int(costs["weight_bytes"]),
        "runtime": int(costs["runtime_bytes"]),
        "activations": int(costs["activation_bytes"]),
        "graphs": int(costs["graph_bytes"]),
        "cache": int(sequences * costs["sequence_kv_bytes"]),
        "capacity": int(costs["device_usable_bytes"]),
    }
    wide = [candidate for candidate in layouts_of(loaded, limit) if candidate.pipeline == 1]
    rows = steady({"precision": list(precisions_of(loaded, kind)), "layout": wide,
                   "batch_size": FRONT_BATCHES})  # fmt: skip
    rows = rows.filter(FITS, meets_ttft(targets))
    front = pareto_front(rows.with_columns(spelled_layouts(rows)))
    front = with_errors(front, loaded, lambda _: timing)
    over = "answer" if loaded.has_vision else "prompt"
    fixed = {name: value for name, value in request.items() if name != over}
    mapped = MapOptions(targets, over, cells=MAP_CELLS, layout=layout, precision=state["precision"],
                        framework=timing.framework, times=timing.times)  # fmt: skip
    maps = find_maps(loaded, [kind], lengths_of("explore", loaded, fixed), mapped)
    line = timeline(loaded, point, timing)
    return Explored(
        model=loaded,
        device=kind,
        state=state,
        inputs=inputs,
        cost=costs,
        layout=layout,
        memory=memory,
        device_tokens_per_s=throughput,
        times=line,
        parts=time_parts(line),
        missed=_missed(costs, targets),
        card=_card(loaded, kind, state, lengths, layout, targets),
        logged=_logged(loaded, kind, point, timing.framework),
        front=front,
        maps=maps,
    )


def _missed(costs: Mapping[str, int | float], targets: LatencyTargets) -> tuple[str, ...]:
    """What keeps a point from the targets."""
    checks = {
        "memory": bool(costs["fits"]),
        "TTFT": costs["ttft_seconds"] <= targets.ttft_s,
        "TPOT": costs["tpot_seconds"] <= targets.tpot_s,
    }
    return tuple(name for name, met in checks.items() if not met)


def _card(
    model: Model,
    device: Device,
    state: Mapping[str, str],
    lengths: Lengths,
    layout: str,
    targets: LatencyTargets,
) -> Card | None:
    """What `fit` answers, where it can be asked what the controls say."""
    usual = {"attention": "flash", "serving": SERVING[CONTINUOUS]}
    if model.has["heads"]:
        usual["heads"] = "/".join(map(str, model.heads))
    if any(state[name] != value for name, value in usual.items()):
        return None
    options = FitOptions(targets, layout=layout, precision=state["precision"],
                         framework=state["framework"], times=state["times"])  # fmt: skip
    return find_fit(model, [device], lengths, options).cards[0]


def _logged(model: Model, device: Device, point: Point, framework: str) -> LoggedMemory:
    """Memory at the start, with requests as long as the point's with its answer."""
    whole = image_of(model.architecture, point)
    tokens = tokens_of(point, whole.tokens, whole.features).context + point.decode_steps
    return logged_memory(
        start_of(model, device, point, {"framework": FRAMEWORKS.index(framework)}, tokens)
    )


def _request(model: Model, state: Mapping[str, str]) -> dict[str, list[Any]]:
    """The lengths of a request as a table of one row."""
    table: dict[str, list[Any]] = {"prompt": [_whole("prompt", state)]}
    if "cached_tokens" in model.inputs:
        table["cached_tokens"] = [_whole("cached", state)]
    for name in ("crops", "image"):
        if name in state:
            table[name] = [state[name]]
    if "images" in state:
        table["images"] = [_whole("images", state)]
    return table | {"answer": [_whole("answer", state)]}


def _point(model: Model, state: Mapping[str, str], lengths: Lengths, layout: str) -> Point:
    """The point that the controls select, checked."""
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
    """Integer value of a control.

    Raises
    ------
    InputError
        When it is not an integer.
    """
    try:
        return int(state[name])
    except ValueError:
        raise InputError(f"{name} = {state[name]}: expected an integer") from None
