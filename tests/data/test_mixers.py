"""Types with recurrent mixers: figures of whole models, and what their files may say.

Parameters, FLOPs of a prefill of 100 tokens and of the step behind it were counted by torch 2.13 on
transformers 5.23, all layers, eager attention; those of MiniMax on a smaller model.
"""

import json
import tomllib

import pytest
from transformers import AutoConfig

import sweepengine as se
from sweepengine.data.models import build, load_model
from sweepengine.data.stated import stated
from sweepengine.formulas.architecture import EAGER, MIXERS
from sweepengine.formulas.points import Point
from sweepengine.formulas.recurrent import state_values
from sweepengine.grid.counted import point_columns
from tests.data.configs import write

CHECKED = {
    "bamba": (
        9_780_235_392, 1_976_122_497_024, 18_576_019_456,
        {"vocab_size": 128256, "attn_layer_indices": [9, 18, 27], "mamba_d_state": 128},
    ),
    "falcon_h1": (
        7_654_832_224, 1_542_541_803_520, 14_607_687_680,
        {"hidden_size": 3072, "num_hidden_layers": 44, "num_attention_heads": 12,
         "num_key_value_heads": 2, "intermediate_size": 12288, "vocab_size": 130048,
         "head_dim": 128, "mamba_d_ssm": 3072, "mamba_n_heads": 24, "mamba_d_head": 128,
         "mamba_n_groups": 2, "mamba_d_state": 256},
    ),
    "mamba": (
        2_768_345_600, 553_447_096_320, 5_537_013_760,
        {"hidden_size": 2560, "num_hidden_layers": 64, "time_step_rank": 160},
    ),
    "mamba2": (7_285_403_648, 1_705_373_597_696, 14_438_891_520, {}),
    "lfm2_moe": (
        8_339_929_856, 312_019_795_968, 3_120_463_872,
        {"num_hidden_layers": 24,
         "layer_types": ["full_attention" if layer in (2, 6, 10, 14, 18, 21) else "conv"
                         for layer in range(24)]},
    ),
    "minimax": (
        47_406_258_176, 1_085_957_734_400, 10_846_601_216,
        {"hidden_size": 6144, "num_hidden_layers": 8, "num_attention_heads": 64,
         "intermediate_size": 9216, "vocab_size": 200064, "head_dim": 128,
         "num_local_experts": 32},
    ),
    "recurrent_gemma": (2_010_263_040, 402_723_921_920, 4_026_941_440, {}),
    "olmo_hybrid": (7_430_870_688, 1_424_997_826_560, 14_105_026_560, {}),
    "lfm3": (1_728_801_536, 346_623_369_216, 3_466_674_176, {}),
}  # fmt: skip
"""Type to parameters, prefill, step, and numbers other than the class's."""


def saved(kind, **numbers):
    """A config as transformers saves it."""
    config = AutoConfig.for_model(kind, **numbers).to_dict()
    return json.loads(json.dumps(config, default=str))


@pytest.fixture
def read(tmp_path):
    return lambda config: load_model(write(tmp_path, config))


@pytest.mark.parametrize("kind", CHECKED)
def test_whole_models_cost_what_torch_counted(kind, read):
    *expected, numbers = CHECKED[kind]
    model = read(saved(kind, **numbers))
    point = Point(0, 0, 0, 0, 0, 1, 1, 0, 0, EAGER, 100)
    columns = point_columns(model.architecture, point)
    found = [columns["prefill_tensor_flops"], columns["decode_tensor_flops"]]
    assert [model.parameter_count, *found] == expected


@pytest.mark.parametrize("kind", ["mamba", "falcon_mamba", "mamba2"])
def test_models_without_attention_hold_states_and_no_kv_cache(kind, read):
    model = read(saved(kind))
    assert model.kv_bytes_per_token == 0
    (group,) = model.architecture.groups
    assert (group.attention.heads, group.feed_forward.width, group.norms) == (0, 0, 1)
    held = group.layers * state_values(group.recurrent) * 2
    assert held > 0
    for prompt in (1, 5_000):
        found = se.cost(model, prompt_tokens=prompt, decode_steps=3, batch_size=4)
        assert found["prefill_kv_cache_bytes"] == found["decode_kv_cache_bytes"] == 4 * held
    assert not {"attention_heads", "key_value_heads"} & set(model.inputs)


def test_falcon_h1_attends_in_every_layer(read):
    (group,) = read(saved("falcon_h1")).architecture.groups
    assert group.attention.heads > 0 < group.recurrent.heads
    assert group.norms == 2
    normed = read(saved("falcon_h1", mamba_rms_norm=True))
    assert normed.parameter_count - read(saved("falcon_h1")).parameter_count == 32 * 1024


def released_kimi():
    """The spelling of a released file."""
    table = {"full_attn_layers": [4, 8], "kda_layers": [1, 2, 3, 5, 6, 7], "num_heads": 32,
             "head_dim": 128, "short_conv_kernel_size": 4}  # fmt: skip
    config = saved("kimi_linear", num_hidden_layers=8)
    for key in ("layer_types", "mlp_layer_types", "linear_head_dim", "linear_num_heads",
                "linear_conv_kernel_dim", "n_shared_experts", "num_experts_per_tok"):  # fmt: skip
        config.pop(key, None)
    config |= {"linear_attn_config": table, "num_shared_experts": 1, "num_experts_per_token": 8,
               "first_k_dense_replace": 1}  # fmt: skip
    return config


def test_released_spellings_are_read(read):
    types = ["full_attention" if layer in (3, 7) else "linear_attention" for layer in range(8)]
    same = saved("kimi_linear", num_hidden_layers=8, layer_types=types)
    assert read(released_kimi()).architecture == read(same).architecture
    granite = saved("granitemoehybrid", num_hidden_layers=4)
    named = granite | {"layer_types": ["mamba", "mamba", "attention", "mamba"]}
    granite["layer_types"] = ["linear_attention"] * 4
    granite["layer_types"][2] = "full_attention"
    assert read(named).architecture == read(granite).architecture


def test_missing_numbers_are_assumed_and_reported(read):
    config = saved("mamba", hidden_size=800)
    for key in ("expand", "intermediate_size", "time_step_rank", "state_size"):
        del config[key]
    model = read(config)
    mixer = model.architecture.groups[0].recurrent
    assert (mixer.heads, mixer.rank, mixer.key_width) == (1600, 50, 16)
    assert {"expand", "time_step_rank", "state_size"} <= set(model.assumed)
    config = saved("olmo_hybrid")
    left_out = ("layer_types", "linear_num_key_heads", "linear_key_head_dim",
                "linear_value_head_dim")  # fmt: skip
    for key in left_out:
        del config[key]
    model = read(config)
    assert model.architecture == read(saved("olmo_hybrid")).architecture
    assert set(left_out) <= set(model.assumed)


@pytest.mark.parametrize(
    ("kind", "removed"),
    [("minimax", "layer_types"), ("lfm3", "layer_types"), ("bailing_hybrid", "layer_group_size"),
     ("kimi_linear", "layer_types")],
)  # fmt: skip
def test_layers_without_a_list_are_those_of_the_class(kind, removed, read):
    config = saved(kind)
    config.pop("layer_types")
    config.pop(removed, None)
    assert read(config).architecture == read(saved(kind)).architecture


REFUSED = [
    ("mamba", {"intermediate_size": 1000}, "intermediate_size = 1000: expected 1536"),
    ("mamba", {"use_conv_bias": False}, "use_conv_bias = false: expected true"),
    ("mamba", {"expand": 0}, "expand = 0: expected above 0 and below 10,000"),
    ("lfm2", {"block_ffn_dim_multiplier": float("nan")}, "block_ffn_dim_multiplier = nan"),
    ("mamba2", {"made_up": 3}, "made_up: unknown key for mamba2"),
    ("bamba", {"mamba_d_head": 50}, "mamba_d_head = 50: expected \"auto\" or 8192 / 128 heads"),
    ("bamba", {"attn_layer_indices": 3}, "attn_layer_indices = 3: expected a list of layers"),
    ("lfm2_moe", {"layer_types": None}, "layer_types: required key is missing"),
    ("lfm2", {"layer_types": ["conv"] * 31 + ["made_up"]}, "layer_types: \"made_up\": expected"),
    ("kimi_linear", {"linear_attn_config": {"use_full_rank_gate": True}}, "use_full_rank_gate"),
    ("kimi_linear", {"linear_attn_config": 3}, "linear_attn_config = 3: expected a table"),
    ("kimi_linear", {"layer_types": None, "linear_attn_config": {"full_attn_layers": [1]}},
     "linear_attn_config: layer 2: expected in one list"),
    ("kimi_linear", {"layer_types": None, "linear_attn_config": {"full_attn_layers": 1}},
     "linear_attn_config: expected lists of layers"),
    ("minimax", {"block_size": None}, "block_size: required key is missing"),
    ("recurrent_gemma", {"block_types": ["recurrent", "made_up"]}, "block_types: \"made_up\""),
    ("recurrent_gemma", {"block_types": "recurrent"}, "block_types = 'recurrent': expected"),
    ("recurrent_gemma", {"lru_width": 2561}, "lru_width = 2561: expected a multiple of 10"),
    ("lfm3", {"use_sandwich_norm": False}, "use_sandwich_norm = false: expected true"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "expected"), REFUSED)
def test_what_is_not_understood_is_refused_by_name(kind, change, expected, read):
    config = saved(kind)
    if kind == "lfm2_moe":
        config["layer_types"] = ["conv"] * config["num_hidden_layers"]
    with pytest.raises(se.InputError) as error:
        read(config | change)
    assert expected in str(error.value)


TOML = """
name = "small"
description = "a recurrent model"
schema_version = 2
[decoder]
source = "by hand"
hidden = 64
vocabulary = 100
norms = 2
layers = [[2, "none", "none", "mixer"]]
[decoder.recurrent.mixer]
heads = 4
key_heads = 2
key_width = 16
value_width = 8
convolution = 4
chunk = 32
"""


def test_a_kind_is_named_in_a_model_file():
    for position, name in enumerate(MIXERS):
        model = build(tomllib.loads(f'{TOML}kind = "{name}"\n'), "small.toml")
        assert model.architecture.groups[0].recurrent.kind == position
    with pytest.raises(se.InputError, match="kind"):
        build(tomllib.loads(TOML + 'kind = "Mamba-3"\n'), "small.toml")


def test_mamba_in_a_model_file_is_mamba_2():
    older = build(tomllib.loads(TOML + "mamba = true\n"), "small.toml")
    newer = build(tomllib.loads(TOML + 'kind = "Mamba-2"\n'), "small.toml")
    assert older.architecture == newer.architecture
    plain = build(tomllib.loads(TOML + "mamba = false\n"), "small.toml")
    assert plain.architecture == build(tomllib.loads(TOML), "small.toml").architecture
    (group,) = stated(older)["groups"]
    assert group["recurrent"]["mamba"] == 1  # as hashes of datasets have it
    with pytest.raises(se.InputError, match="mamba"):
        build(tomllib.loads(TOML + 'mamba = true\nkind = "Mamba-1"\n'), "small.toml")
