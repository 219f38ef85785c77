"""One point on a device: which roof binds each stage, how long it takes at least, what fits."""

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
    """Least seconds of a stage on a device, by the data sheet's peaks."""

    stage: str
    compute_s: float
    memory_s: float
    link_s: float
    total_s: float
    bound: str


class OnDevice(NamedTuple):
    """What one point takes on a device."""

    device: Device
    stages: list[StageTime]
    memory_bytes: int
    has_bytes: int
    largest_batch: int
    devices: int

    @property
    def fits(self) -> bool:
        """Whether weights, cache and activations of a device's share do."""
        return self.memory_bytes <= self.has_bytes

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON; the device by its name."""
        stages = [time._asdict() for time in self.stages]
        beside = {"device": self.device.name, "stages": stages, "fits": self.fits}
        return self._asdict() | beside


def frame_of(model: Model, point: Point) -> pl.DataFrame:
    """One row of all columns that a model has."""
    inputs = {name: INPUTS[name].shown(value) for name, value in point._asdict().items()}
    found = inputs | point_columns(model.architecture, point)
    schema = schema_of(model)
    return pl.DataFrame({name: [found[name]] for name in schema}, schema=schema)


def on_device(model: Model, point: Point, device: Device) -> OnDevice:
    """Least times and memory of a point on a device: rooflines, as `metrics` states them."""
    frame, stages = frame_of(model, point), phases_of(model)
    found = []
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
        found.append(StageTime(stage, compute, memory, link, whole, slowest))
    memory, has, largest = frame.select(
        memory=metrics.memory_needed_bytes(stages),
        has=metrics.memory_bytes(device),
        largest=metrics.largest_batch(device, stages),
    ).row(0)
    return OnDevice(device, found, memory, has, largest, frame["devices"][0])
