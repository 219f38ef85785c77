"""Factors of families: measured over predicted serving times of one model on one serving engine.

A family is a serving engine, a model, the format of its weights and a generation of devices.
`make serving` fits the factors to the training half of the public serving rows, shrunk by the
number of rows (docs/times.md, "Factors of families").
"""

from functools import lru_cache
from typing import Any, Final, NamedTuple

from sweepengine.data.files import shipped_table
from sweepengine.data.generations import generation_of
from sweepengine.data.serving_engines import STEADY, serving_engine
from sweepengine.data.serving_engines.memory import chunk_of
from sweepengine.data.speeds import TimingTarget
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.formats import role_names
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.points import Point
from sweepengine.formulas.serving import IDEAL_SERVING_ENGINE, ServingEngine
from sweepengine.formulas.speeds import ROOFLINE, SILICON


class Factors(NamedTuple):
    """Measured over predicted times."""

    tpot: float
    ttft: float


class Family(NamedTuple):
    """What rows of one kind share."""

    engine: str
    parameters: int
    """Of the model, which name it."""
    format: str
    """Of the weights that the widest GEMMs of its layers multiply."""
    generation: str


NO_FACTORS = Factors(1.0, 1.0)
_OfFamily = tuple[Factors, dict[tuple[int, ...], Factors]]
"""Factors of a family, and those of its layouts: tensor, expert and data parallel."""


FAMILY_FACTORS: Final = shipped_table("measured", "family_factors.toml")
"""Factors by family and layout."""
_FACTORS: Final[dict[Family, _OfFamily]] = {
    Family(*(row[name] for name in Family._fields)): (
        Factors(row["tpot"], row["ttft"]),
        {tuple(layout[:3]): Factors(*layout[3:]) for layout in row["layouts"]},
    )
    for row in FAMILY_FACTORS["families"]
}
_MODELS: Final = {family.parameters for family in _FACTORS}


def stated_factors() -> list[Any]:
    """Factors, for hashes."""
    return [FAMILY_FACTORS["families"]]


@lru_cache(1 << 8)
def parameters_of(arch: Architecture) -> int:
    """Parameters of a model, towers included."""
    return sum(parameter_parts(arch).values())


def layers_of(arch: Architecture) -> int:
    """Layers of a model's decoder."""
    return sum(group.layers for group in arch.groups)


def family_of(arch: Architecture, weights: int, target: TimingTarget) -> Family:
    """The family that a point is of.

    Parameters
    ----------
    arch : Architecture
    weights : int
        Its value of the column `weight_format`.
    target : TimingTarget
        With rates.
    """
    _, mlp, experts = role_names(arch, weights)
    return Family(
        target.framework,
        parameters_of(arch),
        experts if arch.routings else mlp,
        generation_of(target),
    )


def factors_of(arch: Architecture, weights: int, layout: Layout, target: TimingTarget) -> Factors:
    """Factors of a point's family, and of its layout if that was measured; 1 where none was.

    Parameters
    ----------
    arch : Architecture
    weights : int
        Its value of the column `weight_format`.
    layout : Layout
    target : TimingTarget
    """
    of_family, by_layout = _found(arch, weights, target) or (NO_FACTORS, {})
    return by_layout.get((layout.tensor, layout.expert, layout.data), of_family)


def was_measured(arch: Architecture, weights: int, target: TimingTarget) -> bool:
    """Whether serving times of a model in a format have factors; parameters as `factors_of`."""
    return _found(arch, weights, target) is not None


def _found(arch: Architecture, weights: int, target: TimingTarget) -> _OfFamily | None:
    """Factors of a point's family and by layout; None where its times have none."""
    if target.times != SILICON or parameters_of(arch) not in _MODELS:
        return None
    return _FACTORS.get(family_of(arch, weights, target))


def engine_of_point(arch: Architecture, point: Point, target: TimingTarget) -> ServingEngine:
    """What the serving engine adds to a point, under a steady load.

    Parameters
    ----------
    arch : Architecture
    point : Point
        Its weight format, layout and chunk count.
    target : TimingTarget
        At "roofline" the serving engine adds nothing, and fills its chunks all the same.
    """
    device = target.device
    usable = device.usable_where(point.device_memory_gb)
    chunk = float(chunk_of(target.framework, device.product, usable, point.chunk_tokens))
    if target.times == ROOFLINE:
        return IDEAL_SERVING_ENGINE._replace(chunk=chunk)
    layout = Layout(
        point.tensor_parallel, point.expert_parallel, point.pipeline_parallel, point.data_parallel
    )
    tpot, ttft = factors_of(arch, point.weight_format, layout, target)
    engine = serving_engine(target.framework, STEADY, layout.data)
    least = engine.least * layers_of(arch)
    return engine._replace(chunk=chunk, least=least, tpot_factor=tpot, ttft_factor=ttft)
