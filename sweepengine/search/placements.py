"""What a search places: layouts, formats and batches that a model can have on devices."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget
from sweepengine.engine.compute import point_values
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, OWN, row_of
from sweepengine.formulas.layout import Layout, devices
from sweepengine.formulas.points import Point
from sweepengine.formulas.serving import CONTINUOUS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.axes import AXES
from sweepengine.grid.checks import format_problem, layout_problem
from sweepengine.grid.columns import BY_NAME
from sweepengine.grid.grid import Grid, grid_of, with_lengths
from sweepengine.grid.lengths import Lengths
from sweepengine.grid.plain import layout_of
from sweepengine.grid.points import checked_point, default_values
from sweepengine.grid.shorthand import read_precision

Precision = tuple[int, int, int]
"""Codes of the formats of weights, activations and KV cache."""
PRECISIONS = (OWN, "fp8", "w4a16", "nvfp4")
"""What weights a search tries beside the checkpoint's own, as far as a device has the peak."""
KV_CACHES = ("kv8",)
"""And of each the KV caches beside its own."""
MAX_DEVICES = 1024
"""Devices of a copy that no search goes beyond."""
DENSE = 64
"""Batches tried one by one; beyond them steps grow, where lengths are many."""


def layouts_of(model: Model, most: int, simple: bool = False) -> list[Layout]:
    """Layouts on at most so many devices, sizes in powers of two, that engines can run.

    Experts lie on one device each group (`ep` 1) or on all devices of a stage, as vLLM and SGLang
    lay them; groups of data-parallel attention are for such experts alone. Copies of a whole model
    are no layout but replicas. Simple ones have tensor and pipeline groups alone.
    """
    sizes = [1 << power for power in range(most.bit_length()) if 1 << power <= most]
    mixture = any(experts for experts, _ in model.architecture.routings) and not simple
    found = set()
    for tensor in sizes:
        for data in sizes if mixture else [1]:
            spread = tensor * data
            for expert in {1, spread} if mixture and data == 1 else {spread if mixture else 1}:
                for pipeline in sizes:
                    layout = Layout(tensor, expert, pipeline, data)
                    if devices(layout) <= most and not layout_problem(model, layout):
                        found.add(layout)
    return sorted(found, key=lambda one: (devices(one), one))


def read_layouts(command: str, model: Model, texts: Sequence[str]) -> list[Layout]:
    """Layouts of texts such as "tp4-ep8", that the model can have.

    Raises
    ------
    InputError
        Naming the first that is not valid.
    """
    return [layout_of(checked_point(model, {"layout": text}, command)) for text in texts]


def read_precisions(command: str, model: Model, texts: Sequence[str]) -> dict[Precision, str]:
    """Precisions of texts such as "fp8-kv8", that the model can have, and their texts.

    Raises
    ------
    InputError
        Naming the first that is not valid.
    """
    points = [checked_point(model, {"precision": text}, command) for text in texts]
    codes = [(p.weight_format, p.activation_format, p.cache_format) for p in points]
    return dict(zip(codes, texts, strict=True))


def group_limit(model: Model, device: Device, memory_share: float) -> int:
    """Devices of one copy at most, where nobody says: a node, or as many as hold the weights.

    Twice as many as weights alone take, so that there is room for a KV cache.
    """
    if device.links is None:
        return 1
    limit = device.links.devices_a_node
    tried = precisions_of(model, device)
    needed = min(devices_for_weights(model, device, one, memory_share) for one in tried)
    while device.links.network_bytes_per_s and limit < 2 * needed and limit < MAX_DEVICES:
        limit *= 2
    return limit


def devices_for_weights(
    model: Model, device: Device, precision: Precision, memory_share: float
) -> float:
    """How many devices weights alone take, not rounded."""
    formats = dict(zip(AXES["precision"].columns, precision, strict=True))
    point = Point(**(default_values(model) | formats))
    (weights,) = point_values(model, point, [BY_NAME["weight_bytes"]])
    return weights / (device.memory_bytes * memory_share)


def precisions_of(model: Model, device: Device) -> dict[Precision, str]:
    """Precisions worth a try on a device, and their texts: whose GEMMs run at a peak it has."""
    found: dict[Precision, str] = {}
    for name in (precision for base in PRECISIONS
                 for precision in (base, f"{base}-{KV_CACHES[0]}")):  # fmt: skip
        codes = read_precision(model.architecture, name)
        peak = row_of(FORMAT_NAMES[codes[1]]).get("peak", "bf16")
        if codes[0] and (peak not in device.peaks or format_problem(model, codes[0])):
            continue
        if CACHE_FORMATS[codes[2]] != "bf16" and "fp8" not in device.peaks:
            continue
        found.setdefault(codes, name)
    return found


def batches_of(most: int, lengths: Lengths) -> list[int]:
    """Every batch up to `most`; where lengths are many, ever larger steps from `DENSE` on."""
    if lengths.requests == 1:
        return list(range(1, most + 1))
    found = list(range(1, min(most, DENSE) + 1))
    while found[-1] * 17 // 16 < most:
        found.append(found[-1] * 17 // 16)
    return found if found[-1] == most else [*found, most]


def search_grid(
    model: Model,
    place: TimingTarget,
    axes: Mapping[str, Any],
    lengths: Lengths,
    source: str = "deploy",
) -> Grid:
    """One sweep over values of axes on one device, under continuous batching.

    Parameters
    ----------
    model : Model
    place : TimingTarget
        The device and serving engine.
    axes : mapping of str to integers, shape (N,) or (N, columns of the axis)
        Checked values by axis, the last one fastest: precisions, layouts, batches.
    lengths : Lengths
        The last axis.
    source : str
        What to call the grid in messages.
    """
    timed = model._replace(devices=(place.device,), times=place.times)
    fixed = {"device": 0, "framework": FRAMEWORKS.index(place.framework), "serving": CONTINUOUS}
    return with_lengths(grid_of(timed, fixed | dict(axes), source), lengths)
