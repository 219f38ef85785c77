"""One point on a device: the roofline time of each phase, what bounds it, and what fits."""

from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.costs.device_memory import needed_bytes
from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.engine.frames import schema_of
from sweepengine.formulas.memory import MemoryFigures
from sweepengine.formulas.points import Point
from sweepengine.formulas.tokens import ceil_div
from sweepengine.grid.memory import point_figures
from sweepengine.grid.plain import point_columns
from sweepengine.grid.points import phases_of, shown_input


class StageTime(NamedTuple):
    """Seconds of a phase on a device at the peaks of the data sheet: a lower bound."""

    stage: str
    compute_s: float
    memory_s: float
    link_s: float
    total_s: float
    bound: str


class OnDevice(NamedTuple):
    """Times and memory of one point on a device."""

    device: Device
    stages: list[StageTime]
    weight_bytes: int
    memory: MemoryFigures
    needed_bytes: int
    """Of the serving engine's room: weights, what it charges, and the KV cache of the batch."""
    devices: int

    @property
    def fits(self) -> bool:
        """Whether the pool of the serving engine holds the batch."""
        return bool(self.memory.fits)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields, for JSON; the device is named."""
        stages = [time._asdict() for time in self.stages]
        named = {"device": self.device.name, "stages": stages, "memory": self.memory._asdict()}
        return self._asdict() | named


def frame_of(model: Model, point: Point) -> pl.DataFrame:
    """Return one row with all columns of a model."""
    schema = schema_of(model)
    inputs = {
        name: shown_input(model, name, value)
        for name, value in point._asdict().items()
        if name in schema
    }
    values = inputs | point_columns(model.architecture, point)
    return pl.DataFrame({name: [values[name]] for name in schema}, schema=schema)


def on_device(model: Model, point: Point, device: Device) -> OnDevice:
    """Return roofline times of a point on a device, as `metrics` states them, and its memory."""
    frame, stages = frame_of(model, point), phases_of(model)
    times = []
    for stage in stages:
        row = frame.select(
            compute=metrics.compute_seconds(device, stage),
            memory=metrics.memory_seconds(device, stage),
            link=metrics.link_seconds(device, stage),
            whole=metrics.roofline_seconds(device, [stage]),
            bound=metrics.bound(device, stage),
        ).row(0)
        compute, memory, link, whole, bound = row
        slowest = "links" if link > max(compute, memory) else bound
        times.append(StageTime(stage, compute, memory, link, whole, slowest))
    weights, context, devices = frame.select("weight_bytes", "context_tokens", "devices").row(0)
    timed = model._replace(devices=(device,))
    features = frame["image_features"][0] if "image_features" in frame.columns else 0
    figures = point_figures(timed, point._replace(device=0), weights, context, features)
    sequences = ceil_div(point.batch_size, point.data_parallel)
    needed = needed_bytes(figures, sequences)
    return OnDevice(device, times, weights, figures, needed, devices)
