"""Two accountings side by side: where their figures part, by how much, and why."""

from typing import NamedTuple

from sweepengine.architecture import SECTIONS, Architecture, Model
from sweepengine.stages import Point, point_columns

MOST_EFFECTS = 4


class Figure(NamedTuple):
    """One figure of one workload in both accountings."""

    workload: str
    column: str
    first: float
    second: float

    @property
    def change(self) -> float | None:
        """(second - first) / first; None where the first counts nothing."""
        return (self.second - self.first) / self.first if self.first else None


class Cause(NamedTuple):
    """One number in which the accountings differ, and what it alone changes in the first."""

    key: str
    first: int
    second: int
    why: str
    effects: list[Figure]
    """Largest relative changes first."""


def figures(first: Model, second: Model, workload: str, point: Point) -> list[Figure]:
    """Every output column of one workload in both accountings, and the parameters."""
    one = point_columns(first.architecture, point)
    other = point_columns(second.architecture, point)
    found = [Figure(workload, name, one[name], other[name]) for name in one]
    held = Figure(workload, "parameters", first.parameter_count, second.parameter_count)
    return [*found, held]


def causes(first: Model, second: Model, workload: str, point: Point) -> list[Cause]:
    """Each number that differs, with what it changes when it alone is changed in `first`."""
    found = []
    for section in SECTIONS:
        one, other = getattr(first.architecture, section), getattr(second.architecture, section)
        for field in one._fields:
            before, after = getattr(one, field), getattr(other, field)
            if before == after:
                continue
            key = f"{section}.{field}"
            changed = first.architecture._replace(**{section: one._replace(**{field: after})})
            effects = _effects(first, changed, workload, point)
            found.append(Cause(key, before, after, second.why.get(key, ""), effects))
    return found


def _effects(first: Model, changed: Architecture, workload: str, point: Point) -> list[Figure]:
    mutant = first._replace(architecture=changed)
    moved = [f for f in figures(first, mutant, workload, point) if f.first != f.second]
    moved.sort(key=lambda figure: -abs(figure.change or float("inf")))
    return moved[:MOST_EFFECTS]
