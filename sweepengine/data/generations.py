"""Generations of devices, within which measured serving runs say something of each other."""

from typing import Any, Final

from sweepengine.data.devices import load_device
from sweepengine.data.files import shipped_table
from sweepengine.data.speeds import TimingTarget

GENERATION_TITLES: Final[dict[str, Any]] = shipped_table("measured", "generations.toml")
"""Generations, and what people call them."""


def generation_of(target: TimingTarget) -> str:
    """The generation that a device file names, else that of the device whose rates it takes.

    Empty if neither is known.
    """
    if target.device.generation or not target.rates:
        return target.device.generation
    return load_device(target.rates[0].device).generation
