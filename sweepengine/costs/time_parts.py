"""TTFT and TPOT of a point as sums of named parts."""

from typing import NamedTuple

from sweepengine.costs.timeline import BOUNDS, Timeline
from sweepengine.costs.titles import DRAFT_PREFILL, PHASES_OF_STEPS
from sweepengine.formulas.points import tokens_of
from sweepengine.formulas.serving import A_SECOND, scheduled_steps
from sweepengine.formulas.tokens import ceil_div
from sweepengine.grid.plain import image_of

VISION = "vision"
OTHERS = "prefills of others"
SCHEDULING = "scheduling (host)"
FIRST = "first-token constants"


def kernels(bound: str) -> str:
    """Name of the part of kernels that are bound so: the prefill's in TTFT, a step's in TPOT."""
    return f"kernels: {bound}"


PARTS = (VISION, *map(kernels, BOUNDS), OTHERS, SCHEDULING, FIRST)
"""Names of all parts, in the order shown."""


class TimeParts(NamedTuple):
    """Seconds by name of the part; parts that take no time are left out."""

    ttft: dict[str, float]
    """Of the time to the first token, which is their sum."""
    tpot: dict[str, float]
    """Of the time per further token, which is their sum; empty without decode steps."""

    @property
    def names(self) -> list[str]:
        """Names of the parts that take time, in the order of `PARTS`."""
        return [name for name in PARTS if name in self.ttft or name in self.tpot]

    @property
    def limits(self) -> dict[str, tuple[str, float]]:
        """The largest part of TTFT and of TPOT, and its share; TPOT is absent without steps."""
        return {
            name: (largest, parts[largest] / sum(parts.values()))
            for name, parts in (("TTFT", self.ttft), ("TPOT", self.tpot))
            if parts and (largest := max(parts, key=lambda part: parts[part]))
        }


def time_parts(times: Timeline) -> TimeParts:
    """Parts of what requests see of a point.

    The kernels of a prefill and of a step are divided by what bounds each operator. Where requests
    join a running batch, the serving engine adds the rest (`formulas.serving`): waiting for other
    prefills `b*B*p` and `B*p/K`, scheduling `s*td + q*B` and `u*B/a`, and what launches of a
    prefill take beyond its kernels, first-token constants `f + k*prompt`; factors of families scale
    all parts alike.
    """
    point, seconds = times.point, times.seconds
    steps = point.decode_steps
    vision = seconds.vision
    prefill = _by_bound(times, "prefill", DRAFT_PREFILL)
    decode = _by_bound(times, *PHASES_OF_STEPS)
    if not times.continuous:
        step = {name: value / steps for name, value in decode.items()} if steps else {}
        return _parts({VISION: vision} | prefill, step)
    engine, arch = times.engine, times.arch
    image = image_of(arch, point)
    prompt = tokens_of(point, image.tokens, image.features).prefill
    batch = ceil_div(point.batch_size, point.data_parallel)
    ttft = {VISION: vision} | prefill
    ttft[OTHERS] = engine.burst * seconds.refill
    step_seconds = seconds.step / engine.tpot_factor
    ttft[SCHEDULING] = (
        scheduled_steps(batch, engine) * step_seconds + engine.queue * batch / A_SECOND
    )
    ttft[SCHEDULING] += max(0.0, engine.least / A_SECOND - vision - seconds.prefill)
    ttft[FIRST] = (engine.first + engine.prompt * prompt) / A_SECOND
    tpot = {}
    if steps:
        tpot = {name: engine.overlap * value / steps for name, value in decode.items()}
        tpot[OTHERS] = seconds.refill / steps
        tpot[SCHEDULING] = engine.sequence * batch * times.steps / steps / A_SECOND
    return _parts(
        {name: engine.ttft_factor * value for name, value in ttft.items()},
        {name: engine.tpot_factor * value for name, value in tpot.items()},
    )


def _parts(ttft: dict[str, float], tpot: dict[str, float]) -> TimeParts:
    taken = ({name: value for name, value in parts.items() if value > 0} for parts in (ttft, tpot))
    return TimeParts(*taken)


def _by_bound(times: Timeline, *phases: str) -> dict[str, float]:
    """Seconds of the kernels of phases by what bounds them, in the order of `BOUNDS`."""
    spent = dict.fromkeys(map(kernels, BOUNDS), 0.0)
    for operator in times.operators:
        if operator.stage in phases:
            spent[kernels(operator.bound)] += operator.seconds
    return spent
