"""Patterns of layers in a config: which have a sliding window, which have routed experts."""

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


def _all_but_every(reader: ConfigValues, layers: int) -> list[bool]:
    key = "sliding_window_pattern"
    spelled = ("_sliding_window_pattern", key, "global_attn_every_n_layers")
    given = next((reader.part[each] for each in spelled if reader.part.get(each)), None)
    if isinstance(given, str) and given and set(given) <= {"L", "G"}:
        return [given[layer % len(given)] == "L" for layer in range(layers)]
    pattern = reader.family.get("full_every", 6) if given is None else reader.whole(key, given)
    return [(layer + 1) % pattern != 0 for layer in range(layers)]


def _hybrid(reader: ConfigValues, layers: int) -> list[bool]:
    """All but the first and every sixth, or `layer_types`, as transformers has MiMo-V2-Flash."""
    windowed = [layer > 0 and (layer + 1) % 6 != 0 for layer in range(layers)]
    _check_list(reader, "hybrid_layer_pattern", windowed)
    return windowed


def _check_list(reader: ConfigValues, key: str, expected: list[bool]) -> None:
    """Refuse a list that is not the pattern that transformers has."""
    given = reader.listed(key, len(expected))
    if given is None:
        reader.assumed[key] = [int(entry) for entry in expected]
        return
    for i, entry in enumerate(given):
        if bool(entry) != expected[i]:
            raise reader.fail(f"{key}[{i}]", f"= {entry}: expected {int(expected[i])}")


def _listed(reader: ConfigValues, layers: int) -> list[bool]:
    if reader.listed("layer_types", layers) is None:
        raise reader.fail("layer_types", f"required key is missing: expected {layers} entries")
    return [False] * layers


def _if_given(reader: ConfigValues, layers: int) -> list[bool]:
    _, window = reader.of("window")
    return [False] * layers if window is None else _listed(reader, layers)


def _beyond_max(reader: ConfigValues, layers: int) -> list[bool]:
    _, window = reader.of("window")
    first = reader.number("max_window_layers", 0) if window is not None else layers
    return [layer >= first for layer in range(layers)]


def _chunks(reader: ConfigValues, layers: int) -> list[bool]:
    rotated = reader.value("no_rope_layers") and reader.listed("no_rope_layers", layers)
    if rotated:
        return [bool(entry) for entry in rotated]
    interval = reader.number("no_rope_layer_interval")
    return [(layer + 1) % interval != 0 for layer in range(layers)]


def but_fourths_from_last(_: ConfigValues, layers: int) -> list[bool]:
    """All but every fourth layer, from the last on."""
    return [(layers - 1 - layer) % 4 != 0 for layer in range(layers)]


def _but_thirds(reader: ConfigValues, layers: int) -> list[bool]:
    """All but every third layer, from the first on; a window is half of `local_attention`."""
    local, (key, window) = reader.value("local_attention"), reader.of("window")
    if local is not None and reader.whole("local_attention", local) // 2 != window:
        raise reader.fail(key, f"= {window}: expected half of local_attention = {local}")
    step = reader.value("global_attn_every_n_layers")
    every = 3 if step is None else reader.whole("global_attn_every_n_layers", step)
    return [layer % every != 0 for layer in range(layers)]


Pattern = Callable[[ConfigValues, int], list[bool]]
WINDOWS: dict[str, Pattern] = {
    "none": lambda _, layers: [False] * layers,
    "listed": _listed,
    "none_unless_listed": lambda _, layers: [False] * layers,
    "all": lambda _, layers: [True] * layers,
    "if_used": lambda reader, layers: [bool(reader.flag("use_sliding_window"))] * layers,
    "from_max_window_layers": _from_max,
    "even_below_max_window_layers": _even_below_max,
    "even": lambda _, layers: [layer % 2 == 0 for layer in range(layers)],
    "but_every_nth": _all_but_every,
    "hybrid": _hybrid,
    "chunks": _chunks,
    "listed_if_given": _if_given,
    "beyond_max_window_layers": _beyond_max,
    "but_thirds": _but_thirds,
    "but_fourths_from_last": but_fourths_from_last,
    "fourths_but_first": lambda _, layers: [
        layer % 4 == 0 and layer > 0 for layer in range(layers)
    ],
}
"""Name of a pattern in `families.toml` to the layers with a sliding window."""


def _crossed_listed(reader: ConfigValues, layers: int) -> list[bool]:
    key = "cross_attention_layers"
    if reader.value(key) is None:
        listed = reader.assumed[key] = reader.defaults[key]
    else:
        listed = reader.layer_numbers(key)
    return [layer in listed for layer in range(layers)]


CROSSED: dict[str, Pattern] = {
    "none": lambda _, layers: [False] * layers,
    "listed": _crossed_listed,
    "odd": lambda _, layers: [layer % 2 == 1 for layer in range(layers)],
}
"""Name of a pattern in `families.toml` to the layers of cross attention to images."""


def _sparse_types(reader: ConfigValues, layers: int) -> list[bool] | None:
    types = reader.listed("mlp_layer_types", layers)
    return None if types is None else [entry == "sparse" for entry in types]


def _after_dense(reader: ConfigValues, layers: int) -> list[bool]:
    first = reader.number(reader.family.get("dense_layers", "first_k_dense_replace"), 0)
    return [layer >= first for layer in range(layers)]


def _from_first(reader: ConfigValues, layers: int) -> list[bool]:
    if (sparse := _sparse_types(reader, layers)) is not None:
        return sparse
    pattern = reader.listed("moe_layer_freq", layers)
    if pattern is not None:
        return [bool(entry) for entry in pattern]
    frequency = reader.value("moe_layer_freq")
    if frequency not in (None, 1):
        raise reader.fail("moe_layer_freq", f"= {frequency}: expected 1, or a list")
    return _after_dense(reader, layers)


def _but_first(reader: ConfigValues, layers: int) -> list[bool]:
    sparse = _sparse_types(reader, layers) or [layer > 0 for layer in range(layers)]
    _check_list(reader, "moe_layer_freq", sparse)
    return sparse


def _started(reader: ConfigValues, layers: int) -> list[bool]:
    first = reader.number("moe_layer_start_index", 0)
    last = reader.value("moe_layer_end_index")
    last = layers - 1 if last is None else reader.whole("moe_layer_end_index", last, -1)
    last = layers - 1 if last == -1 else last
    step = reader.number("moe_layer_interval")
    return [(layer + 1) % step == 0 and first <= layer <= last for layer in range(layers)]


def _listed_sparse(reader: ConfigValues, layers: int) -> list[bool]:
    if (sparse := _sparse_types(reader, layers)) is not None:
        return sparse
    pattern = reader.listed("moe_layer_freq", layers)
    if pattern is None:
        reader.assumed["moe_layer_freq"] = 1
        return [True] * layers
    return [bool(entry) for entry in pattern]


def _sparse_step(reader: ConfigValues, layers: int) -> list[bool]:
    step = reader.number("decoder_sparse_step")
    dense = reader.layer_numbers("mlp_only_layers")
    return [layer not in dense and (layer + 1) % step == 0 for layer in range(layers)]


def _enumerated(reader: ConfigValues, layers: int) -> list[bool]:
    if (sparse := _sparse_types(reader, layers)) is not None:
        return sparse
    written = reader.value("moe_layers_enum")
    if written is None:
        return _after_dense(reader, layers)
    try:
        sparse_layers = [int(entry) for entry in written.split(",")]
    except (AttributeError, ValueError):
        raise reader.fail(
            "moe_layers_enum", f"= {written!r}: expected layer numbers, such as 3,4,5"
        ) from None
    return [layer in sparse_layers for layer in range(layers)]


def _interleaved(reader: ConfigValues, layers: int) -> list[bool]:
    if reader.value("moe_layers") is not None:
        given = reader.layer_numbers("moe_layers")
        return [layer in given for layer in range(layers)]
    step = reader.number("interleave_moe_layer_step")
    return [(layer + 1) % step == 0 for layer in range(layers)]


def _after_dense_layers(reader: ConfigValues, layers: int) -> list[bool]:
    first = reader.number("num_dense_layers", 0)
    return [layer >= first for layer in range(layers)]


def _periodic(reader: ConfigValues, layers: int) -> list[bool]:
    period, offset = reader.number("expert_layer_period"), reader.number("expert_layer_offset", 0)
    routed = reader.size("experts") > 1
    return [routed and layer % period == offset for layer in range(layers)]


def _if_any_experts(reader: ConfigValues, layers: int) -> list[bool]:
    return [reader.size("experts", 0) > 0] * layers


BLOCKS = {"M": "mamba", "E": "moe", "*": "attention", "-": "mlp"}
"""Letters of a hybrid pattern to the kind of a layer."""
BLOCK_NAMES = {"mamba": "mamba", "linear_attention": "mamba", "moe": "moe", "mlp": "mlp",
               "attention": "attention", "full_attention": "attention"}  # fmt: skip


def block_types(reader: ConfigValues, layers: int) -> list[str] | None:
    """Kind of each layer of a model whose layers have one branch; None for other models."""
    if reader.family.get("moe_layers") != "blocks":
        return None
    types = reader.listed("layers_block_type", layers)
    pattern = reader.value("hybrid_override_pattern")
    if types is None:
        if not isinstance(pattern, str) or len(pattern) != layers:
            raise reader.fail(
                "hybrid_override_pattern", f"expected {layers} letters, or a list layers_block_type"
            )
        types = [BLOCKS.get(letter, letter) for letter in pattern]
    for entry in types:
        if entry not in BLOCK_NAMES:
            expected = ", ".join(BLOCK_NAMES)
            raise reader.fail("layers_block_type", f'"{entry}": expected one of {expected}')
    return [BLOCK_NAMES[entry] for entry in types]


def linear_layers(reader: ConfigValues, layers: int) -> list[bool]:
    """Which layers have a gated delta net instead of attention."""
    types = reader.listed("layer_types", layers)
    if types is None:
        interval = reader.number("full_attention_interval")
        return [(layer + 1) % interval != 0 for layer in range(layers)]
    for entry in types:
        if entry not in ("linear_attention", "full_attention"):
            raise reader.fail(
                "layer_types", f'"{entry}": expected linear_attention or full_attention'
            )
    return [entry == "linear_attention" for entry in types]


RATIOS = {0: "sliding_attention", 4: "compressed_sparse_attention",
          128: "heavily_compressed_attention"}  # fmt: skip
"""Entries of `compress_ratios` to the names of `layer_types`, as transformers maps them."""


def compressed_layers(reader: ConfigValues, layers: int) -> list[tuple[int, bool]]:
    """Tokens per compressed KV entry (0: no entries), and whether it has an indexer, by layer."""
    types = reader.listed("layer_types", layers)
    if types is None:
        ratios = reader.listed("compress_ratios", layers)
        if ratios is None:
            raise reader.fail(
                "compress_ratios", f"required key is missing: expected {layers} entries"
            )
        for ratio in ratios:
            if ratio not in RATIOS:
                expected = ", ".join(map(str, RATIOS))
                raise reader.fail("compress_ratios", f"{ratio!r}: expected one of {expected}")
        types = [RATIOS[ratio] for ratio in ratios]
    _, sparse, heavy = RATIOS.values()
    strides = {name: stride for stride, name in RATIOS.items()}
    strides |= reader.value("compress_rates") or {}
    for name, key in ((sparse, "compress_rate_csa"), (heavy, "compress_rate_hca")):
        if reader.value(key) is not None:
            strides[name] = reader.number(key)
    for entry in types:
        if entry not in RATIOS.values():
            raise reader.fail("layer_types", f'"{entry}": expected {" or ".join(RATIOS.values())}')
    return [(reader.whole("compress_rates", strides[entry], 0), entry == sparse) for entry in types]


MOE_LAYERS: dict[str, Pattern] = {
    "none": lambda _, layers: [False] * layers,
    "every": lambda _, layers: [True] * layers,
    "from_first": _from_first,
    "but_first": _but_first,
    "sparse_step": _sparse_step,
    "interleaved": _interleaved,
    "enumerated": _enumerated,
    "listed": _listed_sparse,
    "if_enabled": lambda reader, layers: [bool(reader.flag("enable_moe_block"))] * layers,
    "blocks": lambda _, layers: [False] * layers,
    "started": _started,
    "odd": lambda _, layers: [layer % 2 == 1 for layer in range(layers)],
    "after_dense_layers": _after_dense_layers,
    "periodic": _periodic,
    "if_any_experts": _if_any_experts,
}
"""Name of a pattern in `families.toml` to the layers with routed experts."""


def factor_of(reader: ConfigValues, key: str) -> float:
    """Value of a key that holds a factor, which may be a fraction."""
    factor = reader.value(key)
    if (
        isinstance(factor, bool)
        or not isinstance(factor, int | float)
        or not 0 < factor < LARGEST_FACTOR
    ):
        raise reader.fail(key, f"= {factor!r}: expected above 0 and below {LARGEST_FACTOR:,}")
    return factor


def _two_thirds(reader: ConfigValues) -> int:
    """`block_auto_adjust_ff_dim`: two thirds, times a factor, up to a multiple (LFM2)."""
    width = reader.size("width")
    if not reader.flag("block_auto_adjust_ff_dim"):
        return width
    width = int(2 * width / 3)
    key = "block_ffn_dim_multiplier"
    if key in reader.part and reader.part[key] is None:
        return width
    factor = factor_of(reader, key)
    multiple = reader.number("block_multiple_of")
    return -(-int(factor * width) // multiple) * multiple


LARGEST_FACTOR = 10_000
WIDTHS: dict[str, Callable[[ConfigValues], int]] = {
    "half": lambda reader: reader.size("width", 2) // 2,
    "two_thirds": _two_thirds,
}
"""Name of a rule in `families.toml` to the width of a dense MLP."""
