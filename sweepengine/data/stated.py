"""Numbers of a model for hashes, without those at their default.

When formulas gain a number, files without it keep their hash, and datasets stay valid.
"""

from typing import Any

from sweepengine.data.models import Model
from sweepengine.data.schema import ABSENT, EITHER
from sweepengine.formulas.checkpoint import Checkpoint
from sweepengine.formulas.quantities import quantities
from sweepengine.formulas.towers import Towers

KEPT_NAMES = {"backbone": "trunk", "expert_devices": "apart", "kind": "mamba"}
"""Names of numbers in hashes, which stay when the code calls a number otherwise."""
DERIVED = ("cache_devices", "fused", "fused_norms")
"""Numbers that a layout or a draft sets and no file states."""
_NOTHING = (*ABSENT.values(), *EITHER.values(), Checkpoint())


def stated(model: Model) -> dict[str, Any]:
    """Numbers of a model by name, as nested dicts for JSON."""
    numbers: dict[str, Any] = _numbers(model.architecture)
    return numbers | {"counts": model.data.get("accounting", {}).get("counts", {})}


def _numbers(part: Any) -> Any:
    if not isinstance(part, tuple):
        return part
    if isinstance(part, Towers) and part.ocr is not None:
        return _numbers(part.ocr)  # which all others are made of
    if not hasattr(part, "_asdict"):
        return [_numbers(each) for each in part]
    left_out = _defaults(part)
    return {
        KEPT_NAMES.get(name, name): _numbers(value)
        for name, value in part._asdict().items()
        if name not in DERIVED
        and value not in (None, ())
        and value != left_out.get(name)
        and value not in _NOTHING
    }


def _defaults(part: Any) -> dict[str, Any]:
    """Defaults of the numbers that a file may leave out, by name."""
    values = {name: quantity.default for name, quantity in quantities(part.__class__).items()}
    return {
        name: getattr(part, default) if isinstance(default, str) else default
        for name, default in values.items()
        if default is not None
    }
