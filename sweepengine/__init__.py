"""sweepengine: what DeepSeek-OCR inference costs, over millions of workloads at once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sweepengine.architecture import Model, load_model
    from sweepengine.device import Device, load_device
    from sweepengine.errors import InputError
    from sweepengine.evaluation import evaluate
    from sweepengine.grid import load_grid
    from sweepengine.lazy import scan
    from sweepengine.running import Summary, run

# A module must not bear the name of a function: importing it would hide the function.
_HOMES = {
    "Device": "device",
    "InputError": "errors",
    "Model": "architecture",
    "Summary": "running",
    "evaluate": "evaluation",
    "load_device": "device",
    "load_grid": "grid",
    "load_model": "architecture",
    "run": "running",
    "scan": "lazy",
}

__all__ = [
    "Device",
    "InputError",
    "Model",
    "Summary",
    "evaluate",
    "load_device",
    "load_grid",
    "load_model",
    "run",
    "scan",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for, and only then what it needs."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sweepengine' has no attribute {name!r}")
    value = getattr(import_module(f"sweepengine.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
