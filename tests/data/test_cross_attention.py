"""Decoders that attend to features of images: figures, sums and backends of small configs."""

import json

import polars as pl
import pytest

import sweepengine as se
from sweepengine.costs.metrics import reserved_kv_cache_bytes
from sweepengine.costs.spec_sheet import spec_sheet
from sweepengine.data.configs import PARTS
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.formulas.architecture import FLASH
from sweepengine.formulas.attention import attention_core, feature_keys, feature_values, projections
from sweepengine.formulas.attention_times import cross_attention
from sweepengine.formulas.cost import NOTHING
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.operator_rates import PrefillRates
from sweepengine.formulas.passes import pass_of, steps_of
from sweepengine.formulas.tokens import layers_run
from sweepengine.grid.plain import workload_of
from sweepengine.grid.points import checked_point
from tests.data.backends import check_figures, check_seconds, check_timeline, check_tree
from tests.data.configs import write

TEXT = {"model_type": "mllama_text_model", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 320, "pad_token_id": 0, "cross_attention_layers": [1, 3]}  # fmt: skip
CROSSED = {
    "model_type": "mllama",
    "text_config": TEXT,
    "vision_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_global_layers": 1,
                      "attention_heads": 4, "intermediate_size": 48, "image_size": 28,
                      "patch_size": 14, "intermediate_layers_indices": [0],
                      "vision_output_dim": 64},
}  # fmt: skip
"""2 of 4 layers attend to 4 tiles of 5 features, 20 in all."""
ENCODED = {
    "model_type": "vision-encoder-decoder",
    "encoder": {"model_type": "donut-swin", "image_size": [64, 64], "embed_dim": 4,
                "depths": [1, 1, 1, 1], "num_heads": [2, 2, 2, 2], "window_size": 2},
    "decoder": {"model_type": "mbart", "d_model": 32, "decoder_layers": 3, "vocab_size": 320,
                "decoder_attention_heads": 4, "decoder_ffn_dim": 48,
                "max_position_embeddings": 100, "scale_embedding": True},
}  # fmt: skip
"""3 layers of two parts each."""
HEARD = {"model_type": "whisper", "d_model": 64, "decoder_layers": 2, "encoder_layers": 2,
         "decoder_attention_heads": 4, "encoder_attention_heads": 4, "decoder_ffn_dim": 96,
         "encoder_ffn_dim": 96, "vocab_size": 320, "max_source_positions": 50,
         "pad_token_id": 0}  # fmt: skip
SEEN_WITH_TEXT = {
    "model_type": "florence2",
    "text_config": {"model_type": "bart", "d_model": 32, "decoder_layers": 3, "encoder_layers": 2,
                    "decoder_attention_heads": 4, "encoder_attention_heads": 2,
                    "decoder_ffn_dim": 48, "encoder_ffn_dim": 40, "vocab_size": 320,
                    "max_position_embeddings": 700, "scale_embedding": True},
    "vision_config": {"model_type": "florence_vision", "embed_dim": [8, 16, 24, 32],
                      "depths": [1, 1, 2, 1], "num_heads": [2, 2, 2, 2],
                      "num_groups": [2, 4, 2, 2], "projection_dim": 32},
}  # fmt: skip
"""An encoder of 2 layers takes 577 features and 10 tokens of text."""
CONFIGS = {
    "mllama": CROSSED,
    "vision-encoder-decoder": ENCODED,
    "whisper": HEARD,
    "florence2": SEEN_WITH_TEXT,
}


@pytest.fixture(params=CONFIGS)
def model(request, tmp_path):
    return load_model(write(tmp_path, CONFIGS[request.param]))


def crossed_group(model):
    (group,) = [group for group in model.architecture.groups if group.attention.crossed]
    return group


def test_figures_of_cross_attention_are_those_worked_by_hand(tmp_path):
    own = crossed_group(load_model(write(tmp_path, CROSSED))).attention
    assert (own.heads, own.key_value_heads, own.key_width, own.rotary_width) == (4, 2, 16, 0)
    assert (own.query_norm, own.key_norm, own.gates) == (16, 16, 2)
    # Queries and outputs of 3 tokens; keys and values of 20 features, 2 heads of 16 each.
    around = projections(own, 64, 3, 20, 0)
    assert around.weights == 2 * 64 * 64
    assert around.tensor_flops == 2 * 3 * 2 * 64 * 64
    made = feature_keys(own, 64, 20, 3)
    assert made.tensor_flops == 2 * 20 * 64 * 64
    assert made.cuda_flops == 3 * 20 * 32
    assert made.activation_io == 20 * (64 + 64) + 2 * 20 * 32
    assert made.weights == made.weight_io == 64 * 64 + 16
    again = feature_keys(own, 64, 0, 3)
    assert again == NOTHING._replace(weights=made.weights)
    core = attention_core(own, 3, 20, 0, FLASH, 0)
    assert core.tensor_flops == 2 * 4 * 3 * 20 * 32
    assert core.cuda_flops == 5 * 4 * 3 * 20
    assert core.activation_io == 3 * 64
    assert core.kv_io == 20 * 64 == 20 * feature_values(own)


def test_biases_of_keys_are_absent_where_the_code_has_none(tmp_path):
    biased, heard = (
        crossed_group(load_model(write(tmp_path, config))).attention for config in (ENCODED, HEARD)
    )
    assert feature_keys(biased, 32, 1, 5).weights == 2 * 32 * 32 + 2 * 32
    assert feature_keys(heard, 64, 1, 5).weights == 2 * 64 * 64 + 64
    assert projections(heard, 64, 1, 1, 0).weights == 2 * 64 * 64 + 2 * 64


def test_gates_scale_both_branches(tmp_path):
    arch = load_model(write(tmp_path, CROSSED)).architecture
    plain, gated = (
        part.operators.residuals for part in pass_of(share_of(arch, 0, 0), 3, 0, FLASH, 0, 20)[1:]
    )
    assert (gated.weights, gated.cuda_flops - plain.cuda_flops) == (2, 2 * 3 * 64)
    assert gated.activation_io == plain.activation_io


def test_all_steps_meet_as_many_features(model):
    arch = model.architecture
    share = share_of(arch, 0, 0)
    several = steps_of(share, arch.convention, 9, 5, FLASH, 0, 20)
    first = steps_of(share, arch.convention, 9, 1, FLASH, 0, 20)
    position = arch.groups.index(crossed_group(model)) + 1
    for many, one in zip(several[position].operators, first[position].operators, strict=True):
        assert many.tensor_flops == 5 * one.tensor_flops
        assert many.kv_io == 5 * one.kv_io
    cost = first[position].operators
    assert cost.attention.kv_io == 20 * feature_values(crossed_group(model).attention)
    assert cost.feature_keys == NOTHING._replace(weights=cost.feature_keys.weights)


def test_layers_without_features_do_not_run(model):
    group = crossed_group(model)
    assert (layers_run(group, 0), layers_run(group, 1)) == (0, group.layers)
    other = group._replace(attention=group.attention._replace(crossed=0))
    assert layers_run(other, 0) == group.layers


def test_text_alone_costs_what_the_model_without_its_images_costs(tmp_path):
    both = load_model(write(tmp_path, CROSSED))
    text = load_model(write(tmp_path, TEXT))
    of_both = se.cost(both, text_tokens=30, images=0, decode_steps=4)
    of_text = se.cost(text, prompt_tokens=30, decode_steps=4)
    for name, value in of_text.items():
        if name != "weight_bytes":
            assert of_both[name] == value, name
    assert of_both["weight_bytes"] - of_text["weight_bytes"] == 2 * both.vision_parameter_count
    assert text.parameter_count == both.parameter_count - both.vision_parameter_count


@pytest.mark.parametrize(("weight_format", "size"), [("checkpoint", 2), ("fp8-tensor", 1)])
def test_steps_read_all_weights_but_those_that_make_keys(model, weight_format, size):
    group, hidden = crossed_group(model), model.architecture.backbone.hidden
    point = checked_point(model, {"text_tokens": 7, "weight_format": weight_format})
    figures = workload_of(model.architecture, point).figures
    weights, prompt = figures.weights, figures.tokens.prefill
    own = group.attention
    matrices = hidden * own.key_value_heads * (own.key_width + own.value_width)
    others = feature_keys(own, hidden, 1, 3).weights - matrices
    more = weights.prefill_read_bytes - weights.read_bytes
    scales = 2 * 4 * (size == 1)  # one of each matrix
    keys = group.layers * (size * matrices + scales + 2 * others)
    positions = min(prompt, model.architecture.backbone.positions) - 1
    assert more == keys + positions * weights.position_row_bytes


def test_cache_holds_the_keys_of_features_beside_those_of_tokens(model):
    arch, group = model.architecture, crossed_group(model)
    one, two = (se.cost(model, text_tokens=7, decode_steps=5, images=n) for n in (1, 2))
    features = two["image_features"] - one["image_features"]
    tokens = two["image_tokens"] - one["image_tokens"]
    more = group.layers * features * feature_values(group.attention) * 2
    more += tokens * model.kv_bytes_per_token
    for name in ("prefill_kv_cache_bytes", "decode_kv_cache_bytes"):
        assert two[name] - one[name] == more
    assert arch.crossed_rows(features) == features


AXES = {
    "text_tokens": [1, 70],
    "images": [0, 1, 3],
    "decode_steps": [0, 3],
    "cached_tokens": [0, 9],
    "batch_size": [1, 5],
    "attention": ["eager", "flash"],
    "layout": ["tp1", "tp2", "tp2-pp2"],
    "precision": ["checkpoint", "int8", "fp8-kv8"],
}


def test_compiled_figures_are_those_of_plain_python(model, monkeypatch):
    check_figures(model, AXES, monkeypatch)


def test_compiled_seconds_are_those_of_plain_python(model):
    check_seconds(model, AXES)


def test_images_take_time_in_every_pass(model):
    at = {"text_tokens": 70, "batch_size": 64, "device": "h100-sxm"}
    none, one, many = (se.cost(model, **at, images=images) for images in (0, 1, 900))
    for name in ("prefill_seconds", "tpot_seconds"):
        assert none[name] < one[name] < many[name]


POINT = {"text_tokens": 1, "decode_steps": 3, "batch_size": 2, "weight_format": "int8"}


def test_lines_of_the_tree_add_up_to_the_columns(model):
    first, later = check_tree(model, POINT, "keys of features")
    assert first.tensor_flops > later.tensor_flops == 0


def test_times_of_operators_add_up_to_the_phases(model):
    check_timeline(model, POINT)


def test_engines_reserve_whole_pages_of_features(model):
    group = crossed_group(model)
    frame = se.evaluate(pl.DataFrame({"text_tokens": [0, 0], "images": [0, 1]}), model)
    frame = frame.with_columns(decode_steps=pl.lit(0)).with_columns(
        reserved=reserved_kv_cache_bytes(model)
    )
    none, one = frame["reserved"].to_list()
    pages = -(-frame["image_features"][1] // 16)
    more = group.layers * feature_values(group.attention) * 2 * 16 * pages
    tokens = min(frame["image_tokens"][1], 1) * 16 * model.kv_bytes_per_token
    assert (none, one) == (0, more + tokens)


def test_spec_sheet_says_what_the_features_hold(model):
    (_, rows), *_ = spec_sheet(model)
    group = crossed_group(model)
    costs = se.cost(model, text_tokens=1)
    size = 2 * group.layers * feature_values(group.attention) * costs["image_features"]
    assert dict(rows)["KV cache of cross attention"].startswith(f"{size:,} bytes")


def test_list_of_layers_is_checked(tmp_path):
    path = write(tmp_path, {**TEXT, "cross_attention_layers": "all"})
    with pytest.raises(InputError, match="cross_attention_layers = 'all': expected a list"):
        load_model(path)
    default = load_model(write(tmp_path, {**TEXT, "cross_attention_layers": None}))
    assert default.assumed["cross_attention_layers"][:2] == [3, 8]
    assert crossed_group(default).layers == 1


def read_or_refused(path):
    """What a config is read as; None where it is refused."""
    try:
        model = load_model(path)
    except InputError:
        return None
    return model.architecture, model.assumed


def changed(kind, key, value):
    """The config with another value of a key of its decoder; None: without it."""
    config = json.loads(json.dumps(CONFIGS[kind]))
    table = next((config[part] for part in PARTS if part in config), config)
    table.pop(key)
    if value is not None:
        table[key] = value
    return config


@pytest.mark.parametrize("kind", CONFIGS)
def test_no_key_of_a_decoder_is_silently_ignored(kind, tmp_path):
    whole = load_model(write(tmp_path, CONFIGS[kind]))
    table = next((CONFIGS[kind][part] for part in PARTS if part in CONFIGS[kind]), CONFIGS[kind])
    silent = []
    for key in set(table) - {"model_type", "pad_token_id"}:
        value = table[key]
        other = not value if isinstance(value, bool) else value * 2
        for changed_to in (None, [1] if isinstance(value, list) else other):
            found = read_or_refused(write(tmp_path, changed(kind, key, changed_to)))
            if found == (whole.architecture, whole.assumed):
                silent.append((key, changed_to))
    assert silent == []


@pytest.mark.parametrize("kind", CONFIGS)
def test_unknown_keys_of_a_decoder_are_refused_by_name(kind, tmp_path):
    config = json.loads(json.dumps(CONFIGS[kind]))
    next((config[part] for part in PARTS if part in config), config)["cross_gate"] = 1
    with pytest.raises(InputError, match="cross_gate: unknown key"):
        load_model(write(tmp_path, config))


def test_decoder_of_another_type_is_refused_by_its_name(tmp_path):
    config = {**ENCODED, "decoder": {**ENCODED["decoder"], "model_type": "trocr"}}
    with pytest.raises(InputError, match='"trocr" is not supported, as it is an encoder'):
        load_model(write(tmp_path, config))
    with pytest.raises(InputError, match='"mbart" is not supported, as it is an encoder'):
        load_model(write(tmp_path, {**ENCODED["decoder"]}))


def test_stages_that_the_image_rule_does_not_expect_are_refused(tmp_path):
    encoder = {**ENCODED["encoder"], "depths": [1, 1], "num_heads": [2, 2], "embed_dim": 16}
    with pytest.raises(InputError, match="expected the patches an edge of a feature = 8"):
        load_model(write(tmp_path, {**ENCODED, "encoder": encoder}))


def test_seconds_of_attention_to_features_are_those_worked_by_hand():
    rates = PrefillRates(launch=3.0, latency=0.5, block=2.0, pad=7.0, width_pad=0.0, outside=0.5,
                         flops=64.0, bytes=32.0, overlap=0.25, resident=0.5,
                         resident_bytes=1e3)  # fmt: skip
    # 2 sequences, 4 heads of 16 channels and 2 of keys, 3 tokens, 20 features, a byte a value.
    found = cross_attention(2.0, 4.0, 2.0, 16.0, 3.0, 20.0, 1.0, rates)
    work, moved = 4 * 2 * 4 * 3 * 20 * 16, 2 * 16 * (4 * 4 * 3 + 2 * 2 * 20)
    assert found == 3 + 0.5 * 20 + 2 * 2 * 4 * 16 / 128 + work / 64 + 0.25 * moved / 32
