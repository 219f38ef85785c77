"""Serving engines: what stands around kernels, a file an engine with its versions."""

import re
import tomllib
from importlib import resources
from typing import Any, Final

from sweepengine.formulas.speeds import FRAMEWORKS

MADE_OF = ("source",)
"""Keys that change no time."""


def order_of(version: str) -> tuple[int, ...]:
    """Numbers of a version, by which the newest is found: 1.3.0rc20 is (1, 3, 0, 20)."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _newest(engine: str) -> dict[str, Any]:
    file = resources.files(__name__) / f"{engine}.toml"
    versions = tomllib.loads(file.read_text(encoding="utf-8"))["versions"]
    version = max(versions, key=order_of)
    found: dict[str, Any] = {"version": version, **versions[version]}
    return found


ENGINES: Final[dict[str, dict[str, Any]]] = {engine: _newest(engine) for engine in FRAMEWORKS}
"""Constants of each engine's newest version."""


def stated() -> dict[str, dict[str, Any]]:
    """What of them decides times, for hashes."""
    return {
        engine: {key: value for key, value in constants.items() if key not in MADE_OF}
        for engine, constants in ENGINES.items()
    }
