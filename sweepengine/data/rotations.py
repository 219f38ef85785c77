"""Which layers of a config rotate queries and keys."""

from collections.abc import Callable

from sweepengine.data.configs import ConfigValues
from sweepengine.data.patterns import but_fourths_from_last


def _rotated_listed(reader: ConfigValues, windows: list[int]) -> list[bool]:
    given = reader.value("no_rope_layers")
    rotated = reader.listed("no_rope_layers", len(windows)) if given else None
    if rotated is None:
        interval = reader.number("no_rope_layer_interval")
        return [(layer + 1) % interval != 0 for layer in range(len(windows))]
    return [bool(entry) for entry in rotated]


def _rotated_by_theta(reader: ConfigValues, windows: list[int]) -> list[bool]:
    """Layers whose base of angles is not 0."""
    thetas = reader.listed("layer_rope_theta", len(windows))
    if thetas is None:
        return but_fourths_from_last(reader, len(windows))
    return [bool(theta) for theta in thetas]


ROTATED: dict[str, Callable[[ConfigValues, list[int]], list[bool]]] = {
    "all": lambda _, windows: [True] * len(windows),
    "none": lambda _, windows: [False] * len(windows),
    "only_with_window": lambda _, windows: [window > 0 for window in windows],
    "with_window": lambda _, windows: [window > 0 or not any(windows) for window in windows],
    "listed": _rotated_listed,
    "thetas": _rotated_by_theta,
    "position_embedding_type": lambda reader, windows: (
        [reader.value("position_embedding_type") == "rope"] * len(windows)
    ),
    "rope_parameters": lambda reader, windows: (
        [bool(reader.value("rope_parameters"))] * len(windows)
    ),
}
"""Name of a pattern in `families.toml` to the layers whose queries and keys are rotated."""
