"""What a model states: its numbers, but for those that a file may leave out.

A number that formulas learn to take tomorrow is left out of today's files, so what a dataset was
made of keeps its hash.
"""

from typing import Any

from sweepengine.data.models import Model
from sweepengine.data.schema import ABSENT, EITHER, quantities
from sweepengine.formulas.architecture import Checkpoint

_NOTHING = (*ABSENT.values(), *EITHER.values(), Checkpoint())


def stated(model: Model) -> dict[str, Any]:
    """Numbers of a model by name, as nested dicts that JSON takes."""
    numbers: dict[str, Any] = _numbers(model.architecture)
    return numbers | {"counts": model.data.get("accounting", {}).get("counts", {})}


def _numbers(part: Any) -> Any:
    if not isinstance(part, tuple):
        return part
    if not hasattr(part, "_asdict"):
        return [_numbers(each) for each in part]
    left_out = _defaults(part)
    return {
        name: _numbers(value)
        for name, value in part._asdict().items()
        if value is not None and value != left_out.get(name) and value not in _NOTHING
    }


def _defaults(part: Any) -> dict[str, Any]:
    """What a file may leave out of a part, and what stands for it."""
    values = {name: quantity.default for name, quantity in quantities(type(part)).items()}
    return {
        name: getattr(part, other) if isinstance(other, str) else other
        for name, other in values.items()
        if other is not None
    }
