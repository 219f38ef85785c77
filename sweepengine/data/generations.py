"""Generations of devices, within which measured serving runs say something of each other."""

from typing import Any, Final

from sweepengine.data.files import shipped_table
from sweepengine.data.speeds import TimingTarget

_TABLE: Final[dict[str, dict[str, Any]]] = shipped_table("measured", "generations.toml")
GENERATION_TITLES: Final = {name: row["title"] for name, row in _TABLE.items()}
"""Generations, and what people call them."""
GENERATIONS: Final = {device: name for name, row in _TABLE.items() for device in row["devices"]}
"""Shipped devices, and their generations."""


def generation_of(target: TimingTarget) -> str:
    """The generation of a device, else of the device whose rates it takes; empty if unknown."""
    source = target.rates[0].device if target.rates else ""
    return GENERATIONS.get(target.device.name) or GENERATIONS.get(source, "")
