"""Search space: layouts, formats and batch sizes that are valid for a model on devices."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget
from sweepengine.engine.one_point import point_values
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, OWN, row_of
from sweepengine.formulas.layout import Layout, devices
from sweepengine.formulas.memory import THOUSANDTHS
from sweepengine.formulas.points import Point
from sweepengine.formulas.serving import CONTINUOUS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.axes import AXES
from sweepengine.grid.columns import BY_NAME
from sweepengine.grid.grid import Grid, grid_of, with_lengths
from sweepengine.grid.layout_checks import format_problem, layout_problem
from sweepengine.grid.lengths import Lengths
from sweepengine.grid.plain import layout_of
from sweepengine.grid.points import checked_point, default_values
from sweepengine.grid.shorthand import read_precision
from sweepengine.search.engine_settings import engine_settings, engine_values
from sweepengine.search.options import EngineOptions

Precision = tuple[int, int, int]
"""Codes of the formats of weights, activations and KV cache."""
ANY = "any"
"""Stands for all of `SEARCHED_PRECISIONS`."""
SEARCHED_PRECISIONS = tuple(
    precision for base in (OWN, "fp8", "w4a16", "nvfp4") for precision in (base, f"{base}-kv8")
)
"""Precisions that a search tries where the device has the peak."""
LOADED_PRECISIONS = SEARCHED_PRECISIONS[:4]
"""Those that engines run from the checkpoint itself: its own formats, and fp8."""
MAX_DEVICES = 1024
"""Most devices of one replica."""
CONSECUTIVE_BATCHES = 64
"""Up to this batch size every one is tried; beyond it steps grow, where lengths are many."""


def layouts_of(model: Model, most: int, simple: bool = False) -> list[Layout]:
    """Layouts that serving engines can run, sizes in powers of two.

    Expert parallelism is 1 or spans all devices of a pipeline stage, as in vLLM and SGLang;
    data-parallel attention needs the latter. Copies of a whole model are replicas, not a layout.

    Parameters
    ----------
    model : Model
    most : int
        Most devices.
    simple : bool
        Tensor and pipeline parallelism only.
    """
    sizes = [1 << power for power in range(most.bit_length()) if 1 << power <= most]
    moe = any(experts for experts, _ in model.architecture.routings) and not simple
    layouts = set()
    for tensor in sizes:
        for data in sizes if moe else [1]:
            stage = tensor * data
            for expert in {1, stage} if moe and data == 1 else {stage if moe else 1}:
                for pipeline in sizes:
                    layout = Layout(tensor, expert, pipeline, data)
                    if devices(layout) <= most and not layout_problem(model, layout):
                        layouts.add(layout)
    return sorted(layouts, key=lambda layout: (devices(layout), layout))


def read_layouts(command: str, model: Model, texts: Sequence[str]) -> list[Layout]:
    """Layouts of texts such as "tp4-ep8", checked for the model.

    Raises
    ------
    InputError
        Naming the first that is not valid.
    """
    return [layout_of(checked_point(model, {"layout": text}, command)) for text in texts]


def read_precisions(command: str, model: Model, texts: Sequence[str]) -> dict[Precision, str]:
    """Precisions of texts such as "fp8-kv8", checked for the model, and their texts.

    Raises
    ------
    InputError
        Naming the first that is not valid.
    """
    points = [checked_point(model, {"precision": text}, command) for text in texts]
    codes = [(p.weight_format, p.activation_format, p.cache_format) for p in points]
    return dict(zip(codes, texts, strict=True))


def group_limit(
    model: Model,
    timing: TimingTarget,
    engine: EngineOptions,
    precisions: Sequence[str] = SEARCHED_PRECISIONS,
) -> int:
    """Most devices of one replica by default: a node, or twice what the weights need.

    Parameters
    ----------
    model : Model
    timing : TimingTarget
        Device and serving engine.
    engine : EngineOptions
    precisions : sequence of str
        Those that are tried.
    """
    device = timing.device
    if device.links is None:
        return 1
    limit = device.links.devices_a_node
    tried = precisions_of(model, device, precisions)
    needed = min(devices_for_weights(model, timing, codes, engine) for codes in tried)
    while device.links.network_bytes_per_s and limit < 2 * needed and limit < MAX_DEVICES:
        limit *= 2
    return limit


def devices_for_weights(
    model: Model, timing: TimingTarget, precision: Precision, engine: EngineOptions
) -> float:
    """Devices that the weights alone need, not rounded; parameters as those of `group_limit`."""
    settings = engine_settings(engine, timing.framework, timing.device)
    room = settings.memory_share / THOUSANDTHS * timing.device.usable_bytes
    formats = dict(zip(AXES["precision"].columns, precision, strict=True))
    point = Point(**(default_values(model) | formats))
    (weights,) = point_values(model, point, [BY_NAME["weight_bytes"]])
    return weights / room


def precisions_of(
    model: Model, device: Device, precisions: Sequence[str] = SEARCHED_PRECISIONS
) -> dict[Precision, str]:
    """Precisions whose GEMMs run at a peak that the device has, and their texts.

    Parameters
    ----------
    model : Model
    device : Device
    precisions : sequence of str
        Some of `SEARCHED_PRECISIONS`.
    """
    texts: dict[Precision, str] = {}
    for name in precisions:
        codes = read_precision(model.architecture, name)
        peak = row_of(FORMAT_NAMES[codes[1]]).get("peak", "bf16")
        if codes[0] and (peak not in device.peaks or format_problem(model, codes[0])):
            continue
        if CACHE_FORMATS[codes[2]] != "bf16" and "fp8" not in device.peaks:
            continue
        texts.setdefault(codes, name)
    return texts


def batches_of(most: int, lengths: Lengths) -> list[int]:
    """Batch sizes up to `most`: all, or with growing steps where lengths are many."""
    if lengths.requests == 1:
        return list(range(1, most + 1))
    batches = list(range(1, min(most, CONSECUTIVE_BATCHES) + 1))
    while batches[-1] * 17 // 16 < most:
        batches.append(batches[-1] * 17 // 16)
    return batches if batches[-1] == most else [*batches, most]


def search_grid(
    model: Model,
    timing: TimingTarget,
    axes: Mapping[str, Any],
    lengths: Lengths,
    source: str = "deploy",
    engine: EngineOptions = EngineOptions(),  # noqa: B008 -- immutable
) -> Grid:
    """A grid on one timing target, under continuous batching.

    Parameters
    ----------
    model : Model
    timing : TimingTarget
        Device and serving engine.
    axes : mapping of str to integers, shape (N,) or (N, columns of the axis)
        Checked values by axis, the last one fastest: precisions, layouts, batch sizes.
    lengths : Lengths
        The last axis.
    source : str
        Name of the grid in messages.
    engine : EngineOptions
        Version and settings of the serving engine.
    """
    timed = model._replace(devices=(timing.device,), times=timing.times)
    fixed = {"device": 0, "framework": FRAMEWORKS.index(timing.framework), "serving": CONTINUOUS}
    settings = engine_values(source, engine, timing.framework)
    return with_lengths(grid_of(timed, settings | fixed | dict(axes), source), lengths)
