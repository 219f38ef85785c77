"""sweepengine: what an LLM costs to run, how fast it runs, what to buy."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sweepengine.version import __version__ as __version__

if TYPE_CHECKING:
    from sweepengine.api import compare, deploy, fit
    from sweepengine.costs import metrics
    from sweepengine.data.devices import Device, load_device
    from sweepengine.data.errors import InputError
    from sweepengine.data.models import Model, load_model
    from sweepengine.engine.frames import cost, evaluate
    from sweepengine.engine.lazy import scan
    from sweepengine.grid.files import load_grid
    from sweepengine.search.reasons import NothingServesError
    from sweepengine.store.runs import Summary, run

_HOMES = {
    "Device": "data.devices",
    "InputError": "data.errors",
    "Model": "data.models",
    "NothingServesError": "search.reasons",
    "Summary": "store.runs",
    "compare": "api",
    "cost": "engine.frames",
    "deploy": "api",
    "evaluate": "engine.frames",
    "fit": "api",
    "load_device": "data.devices",
    "load_grid": "grid.files",
    "load_model": "data.models",
    "metrics": "costs",
    "run": "store.runs",
    "scan": "engine.lazy",
}

__all__ = [
    "Device",
    "InputError",
    "Model",
    "NothingServesError",
    "Summary",
    "compare",
    "cost",
    "deploy",
    "evaluate",
    "fit",
    "load_device",
    "load_grid",
    "load_model",
    "metrics",
    "run",
    "scan",
]


def __dir__() -> list[str]:
    """List the public names only."""
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sweepengine' has no attribute {name!r}")
    home = import_module(f"sweepengine.{_HOMES[name]}")
    value = import_module(f"{home.__name__}.{name}") if name == "metrics" else getattr(home, name)
    globals()[name] = value
    return value
