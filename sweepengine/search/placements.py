"""What a search places: layouts, formats and batches that a model can have on devices."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.engine.compute import point_values
from sweepengine.formulas.formats import CACHES, NAMES, OWN, row_of
from sweepengine.formulas.layout import Layout, devices
from sweepengine.formulas.points import Point
from sweepengine.grid.axes import AXES
from sweepengine.grid.columns import BY_NAME
from sweepengine.grid.grid import Grid, parse_grid
from sweepengine.grid.lengths import Lengths, with_lengths
from sweepengine.grid.points import default_values, format_problem, layout_problem
from sweepengine.grid.shorthand import read_precision
from sweepengine.search.plans import spelled

PRECISIONS = (OWN, "fp8", "w4a16", "nvfp4")
"""What weights a search tries beside the checkpoint's own, as far as a device has the peak."""
KEPT = ("kv8",)
"""And of each the caches beside its own."""
BATCHES = 1024
"""Largest batch that a search tries."""
MOST = 1024
"""Devices of a copy that no search goes beyond."""
DENSE = 64
"""Batches tried one by one; beyond them steps grow, where lengths are many."""


def layouts_of(model: Model, most: int, simple: bool = False) -> list[str]:
    """Layouts on at most so many devices, sizes in powers of two, that engines can run.

    Experts lie on one device each group (`ep` 1) or on all devices of a stage, as vLLM and SGLang
    lay them; groups of data-parallel attention are for such experts alone. Copies of a whole model
    are no layout but replicas. Simple ones have tensor and pipeline groups alone.
    """
    sizes = [1 << power for power in range(most.bit_length()) if 1 << power <= most]
    mixture = any(experts for experts, _ in model.architecture.routings) and not simple
    found = []
    for tensor in sizes:
        for data in sizes if mixture else [1]:
            spread = tensor * data
            for expert in {1, spread} if mixture and data == 1 else {spread if mixture else 1}:
                for pipeline in sizes:
                    layout = Layout(tensor, expert, pipeline, data)
                    if devices(layout) <= most and not layout_problem(model, layout):
                        found.append(layout)
    return [spelled(layout) for layout in sorted(set(found), key=lambda one: (devices(one), one))]


def group_limit(model: Model, device: Device, memory_share: float) -> int:
    """Devices of one copy at most, where nobody says: a node, or as many as hold the weights.

    Twice as many as weights alone take, so that there is room for a cache.
    """
    if device.links is None:
        return 1
    limit = device.links.devices_a_node
    names = precisions_of(model, device)
    needed = min(devices_for_weights(model, device, name, memory_share) for name in names)
    while device.links.network_bytes_per_s and limit < 2 * needed and limit < MOST:
        limit *= 2
    return limit


def devices_for_weights(model: Model, device: Device, precision: str, memory_share: float) -> float:
    """How many devices weights alone take, not rounded."""
    codes = read_precision(model.architecture, precision)
    formats = dict(zip(AXES["precision"].columns, codes, strict=True))
    point = Point(**(default_values(model) | formats))
    (held,) = point_values(model, point, [BY_NAME["weight_bytes"]])
    return held / (device.memory_bytes * memory_share)


def precisions_of(model: Model, device: Device) -> list[str]:
    """Precisions worth a try on a device: those whose products run at a peak that it has."""
    found: dict[tuple[int, int, int], str] = {}
    for name in (precision for base in PRECISIONS for precision in (base, f"{base}-{KEPT[0]}")):
        codes = read_precision(model.architecture, name)
        peak = row_of(NAMES[codes[1]]).get("peak", "bf16")
        if codes[0] and (peak not in device.peaks or format_problem(model, codes[0])):
            continue
        if CACHES[codes[2]] != "bf16" and "fp8" not in device.peaks:
            continue
        found.setdefault(codes, name)
    return list(found.values())


def batches_of(most: int, lengths: Lengths) -> list[int]:
    """Every batch up to `most`; where lengths are many, ever larger steps from `DENSE` on."""
    if lengths.requests == 1:
        return list(range(1, most + 1))
    found = list(range(1, min(most, DENSE) + 1))
    while found[-1] * 17 // 16 < most:
        found.append(found[-1] * 17 // 16)
    return found if found[-1] == most else [*found, most]


def search_grid(
    model: str,
    device: str,
    framework: str,
    precisions: Sequence[str],
    layouts: Sequence[str],
    batches: Sequence[int],
    lengths: Lengths,
    times: str | None = None,
    source: str = "deploy",
    beside: Mapping[str, Any] | None = None,
) -> Grid:
    """One sweep: all of these on one device, by name or file, under continuous batching.

    `beside` are further axes, as a grid file has them, faster than batches.

    Raises
    ------
    InputError
        When a precision, a layout or a batch is none.
    """
    axes = {
        "device": [device],
        "framework": [framework],
        "serving": ["continuous"],
        "precision": list(precisions),
        "layout": list(layouts),
        "batch_size": list(batches),
        **(beside or {}),
    }
    data = {"name": source, "model": model, "axes": axes}
    grid = parse_grid(data | ({"times": times} if times else {}), source)
    return with_lengths(grid, lengths)
