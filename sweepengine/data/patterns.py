"""Patterns of layers in a config: which look back a window, which have routed experts."""

from collections.abc import Callable

from sweepengine.data.configs import ConfigValues


def _from_max(reader: ConfigValues, layers: int) -> list[bool]:
    if not reader.flag("use_sliding_window"):
        return [False] * layers
    first = reader.number("max_window_layers", 0)
    return [layer >= first for layer in range(layers)]


def _even_below_max(reader: ConfigValues, layers: int) -> list[bool]:
    if not reader.flag("use_sliding_window"):
        return [False] * layers
    first = reader.number("max_window_layers", 0)
    return [layer % 2 == 0 and layer < first for layer in range(layers)]


def _but_every(reader: ConfigValues, layers: int) -> list[bool]:
    key = "sliding_window_pattern"
    given = reader.part.get("_sliding_window_pattern", reader.part.get(key))
    pattern = 6 if given is None else reader.whole(key, given)
    return [(layer + 1) % pattern != 0 for layer in range(layers)]


def _hybrid(reader: ConfigValues, layers: int) -> list[bool]:
    pattern = reader.listed("hybrid_layer_pattern", layers)
    if pattern is None:
        if reader.part.get("layer_types") is None:
            raise reader.fail("hybrid_layer_pattern", "required key is missing")
        return [False] * layers
    return [bool(entry) for entry in pattern]


Pattern = Callable[[ConfigValues, int], list[bool]]
WINDOWS: dict[str, Pattern] = {
    "none": lambda _, layers: [False] * layers,
    "all": lambda _, layers: [True] * layers,
    "if_used": lambda reader, layers: [bool(reader.flag("use_sliding_window"))] * layers,
    "from_max_window_layers": _from_max,
    "even_below_max_window_layers": _even_below_max,
    "even": lambda _, layers: [layer % 2 == 0 for layer in range(layers)],
    "but_every_sixth": _but_every,
    "hybrid": _hybrid,
}
"""Which layers look back a window, by the name that `families.toml` calls the pattern."""


def _from_first(reader: ConfigValues, layers: int) -> list[bool]:
    types = reader.listed("mlp_layer_types", layers)
    if types is not None:
        return [entry == "sparse" for entry in types]
    pattern = reader.listed("moe_layer_freq", layers)
    if pattern is not None:
        return [bool(entry) for entry in pattern]
    frequency = reader.value("moe_layer_freq")
    if frequency not in (None, 1):
        raise reader.fail("moe_layer_freq", f"= {frequency}: expected 1, or a list")
    first = reader.number("first_k_dense_replace", 0)
    return [layer >= first for layer in range(layers)]


def _sparse_step(reader: ConfigValues, layers: int) -> list[bool]:
    step = reader.number("decoder_sparse_step")
    dense = reader.value("mlp_only_layers") or []
    if not isinstance(dense, list):
        raise reader.fail("mlp_only_layers", "expected a list of layers")
    return [layer not in dense and (layer + 1) % step == 0 for layer in range(layers)]


MIXTURES: dict[str, Pattern] = {
    "none": lambda _, layers: [False] * layers,
    "every": lambda _, layers: [True] * layers,
    "from_first": _from_first,
    "sparse_step": _sparse_step,
}
"""Which layers have routed experts, by the name that `families.toml` calls the pattern."""
