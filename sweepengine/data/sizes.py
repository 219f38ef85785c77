"""Sizes in a config that follow from others: key-value heads, widths, norms, the two ends."""

from collections.abc import Callable

from sweepengine.data.configs import Config, ConfigValues, families
from sweepengine.data.errors import shown


def _heads_if_missing(reader: ConfigValues, heads: int) -> int:
    key, value = reader.of("key_value_heads")
    if value is None:
        reader.assumed[key] = heads
        return heads
    return reader.whole(key, value)


def _one_if_multi_query(reader: ConfigValues, heads: int) -> int:
    reader.of("key_value_heads")  # transformers derives it, and writes it too
    return 1 if reader.flag("multi_query") else heads


def _falcon(reader: ConfigValues, heads: int) -> int:
    key, value = reader.of("key_value_heads")
    if not reader.flag("new_decoder_architecture"):
        return 1 if reader.flag("multi_query") else heads
    reader.flag("multi_query")
    return _heads_if_missing(reader, heads) if value is None else reader.whole(key, value)


def _of_class_if_missing(reader: ConfigValues, heads: int) -> int:
    key, value = reader.of("key_value_heads")
    of_class = families()["class_key_value_heads"].get(reader.type)
    if value is None and of_class == 0:
        return _heads_if_missing(reader, heads)
    if value is None and of_class and key not in reader.part:
        reader.assumed[key] = of_class
        return int(of_class)
    return reader.size("key_value_heads")


KEY_VALUE_HEADS: dict[str, Callable[[ConfigValues, int], int]] = {
    "given": _of_class_if_missing,
    "heads_if_missing": _heads_if_missing,
    "one_if_multi_query": _one_if_multi_query,
    "falcon": _falcon,
}
"""Name of a rule in `families.toml` to the number of key-value heads."""


def kv_heads_of(reader: ConfigValues, heads: int) -> int:
    """Key-value heads of a layer with that many query heads."""
    return KEY_VALUE_HEADS[reader.family.get("key_value_rule", "given")](reader, heads)


WINDOW_HEADS = {
    "swa_num_attention_heads": ("num_attention_heads", 1),
    "swa_num_key_value_heads": ("num_key_value_heads", 2),
    "swa_head_dim": ("head_dim", 1),
    "swa_v_head_dim": ("v_head_dim", 1),
}
"""Keys of layers with a window to the key that decides them in transformers, and how many times."""


def check_window_heads(reader: ConfigValues) -> None:
    """Refuse heads of layers with a window that are not those of transformers (MiMo-V2-Flash)."""
    for key, (decides, times) in WINDOW_HEADS.items():
        given, expected = reader.value(key), times * reader.number(decides)
        if given is None:
            reader.assumed[key] = expected
        elif given != expected:
            factor = "twice " if times > 1 else ""
            raise reader.fail(key, f"= {shown(given)}: expected {expected}, {factor}{decides}")


def expert_bias(reader: ConfigValues) -> bool:
    """Whether experts have biases. Refused where shared experts alone would have them."""
    bias = reader.switch("mlp_bias")
    if bias and reader.family.get("unbiased_experts"):
        raise reader.fail("mlp_bias", "= true: expected false beside routed experts")
    return bias


def _two_unless_parallel(reader: ConfigValues) -> int:
    return 1 if reader.flag("use_parallel_residual") else 2


def _four_if_post_norm(reader: ConfigValues) -> int:
    return 4 if reader.flag("use_post_norm") else 2


def _falcon_norms(reader: ConfigValues) -> int:
    given = reader.value("num_ln_in_parallel_attn")
    if given is None:
        given = 2 if reader.flag("new_decoder_architecture") else 1
    norms = reader.whole("num_ln_in_parallel_attn", given)
    if norms > 2:
        raise reader.fail("num_ln_in_parallel_attn", f"= {norms}: expected 1 or 2")
    return norms if reader.flag("parallel_attn") else 2


BLOCK_NORMS: dict[str, Callable[[ConfigValues], int]] = {
    "two_unless_parallel": _two_unless_parallel,
    "four_if_post_norm": _four_if_post_norm,
    "falcon": _falcon_norms,
}
"""Name of a rule in `families.toml` to the norms of a layer."""


def block_norms(reader: ConfigValues) -> int:
    """Block norms of a layer."""
    norms = reader.family.get("norms", 2)
    return BLOCK_NORMS[norms](reader) if isinstance(norms, str) else int(norms)


def mlp_width(reader: ConfigValues) -> int:
    """Inner width of a dense MLP; where no key has it, a multiple of the hidden width."""
    key, value = reader.of("width")
    factor = reader.family.get("width_factor")
    if value is None and factor is not None:
        times = reader.number(factor) if isinstance(factor, str) else int(factor)
        reader.assumed[key] = times * reader.size("hidden")
        return times * reader.size("hidden")
    parts = int(reader.family.get("width_parts", 1))
    width = reader.size("width")
    if width % parts:
        raise reader.fail(key, f"= {width}: expected a multiple of {parts}")
    return width // parts


def output_gate(reader: ConfigValues, width: int) -> int:
    """Gates a head that mixed values are multiplied by; with a key, as it says."""
    gate = reader.family.get("output_gate", "none")
    if gate == "gating":
        given = reader.value("gating")
        gates = {True: "head", "per-head": "head", False: "whole", "per-element": "whole"}
        if given not in gates:
            raise reader.fail("gating", f"= {given!r}: expected true, false or per-element")
        gate = gates[given]
    return {"none": 0, "head": 1, "whole": width}[gate]


def ends(reader: ConfigValues) -> Config:
    """Norms of all layers, token table, positions and head, as in a model file."""
    family = reader.family
    weights, flops = families()["norms"][family.get("norm", "rms")]
    found: Config = {
        "norm_weights": weights,
        "norm_flops": flops,
        "final_norm": reader.switch("final_norm") if "final_norm" in family else True,
        "head_bias": reader.switch("head_bias"),
        "head_layer": reader.switch("head_layer"),
        "head_layer_bias": reader.switch("head_layer_bias"),
        "table_norm": reader.switch("table_norm"),
        "more_rows": _more_rows(reader),
        "table_norm_weights": family.get("table_norm_weights", weights),
    }
    if key := family.get("positions"):
        found["positions"] = reader.number(key) + family.get("position_offset", 0)
    if key := family.get("table_width"):
        width = reader.value(key)
        hidden = reader.size("hidden")
        width = hidden if width is None else reader.whole(key, width)
        found["table_width"] = 0 if width == hidden else width
    if "hidden_size_per_layer_input" in family.get("keys", ()):
        found |= layer_inputs(reader)
    if key := family.get("alternatives"):
        found["alternatives"] = reader.number(key)
    if key := family.get("laurel_rank"):
        found["laurel_rank"] = reader.number(key)
    return found


def _more_rows(reader: ConfigValues) -> int:
    """Rows of the token table beyond the vocabulary: a number of the family, or of a key."""
    rows = reader.family.get("more_rows", 0)
    return reader.number(rows, 0) if isinstance(rows, str) else int(rows)


def layer_inputs(reader: ConfigValues) -> Config:
    """Inputs that layers have for themselves, as in a model file."""
    width = reader.number("hidden_size_per_layer_input", 0)
    if not width:
        return {}
    return {
        "input_width": width,
        "input_layers": reader.size("layers"),
        "input_rows": reader.number("vocab_size_per_layer_input"),
    }


def expert_widths(reader: ConfigValues) -> tuple[int, int]:
    """Widths of routed experts, and of those that tokens of images take; 0: they take the same."""
    if not reader.family.get("image_experts"):
        return reader.size("expert_width"), 0
    key, widths = reader.of("expert_width")
    if not isinstance(widths, list) or len(widths) != 2:
        raise reader.fail(key, f"= {shown(widths)}: expected the widths for text and for images")
    return reader.whole(key, widths[0]), reader.whole(key, widths[1])


def idle_experts(reader: ConfigValues) -> int:
    """Experts that give back their input."""
    key = reader.family.get("idle_experts")
    return reader.number(key, 0) if key and reader.value(key) is not None else 0


def borrowed_layers(reader: ConfigValues, layers: int) -> list[bool]:
    """Which layers take keys and values of an earlier one: the last ones, where a key says so."""
    key = "num_kv_shared_layers"
    if key not in reader.family.get("keys", ()):
        return [False] * layers
    shared = reader.number(key, 0)
    if shared >= layers:
        raise reader.fail(key, f"= {shared}: expected less than the {layers} layers")
    return [layer >= layers - shared for layer in range(layers)]


def indexed_layers(reader: ConfigValues, layers: int) -> list[bool]:
    """Which layers choose keys by their indexer; the others take the choice of an earlier one.

    Where no list says so, each `index_topk_freq`-th behind the first `index_skip_topk_offset`.
    Source: transformers 5.23, configuration_glm_moe_dsa.py.
    """
    if types := reader.listed("indexer_types", layers):
        return [entry == "full" for entry in types]
    every, skipped = reader.value("index_topk_freq"), reader.value("index_skip_topk_offset")
    every = 1 if every is None else reader.whole("index_topk_freq", every)
    skipped = 2 if skipped is None else reader.whole("index_skip_topk_offset", skipped, 0)
    return [max(layer - skipped + 1, 0) % every == 0 for layer in range(layers)]


def latent_value_width(reader: ConfigValues) -> int:
    """Width of a head's values where keys and values have a latent."""
    key = "v_head_dim"
    if reader.value(key) is None and reader.family.get("values_of_hidden"):
        width = reader.size("hidden") // reader.size("heads")
        reader.assumed[key] = width
        return reader.whole(key, width)
    return reader.number(key)


def global_heads(
    reader: ConfigValues, shared: bool, width: int, key_value_heads: int
) -> tuple[int, int]:
    """Width of a head and key-value heads of layers without a window (Gemma 4).

    transformers 5.23 writes them for each such layer, earlier versions once.

    Parameters
    ----------
    reader : ConfigValues
        The config.
    shared : bool
        Keys serve as values.
    width, key_value_heads : int
        Of the other layers.
    """
    key = "per_layer_config"
    table = reader.value(key)
    if table:
        settings = list(table.values()) if isinstance(table, dict) else [None]
        first = settings[0]
        if not isinstance(first, dict) or any(one != first for one in settings):
            raise reader.fail(key, "expected the same settings for each layer without a window")
        if unknown := set(first) - {"head_dim", "num_key_value_heads"}:
            raise reader.fail(key, f"{min(unknown)}: expected head_dim or num_key_value_heads")
        wide = reader.whole(key, first.get("head_dim", width))
        return wide, reader.whole(key, first.get("num_key_value_heads", key_value_heads))
    wide = reader.number("global_head_dim")
    if not shared:
        return wide, key_value_heads
    if reader.value("num_global_key_value_heads") is not None:
        return wide, reader.number("num_global_key_value_heads")
    reader.assumed["num_global_key_value_heads"] = key_value_heads
    return wide, key_value_heads
