"""One point on a device: the least time of each phase, what bounds it, and what fits."""

from typing import Any, NamedTuple

from sweepengine.costs.device_memory import needed_bytes
from sweepengine.costs.timeline import COMPUTE, LINKS, MEMORY, timeline
from sweepengine.costs.titles import DRAFT_OF
from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.data.speeds import timing_target
from sweepengine.formulas.memory import MemoryFigures
from sweepengine.formulas.points import Point
from sweepengine.formulas.speeds import FRAMEWORKS, ROOFLINE
from sweepengine.formulas.tokens import ceil_div
from sweepengine.grid.counted import point_columns
from sweepengine.grid.memory import point_figures
from sweepengine.grid.points import phases_of


class StageTime(NamedTuple):
    """Seconds of a phase on a device at the peaks of the data sheet: a lower bound."""

    stage: str
    compute_s: float
    """Of operators that are bound by compute; the next two likewise, which add up to the total."""
    memory_s: float
    link_s: float
    total_s: float
    bound: str
    """The largest of the three."""


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


def least_times(model: Model, point: Point, device: Device) -> list[StageTime]:
    """Return the time of each phase with `times = "roofline"`; decode is that of all its steps."""
    target = timing_target(device, FRAMEWORKS[point.framework], ROOFLINE)
    operators, found = timeline(model, point, target).operators, []
    for stage in phases_of(model):
        spent = dict.fromkeys((COMPUTE, MEMORY, LINKS), 0.0)
        for operator in operators:
            if operator.stage in (stage, DRAFT_OF.get(stage)):
                spent[operator.bound] += operator.seconds
        bound = max(spent, key=lambda name: spent[name])
        compute, memory, links = spent.values()
        found.append(StageTime(stage, compute, memory, links, compute + memory + links, bound))
    return found


def on_device(model: Model, point: Point, device: Device) -> OnDevice:
    """Return the least times of a point on a device, and its memory."""
    columns = point_columns(model.architecture, point)
    counts = ("weight_bytes", "context_tokens", "devices", "image_features")
    weights, context, devices, features = (int(columns[name]) for name in counts)
    timed = model._replace(devices=(device,))
    figures = point_figures(timed, point._replace(device=0), weights, context, features)
    sequences = ceil_div(point.batch_size, point.data_parallel)
    needed = needed_bytes(figures, sequences)
    return OnDevice(device, least_times(model, point, device), weights, figures, needed, devices)
