"""Recurrent mixers of a config: which layers have one, and its numbers."""

from collections.abc import Callable
from typing import Any

from sweepengine.data.configs import Config, ConfigValues
from sweepengine.data.patterns import Pattern, factor_of

DELTA = {
    "heads": "linear_num_value_heads",
    "key_heads": "linear_num_key_heads",
    "key_width": "linear_key_head_dim",
    "value_width": "linear_value_head_dim",
    "convolution": "linear_conv_kernel_dim",
}
MAMBA = {
    "heads": "mamba_num_heads",
    "key_heads": "n_groups",
    "key_width": "ssm_state_size",
    "value_width": "mamba_head_dim",
    "convolution": "conv_kernel",
    "chunk": "chunk_size",
}
"""Numbers of a recurrent mixer to the keys that hold them."""
KIMI = {
    "heads": "num_heads",
    "key_width": "head_dim",
    "convolution": "short_conv_kernel_size",
}
"""Numbers of Kimi delta attention to the keys of `linear_attn_config`."""
STATE_KEYS = ("mamba_ssm_dtype", "mamba_ssm_cache_dtype")
STATE_BYTES = {"float32": 4, "bfloat16": 0, "float16": 0, "auto": 0}
"""Format of the state that serving engines obey to bytes a value; 0: as wide as other values.

vLLM holds the state of Kimi delta attention in float32 whatever a config says.
"""
DELTA_CHUNK = 64
"""Chunk size of the delta rules in transformers, tokens."""
RECURRENT_TYPES = ("linear_attention", "mamba", "conv", "recurrent")
"""Entries of `layer_types` of layers with a recurrent mixer."""


def _expanded(reader: ConfigValues, key: str) -> int:
    """Hidden width times a factor, which may be a fraction."""
    return reader.whole(key, int(factor_of(reader, key) * reader.size("hidden")))


def _gated_delta_net(reader: ConfigValues) -> Config:
    numbers = {name: reader.number(key) for name, key in DELTA.items()}
    return numbers | {"kind": "gated delta net", "chunk": DELTA_CHUNK}


def _derived_delta_net(reader: ConfigValues) -> Config:
    """A gated delta net whose missing numbers follow from attention (OLMo Hybrid)."""

    def number(name: str, derived: int) -> int:
        key = DELTA[name]
        if reader.value(key) is None:
            reader.assumed[key] = derived
            return derived
        return reader.number(key)

    heads = reader.size("heads")
    key_heads = number("key_heads", heads)
    key_width = number("key_width", int(0.75 * reader.size("hidden") / key_heads))
    return {
        "kind": "gated delta net",
        "heads": number("heads", heads),
        "key_heads": key_heads,
        "key_width": key_width,
        "value_width": number("value_width", 2 * key_width),
        "convolution": reader.number(DELTA["convolution"]),
        "chunk": DELTA_CHUNK,
    }


def _mamba_2(reader: ConfigValues) -> Config:
    keys = MAMBA | reader.family.get("mixer_keys", {})
    norm = reader.family.get("mixer_norm", True)
    numbers = {name: reader.number(key) for name, key in keys.items() if name != "value_width"}
    return numbers | {
        "kind": "Mamba-2",
        "value_width": _head_width(reader, keys["value_width"], numbers["heads"]),
        "inner_norm": bool(reader.flag(norm)) if isinstance(norm, str) else norm,
    }


def _head_width(reader: ConfigValues, key: str, heads: int) -> int:
    """Width of a Mamba-2 head; where it is "auto", the inner width over the heads."""
    width = reader.value(key)
    inner_key = reader.family.get("inner_width", "")
    if not inner_key:
        return reader.whole(key, width)
    inner = reader.value(inner_key)
    if inner is None:
        inner_key, inner = "mamba_expand", _expanded(reader, "mamba_expand")
    else:
        reader.read.add("mamba_expand")
        inner = reader.whole(inner_key, inner)
    if inner % heads or width not in ("auto", inner // heads):
        raise reader.fail(key, f'= {width!r}: expected "auto" or {inner} / {heads} heads')
    return int(inner // heads)


def _mamba_1(reader: ConfigValues) -> Config:
    keys: Config = reader.family["mixer_keys"]
    inner = _expanded(reader, keys["expand"])
    alone = reader.family.get("feed_forward") == "none"
    if alone and reader.value("intermediate_size") is not None:
        given = reader.number("intermediate_size")
        if given != inner:
            raise reader.fail("intermediate_size", f"= {given}: expected {inner}, or no such key")
    rank = reader.value(keys["rank"])
    if rank == "auto":
        rank = -(-reader.size("hidden") // 16)
    return {
        "kind": "Mamba-1",
        "heads": inner,
        "key_width": reader.number(keys["key_width"]),
        "value_width": 1,
        "convolution": reader.number(keys["convolution"]),
        "rank": reader.whole(keys["rank"], rank),
        "bias": bool(reader.flag(keys["bias"])),
        "inner_norm": bool(reader.family.get("mixer_norm", False)),
    }


def _short_convolution(reader: ConfigValues) -> Config:
    return {
        "kind": "short convolution",
        "heads": reader.size("hidden"),
        "value_width": 1,
        "convolution": reader.number("conv_L_cache"),
        "bias": bool(reader.flag("conv_bias")),
    }


def _kimi_delta_attention(reader: ConfigValues) -> Config:
    """Flat numbers, or those of the table `linear_attn_config`, as released files have them."""
    table, numbers = linear_attn_config(reader), {}
    for name, nested in KIMI.items():
        keys: list[str] = reader.family["mixer_keys"][name]
        reader.read.update(keys)
        key = next((key for key in keys if reader.part.get(key) is not None), keys[-1])
        if nested in table:
            numbers[name] = reader.whole("linear_attn_config", table[nested])
        else:
            numbers[name] = reader.number(key)
    heads, width = numbers["heads"], numbers["key_width"]
    return {
        "kind": "Kimi delta attention",
        **numbers,
        "key_heads": heads,
        "value_width": width,
        "chunk": DELTA_CHUNK,
        "rank": width if reader.family.get("ranked_gates") else 0,
        "state_bytes": STATE_BYTES["float32"],
    }


def _lightning_attention(reader: ConfigValues) -> Config:
    heads = reader.size("heads")
    key, width = reader.of("head_width")
    if width is None:
        width = reader.size("hidden") // heads
        reader.assumed[key] = width
    width = reader.whole(key, width)
    return {
        "kind": "lightning attention",
        "heads": heads,
        "key_heads": heads,
        "key_width": width,
        "value_width": width,
        "chunk": reader.number("block_size"),
    }


def _rg_lru(reader: ConfigValues) -> Config:
    key, heads = "lru_width", reader.size("heads")
    width = reader.value(key)
    if width is None:
        width = reader.size("hidden")
        reader.assumed[key] = width
    if reader.whole(key, width) % heads:
        raise reader.fail(key, f"= {width}: expected a multiple of {heads} heads")
    return {
        "kind": "RG-LRU",
        "heads": heads,
        "key_width": 1,
        "value_width": width // heads,
        "convolution": reader.number("conv1d_width"),
        "bias": True,
    }


def _state_bytes(reader: ConfigValues) -> int:
    """Return the bytes of a value of the state that a config states; 0 where it states none."""
    for key in STATE_KEYS:
        if key not in reader.family.get("keys", ()):
            continue
        stated = reader.value(key)
        if stated is None:
            reader.assumed[key] = None
            return 0
        if stated not in STATE_BYTES:
            raise reader.fail(key, f"= {stated!r}: expected one of {', '.join(STATE_BYTES)}")
        return STATE_BYTES[stated]
    return 0


MIXERS: dict[str, Callable[[ConfigValues], Config]] = {
    "delta_nets": _gated_delta_net,
    "derived_delta_nets": _derived_delta_net,
    "blocks": _mamba_2,
    "mamba_2": _mamba_2,
    "mamba_1": _mamba_1,
    "short_convolution": _short_convolution,
    "kimi_delta": _kimi_delta_attention,
    "lightning": _lightning_attention,
    "rg_lru": _rg_lru,
}
"""Name of a mixer in `families.toml` to the function that reads its numbers."""


def linear_attn_config(reader: ConfigValues) -> Config:
    """The table of Kimi Linear that holds numbers and layers of its mixer; empty where missing."""
    table = reader.value("linear_attn_config")
    if table is not None and not isinstance(table, dict):
        raise reader.fail("linear_attn_config", f"= {table!r}: expected a table")
    known = ("full_attn_layers", "kda_layers", *KIMI.values())
    for key in table or {}:
        if key not in known:
            raise reader.fail("linear_attn_config", f"{key}: expected some of {', '.join(known)}")
    return table or {}


def _but_fourths(layers: int) -> list[bool]:
    """All but each fourth layer; where there is none, but the last."""
    recurrent = [layer % 4 != 3 for layer in range(layers)]
    return recurrent if not all(recurrent) else [True] * (layers - 1) + [False]


def _kimi(reader: ConfigValues, layers: int) -> list[bool]:
    """Layers that the table lists, the first being 1; without one all but 4, 8, ..."""
    table = linear_attn_config(reader)
    if "full_attn_layers" not in table:
        return [layer == 0 or layer % 4 != 0 for layer in range(layers)]
    full, linear = (table.get(name, []) for name in ("full_attn_layers", "kda_layers"))
    for listed in (full, linear):
        if not isinstance(listed, list) or not all(isinstance(one, int) for one in listed):
            raise reader.fail("linear_attn_config", "expected lists of layers")
    for layer in range(1, layers + 1):
        if (layer in full) == (layer in linear):
            raise reader.fail("linear_attn_config", f"layer {layer}: expected in one list")
    return [layer in linear for layer in range(1, layers + 1)]


def _but_last_of_group(reader: ConfigValues, layers: int) -> list[bool]:
    size = reader.number("layer_group_size")
    return [(layer + 1) % size != 0 for layer in range(layers)]


def _listed(reader: ConfigValues, layers: int) -> list[bool]:
    raise reader.fail("layer_types", f"required key is missing: expected {layers} entries")


def _outside_indices(reader: ConfigValues, layers: int) -> list[bool]:
    key = "attn_layer_indices"
    if key not in reader.part:
        reader.assumed[key] = None
    attending = reader.value(key) or []
    if not isinstance(attending, list):
        raise reader.fail(key, f"= {attending!r}: expected a list of layers")
    return [layer not in attending for layer in range(layers)]


def _outside_full_indices(reader: ConfigValues, layers: int) -> list[bool]:
    key = "full_attn_idxs"
    attending = reader.value(key)
    if attending is None:
        reader.assumed[key] = "all layers"
        return [False] * layers
    if not isinstance(attending, list):
        raise reader.fail(key, f"= {attending!r}: expected a list of layers")
    return [layer not in attending for layer in range(layers)]


def _periodic(reader: ConfigValues, layers: int) -> list[bool]:
    period, offset = reader.number("attn_layer_period"), reader.number("attn_layer_offset", 0)
    return [layer % period != offset for layer in range(layers)]


def _repeated(reader: ConfigValues, layers: int) -> list[bool]:
    key = "block_types"
    pattern = reader.value(key)
    if not isinstance(pattern, list) or not pattern:
        raise reader.fail(key, f"= {pattern!r}: expected a list of recurrent and attention")
    for entry in pattern:
        if entry not in ("recurrent", "attention"):
            raise reader.fail(key, f'"{entry}": expected recurrent or attention')
    return [pattern[layer % len(pattern)] == "recurrent" for layer in range(layers)]


FIXED_LAYERS: dict[str, Callable[[int], list[bool]]] = {
    "all": lambda layers: [True] * layers,
    "but_fourths": _but_fourths,
    "odd": lambda layers: [layer % 2 == 1 for layer in range(layers)],
    "odd_and_first": lambda layers: [layer % 2 == 1 or layer == 0 for layer in range(layers)],
}
"""Name of a pattern in `families.toml` that no key decides."""
RECURRENT_LAYERS: dict[str, Pattern] = {
    "listed": _listed,
    "kimi": _kimi,
    "but_last_of_group": _but_last_of_group,
    "outside_attn_layer_indices": _outside_indices,
    "outside_full_attn_idxs": _outside_full_indices,
    "periodic": _periodic,
    "repeated": _repeated,
}
"""Name of a pattern in `families.toml` to the layers with a recurrent mixer."""


class MixerReader(ConfigValues):
    """Reads the recurrent mixers of a config."""

    def recurrent(self) -> Config:
        """Numbers of the recurrent mixer, as in a model file."""
        numbers = MIXERS[self.family.get("mixer") or self.family["attention"]](self)
        return {"recurrent": {"state_bytes": _state_bytes(self)} | numbers}

    def recurrent_layers(self, layers: int) -> list[bool]:
        """Which layers have a recurrent mixer: as `layer_types` says, else as the family does."""
        types = self.types_of_layers(layers)
        if types is not None:
            return [entry in RECURRENT_TYPES for entry in types]
        name = self.family["mixer_layers"]
        if name not in FIXED_LAYERS:
            return RECURRENT_LAYERS[name](self, layers)
        found = FIXED_LAYERS[name](layers)
        if "layer_types" in self.family["keys"]:
            self.assumed["layer_types"] = f"{sum(found)} of {layers} layers recurrent"
        return found

    def types_of_layers(self, layers: int) -> list[Any] | None:
        """Entries of `layer_types` where the family reads it and the file has it."""
        if "layer_types" not in self.family.get("keys", ()):
            return None
        return self.listed("layer_types", layers)
