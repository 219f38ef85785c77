"""Towers of stages: each stage is a group of blocks of its own width, on fewer rows."""

from collections.abc import Callable

from sweepengine.data.tower_values import Config, TowerValues

STAGES: dict[str, Callable[[TowerValues], tuple[list[Config], list[Config]]]] = {}
"""Blocks and joins by the name that a row has for them."""
