"""One point on a device: the roofline time of each phase, what bounds it, and what fits."""

from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.engine.frames import schema_of
from sweepengine.formulas.points import INPUTS, Point
from sweepengine.grid.plain import point_columns
from sweepengine.grid.points import phases_of


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
    memory_bytes: int
    has_bytes: int
    largest_batch: int
    devices: int

    @property
    def fits(self) -> bool:
        """Whether a device holds its share of weights, KV cache and activations."""
        return self.memory_bytes <= self.has_bytes

    def as_dict(self) -> dict[str, Any]:
        """Return all fields, for JSON; the device is named."""
        stages = [time._asdict() for time in self.stages]
        named = {"device": self.device.name, "stages": stages, "fits": self.fits}
        return self._asdict() | named


def frame_of(model: Model, point: Point) -> pl.DataFrame:
    """Return one row with all columns of a model."""
    inputs = {name: INPUTS[name].shown(value) for name, value in point._asdict().items()}
    values = inputs | point_columns(model.architecture, point)
    schema = schema_of(model)
    return pl.DataFrame({name: [values[name]] for name in schema}, schema=schema)


def on_device(model: Model, point: Point, device: Device) -> OnDevice:
    """Return roofline times and memory of a point on a device, as `metrics` states them."""
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
    memory, has, largest = frame.select(
        memory=metrics.memory_needed_bytes(stages),
        has=metrics.memory_bytes(device),
        largest=metrics.largest_batch(device, stages),
    ).row(0)
    return OnDevice(device, times, memory, has, largest, frame["devices"][0])
