"""Types of text decoders are exact at class defaults of transformers, or refused by a reason."""

import csv
import json
import logging
from pathlib import Path

import pytest
from transformers import CONFIG_MAPPING

import sweepengine as se
from sweepengine.data.configs import uncovered
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.formulas.attention import attention_core, cached_values
from sweepengine.formulas.layers import decoder_ends
from sweepengine.formulas.points import Point
from sweepengine.grid.counted import point_columns
from sweepengine.grid.files import parse_grid
from sweepengine.validation.decoders import READ, decoder_types, no_decoders
from tests.data.configs import all_configs, write
from tests.data.test_huggingface import compare

logging.getLogger("transformers").setLevel(logging.ERROR)
VALUES = list(csv.DictReader((Path(__file__).parent / "text_families.csv").open(encoding="utf-8")))
"""Figures of whole models, counted by torch 2.13 with transformers 5.23 on the meta device."""


def saved(kind, **numbers):
    """A config as transformers saves it."""
    return json.loads(json.dumps(CONFIG_MAPPING[kind](**numbers).to_dict(), default=str))


def figures(model):
    """Parameters, FLOPs of a prefill of 100 tokens and of a step behind it, latents expanded."""
    point = Point(0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 100, 0, 0)
    columns = point_columns(model.architecture, point)
    return (
        model.parameter_count,
        columns["prefill_tensor_flops"],
        columns["decode_tensor_flops"],
    )


@pytest.mark.parametrize("row", VALUES, ids=[row["model"] for row in VALUES])
def test_check_values_come_out_to_the_unit(row, tmp_path):
    config = saved(row["type"], **json.loads(row["numbers"] or "{}"))
    expected = tuple(int(row[name]) for name in ("parameters", "prefill of 100", "step at 100"))
    assert figures(load_model(write(tmp_path, config))) == expected


def test_every_type_of_transformers_is_read_or_refused_by_a_reason():
    found = decoder_types()
    decoders = {kind: state for kind, state in found.items() if kind not in no_decoders()}
    assert len(decoders) == 156
    assert len(found) - len(decoders) == 33
    read = [kind for kind, state in decoders.items() if state == READ]
    assert len(read) == READ_TYPES
    for kind, state in found.items():
        assert state == READ or state.startswith(("is not supported, as ", "required key")), kind


READ_TYPES = 132
"""Of 156 decoders; docs/decoders.md says so too."""


def test_reason_is_part_of_the_error(tmp_path):
    for kind, reason in uncovered().items():
        with pytest.raises(InputError) as error:
            load_model(write(tmp_path, {"model_type": kind}))
        assert f'"{kind}" is not supported, as {reason}' in str(error.value)


def test_unknown_type_is_compared_with_known_ones(tmp_path):
    with pytest.raises(InputError, match=r'"lama" is unknown \(did you mean llama\?\)'):
        load_model(write(tmp_path, {"model_type": "lama"}))


@pytest.mark.parametrize(("outer", "inner", "tied"), [(True, False, True), (False, True, False),
                                                      (None, True, False)])  # fmt: skip
def test_outer_config_decides_whether_the_head_is_tied(outer, inner, tied, tmp_path):
    config = saved("qwen3_vl")
    config["text_config"]["tie_word_embeddings"] = inner
    config["tie_word_embeddings"] = outer
    assert load_model(write(tmp_path, config)).architecture.backbone.tied == tied


@pytest.mark.parametrize("older", [True, False])
@pytest.mark.parametrize("newer", [True, False])
@pytest.mark.parametrize("kind", ["lfm2", "lfm2_vl"])
def test_the_older_key_of_lfm2_decides_whether_its_head_is_tied(kind, older, newer, tmp_path):
    config = saved(kind) | {"tie_embedding": older, "tie_word_embeddings": newer}
    made = CONFIG_MAPPING[kind].from_dict(json.loads(json.dumps(config)))
    tied = load_model(write(tmp_path, config)).architecture.backbone.tied
    assert tied == made.tie_word_embeddings == older


@pytest.mark.parametrize("kind", ["glm4_moe", "glm4v_moe_text"])
def test_head_width_of_glm_is_rounded_down_and_reported(kind, tmp_path):
    config = saved(kind)
    config.pop("head_dim", None)
    model = load_model(write(tmp_path, config))
    assert model.architecture.groups[0].attention.key_width == 4096 // 96
    assert model.assumed["head_dim"] == 4096 // 96


WRONG = [
    ("gpt2", {"n_positions": "many"}, "n_positions"),
    ("opt", {"word_embed_proj_dim": -1}, "word_embed_proj_dim"),
    ("laguna", {"gating": "odd"}, "gating"),
    ("gemma3n_text", {"num_kv_shared_layers": 35}, "num_kv_shared_layers"),
    ("gemma3n_text", {"intermediate_size": [8192] + 34 * [4096]}, "intermediate_size"),
    ("gemma4_text", {"per_layer_config": {"05": {"hidden_size": 1}}}, "per_layer_config"),
    ("moshi", {"ffn_dim": 22527}, "ffn_dim"),
    ("mpt", {"attn_config": {"qk_ln": True}}, "attn_config.qk_ln"),
    ("mpt", {"expansion_ratio": 5}, "expansion_ratio"),
    ("falcon", {"num_ln_in_parallel_attn": 3}, "num_ln_in_parallel_attn"),
    ("nemotron_h", {"mlp_bias": True}, "mlp_bias"),
    ("falcon_h1", {"mamba_conv_bias": None}, "mamba_conv_bias"),
    ("phimoe", {"num_experts_per_tok": 4}, "num_experts_per_tok"),
    ("deepseek_v4", {"num_key_value_heads": 2}, "num_key_value_heads"),
    ("step3p5", {"num_experts": 144}, "num_experts"),
]


@pytest.mark.parametrize(("kind", "changed", "key"), WRONG)
def test_bad_value_is_one_line_with_its_key(kind, changed, key, tmp_path):
    path = write(tmp_path, saved(kind) | changed)
    with pytest.raises(InputError) as error:
        load_model(path)
    assert str(error.value).startswith((f"{path}: {key}: ", f"{path}: {key} = "))
    assert "\n" not in str(error.value)


COMPILED_TYPES = [
    ("opt", {"word_embed_proj_dim": 512}),
    ("bloom", {}),
    ("gemma3n_text", {}),
    ("longcat_flash", {"num_layers": 2}),
    ("diffllama", {}),
    ("laguna", {}),
    ("bitnet", {"num_key_value_heads": 4}),
    ("phi", {"qk_layernorm": True}),
]


@pytest.mark.parametrize(("kind", "numbers"), COMPILED_TYPES)
def test_compiled_figures_are_those_of_plain_python(kind, numbers, tmp_path):
    path = write(tmp_path, saved(kind, **numbers))
    axes = {
        "prompt_tokens": [1, 700],
        "decode_steps": [0, 3],
        "cached_tokens": [0, 600],
        "layout": ["tp1", "tp2", "tp2-pp2"],
    }
    compare(parse_grid({"name": "g", "model": str(path), "axes": axes}, "g"))


def test_narrow_table_has_two_projections_and_a_narrow_head(tmp_path):
    wide = load_model(write(tmp_path, saved("opt")))
    narrow = load_model(write(tmp_path, saved("opt", word_embed_proj_dim=512)))
    vocabulary, hidden = 50272, 768
    less = vocabulary * (hidden - 512) - 2 * 512 * hidden
    assert wide.parameter_count - narrow.parameter_count == less
    saved_flops = figures(wide)[1] - figures(narrow)[1]
    assert saved_flops == 2 * 100 * less


def test_learned_positions_are_read_a_row_a_token(tmp_path):
    model = load_model(write(tmp_path, saved("gpt2")))
    ends = decoder_ends(model.architecture.backbone, 100)
    assert ends.embedding.weight_io == 100 * 768
    assert ends.embedding.weights == (50257 + 1024) * 768


@pytest.mark.parametrize(("tokens", "batch"), [(1, 1), (100, 1), (100, 4), (3000, 2)])
def test_prefill_reads_the_positions_of_its_prompt_once_for_all_sequences(tokens, batch, tmp_path):
    model = load_model(write(tmp_path, saved("gpt2")))
    one = se.cost(model, prompt_tokens=1, decode_steps=1)
    cost = se.cost(model, prompt_tokens=tokens, batch_size=batch, decode_steps=1)
    row = 2 * 768
    more = (tokens * batch - 1) * row + (min(tokens, 1024) - 1) * row
    assert cost["prefill_weight_io_bytes"] == one["prefill_weight_io_bytes"] + more
    steps = (batch - 1) * row
    assert cost["decode_weight_io_bytes"] == one["decode_weight_io_bytes"] + steps


def test_borrowed_caches_hold_nothing_and_are_read(tmp_path):
    numbers = {"num_kv_shared_layers": 10, "use_double_wide_mlp": True}
    groups = load_model(write(tmp_path, saved("gemma4_text", **numbers))).architecture.groups
    borrowed = [group for group in groups if group.attention.borrowed_cache]
    assert sum(group.layers for group in borrowed) == 10
    for group in borrowed:
        own = group.attention._replace(borrowed_cache=0)
        assert cached_values(group.attention) == 0
        read = attention_core(group.attention, 1, 50, 0, 1, 0).kv_io
        assert read == attention_core(own, 1, 50, 0, 1, 0).kv_io
        assert group.feed_forward.width == 2 * 9216


NAS = "Llama-3_3-Nemotron-Super-49B-v1"


def test_layers_with_sizes_of_their_own_have_the_published_parameters(tmp_path):
    model = load_model(write(tmp_path, all_configs()[NAS]))
    assert model.parameter_count == 49_867_145_216
    groups = model.architecture.groups
    assert sum(group.layers for group in groups) == 80
    assert sum(group.layers for group in groups if not group.attention.heads) == 31


@pytest.mark.parametrize(("part", "key", "value"), [("attention", "replace_with_linear", True),
                                                    ("attention", "window_length", 4096),
                                                    ("attention", "n_heads_in_group", 7),
                                                    ("ffn", "ffn_mult", "wide"),
                                                    ("ffn", "odd", 1)])  # fmt: skip
def test_unknown_parts_of_blocks_are_refused_by_name(part, key, value, tmp_path):
    config = json.loads(json.dumps(all_configs()[NAS]))
    config["block_configs"][0][part][key] = value
    with pytest.raises(InputError, match=rf"block_configs\[0\]\.{part}\.{key}"):
        load_model(write(tmp_path, config))
