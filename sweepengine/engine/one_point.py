"""Columns of one point with the plain backend."""

from collections.abc import Sequence
from typing import Any

from sweepengine.data.family_factors import engine_of_point
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget, drafting_speeds, speeds_of, target_of_point
from sweepengine.engine.error_columns import code_of, point_errors
from sweepengine.formulas.layout import devices
from sweepengine.formulas.points import Point
from sweepengine.formulas.serving import output_rate
from sweepengine.grid.columns import (
    BY_NAME,
    DEVICE_MEMORY,
    ERROR_CLASS,
    MEMORY,
    RATE,
    SECONDS,
    THROUGHPUT,
    TIMED,
    Column,
)
from sweepengine.grid.counted import point_columns
from sweepengine.grid.memory import point_figures
from sweepengine.grid.plain import layout_of
from sweepengine.grid.timed import timed

RATE_SECONDS = ("ttft_seconds", "decode_seconds")
"""Columns of seconds that decide the rate of output tokens."""
MEMORY_COUNTS = ("weight_bytes", "context_tokens", "image_features")
"""Columns of counts that decide the memory of a point."""


def point_values(model: Model, point: Point, columns: Sequence[Column]) -> list[int | float]:
    """Values of output columns at one point, with the plain backend; texts as codes."""
    counted = {c.name: c for c in columns if not c.timed}
    memory = any(c.reduction == DEVICE_MEMORY for c in columns)
    if memory:
        counted |= {name: BY_NAME[name] for name in MEMORY_COUNTS}
    found: dict[str, Any] = {
        **point_columns(model.architecture, point, outputs=tuple(counted.values()))
    }
    if memory:
        found |= point_memory(model, point, *(int(found[name]) for name in MEMORY_COUNTS))
    if any(c.reduction == ERROR_CLASS for c in columns):
        found |= point_times(model, point)
        found["error_class"] = code_of(found["error_class"])
    elif any(c.reduction in (SECONDS, RATE) for c in columns):
        found |= point_seconds(model, point)
    return [found[c.name] for c in columns]


def point_memory(
    model: Model, point: Point, weights: int, context: int, features: int
) -> dict[str, int]:
    """Columns of memory of one point on its device; parameters as those of `point_figures`."""
    memory = point_figures(model, point, weights, context, features)
    return {column.name: getattr(memory, column.figure) for column in MEMORY}


def point_times(model: Model, point: Point) -> dict[str, Any]:
    """Columns of seconds of one point, and of what is known of their error."""
    target = _target(model, point)
    seconds = _seconds(model, point, target)
    return seconds | point_errors(model, point, target, seconds)


def point_seconds(model: Model, point: Point) -> dict[str, float]:
    """Seconds and output tokens per second of one point on its device, with the plain backend."""
    return _seconds(model, point, _target(model, point))


def _target(model: Model, point: Point) -> TimingTarget:
    return target_of_point(model, point, devices(layout_of(point)))


def _seconds(model: Model, point: Point, target: TimingTarget) -> dict[str, float]:
    arch = model.architecture
    speeds, engine = speeds_of(arch, point, target), engine_of_point(arch, point, target)
    seconds = timed(arch, point, speeds, engine, drafting_speeds(arch, point, target))
    columns: dict[str, float] = {column.name: getattr(seconds, column.figure) for column in TIMED}
    columns[THROUGHPUT.name] = output_rate(
        point.batch_size, point.decode_steps, *(columns[name] for name in RATE_SECONDS)
    )
    return columns
