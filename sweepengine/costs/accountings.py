"""Two accountings compared: where their figures differ, by how much, and why."""

from typing import Any, NamedTuple

from sweepengine.data.models import Model, build, merged
from sweepengine.data.schema import TOWERS
from sweepengine.formulas.architecture import (
    Attention,
    Backbone,
    Convention,
    FeedForward,
    Recurrent,
)
from sweepengine.formulas.cost import CountedOperator
from sweepengine.formulas.points import Point
from sweepengine.formulas.quantities import quantities
from sweepengine.grid.counted import point_columns

MOST_EFFECTS = 4
COUNTED = "counted once"


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
    """A key in which the model files differ, and what it alone changes in the first."""

    key: str
    first: str
    second: str
    why: str
    effects: list[Figure]
    """Largest relative changes first."""


def figures(first: Model, second: Model, workload: str, point: Point) -> list[Figure]:
    """Compare every output column of one workload, and the parameters.

    Parameters
    ----------
    first, second : Model
        The accountings.
    workload : str
        Its name.
    point : Point
        Its inputs.
    """
    before = point_columns(first.architecture, point)
    after = point_columns(second.architecture, point)
    columns = [Figure(workload, name, before[name], after[name]) for name in before]
    parameters = Figure(workload, "parameters", first.parameter_count, second.parameter_count)
    return [*columns, parameters]


def causes(first: Model, second: Model, workload: str, point: Point) -> list[Cause]:
    """Return each key that differs and for which the second file gives a reason.

    Its effects are those of changing it alone. Parameters as `figures`.
    """
    differing = []
    for key, why in second.why.items():
        path = key.split(".")
        value = _at(second.data, path)
        if value is None or value == _at(first.data, path):
            continue
        change: Any = value
        for part in reversed(path):
            change = {part: change}
        changed = build(merged(first.data, change), f"{first.name} with {key}")
        effects = [f for f in figures(first, changed, workload, point) if f.first != f.second]
        effects.sort(key=lambda figure: -abs(figure.change or float("inf")))
        values = (_value_text(first, path), _value_text(second, path))
        differing.append(Cause(key, *values, why, effects[:MOST_EFFECTS]))
    return differing


def _at(data: dict[str, Any], path: list[str]) -> Any:
    """Return the value at a path of tables; None where there is none."""
    value: Any = data
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _value_text(model: Model, path: list[str]) -> str:
    """Describe the value at a path, or the default if the file leaves it out."""
    value = _at(model.data, path)
    if path[:2] == ["accounting", "counts"]:
        counts = {role: value[role] for role in CountedOperator._fields if value and role in value}
        return ", ".join(f"{role} x {n}" for role, n in counts.items()) or COUNTED
    if value is None:
        tuples: dict[str, type[NamedTuple]] = {
            **TOWERS, "decoder": Backbone, "accounting": Convention, "attention": Attention,
            "feed_forward": FeedForward, "recurrent": Recurrent,
        }  # fmt: skip
        kind = tuples[path[1] if len(path) > 2 else path[0]]
        quantity = quantities(kind)[path[-1]]
        value = default = quantity.default
        if isinstance(default, str):
            value = _at(model.data, [*path[:-1], default])
        elif quantity.names and default is not None:
            value = quantity.names[default]
    if isinstance(value, list):
        return "; ".join(" ".join(map(str, row)) for row in value)
    return value if isinstance(value, str) else str(int(value))
