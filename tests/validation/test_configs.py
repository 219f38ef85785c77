"""Any config against transformers on the meta device."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING

from sweepengine.data.configs import families
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.validation import configs as module
from sweepengine.validation.census import Row, census, verdict
from sweepengine.validation.configs import Comparison
from sweepengine.validation.counters import Figure
from sweepengine.validation.decoders import STAND_INS
from tests.data.configs import FIGURES, all_configs, covered, part_of, shortened, write
from tests.validation.test_families import differences

pytestmark = pytest.mark.slow

WHOLE = ("DeepSeek-OCR", "Llama-2-7b-hf", "gemma-3-1b-pt")
"""Measured with all their layers, which no other package ships; `make configs` takes them all."""
HERE = WHOLE if "SWEEPENGINE_WHOLE" in os.environ else WHOLE[:1]

MECHANISMS = ("afmoe", "apertus", "bloom", "diffllama", "falcon", "gpt2", "gpt_neo", "laguna",
              "mimo_v2_flash", "opt", "phi")  # fmt: skip
"""Types that have a part of a layer which no type of a public config here has."""
DEFAULTS = [
    kind
    for kind in families()["families"]
    if kind in CONFIG_MAPPING and kind in {*covered(), *MECHANISMS}
]


@pytest.mark.parametrize("name", HERE)
def test_whole_models_equal_torch_in_every_figure(name, tmp_path):
    assert differences(write(tmp_path, all_configs()[name])) == []


@pytest.mark.parametrize("kind", DEFAULTS)
def test_defaults_of_transformers_are_read_as_it_saves_them(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROMPTS", module.PROMPTS[1:])  # `test_families` takes both
    monkeypatch.setattr(module, "STEPS", 1)  # and more steps
    saved = json.loads(json.dumps(CONFIG_MAPPING[kind]().to_dict(), default=str))
    if kind in ("step3p5", "step3p7"):  # its masks need a window even where no layer has one
        part_of(saved)["sliding_window"] = 512
    path = write(tmp_path, shortened(saved))
    model, error = loaded(path)
    if model is None:  # its class leaves out what its modules need
        assert "required key is missing" in error or "not supported" in error
    else:
        assert differences(path) == []


def loaded(path):
    """A model, or what is wrong with its file."""
    try:
        return load_model(path), ""
    except InputError as error:
        return None, str(error)


@pytest.mark.parametrize("kind", ["gemma3n_text", "gemma4_text"])
def test_borrowed_caches_of_both_kinds_of_layers_equal_torch(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROMPTS", ((2, 130),))
    layers = ["sliding_attention", "full_attention"] * 3
    numbers = {"num_hidden_layers": 6, "num_kv_shared_layers": 2, "layer_types": layers}
    if kind == "gemma3n_text":  # its choice of the largest values does not run on meta
        numbers |= {"activation_sparsity_pattern": [0.0] * 6, "intermediate_size": [512] * 6}
    else:
        numbers |= {"use_double_wide_mlp": True}
    saved = json.loads(json.dumps(CONFIG_MAPPING[kind](**numbers).to_dict(), default=str))
    assert differences(write(tmp_path, saved)) == []


KINDS = ("llama", "qwen3", "gemma2", "gemma3_text", "gpt_oss", "qwen3_moe", "qwen2_moe",
         "deepseek_v3", "olmo2", "mixtral", "qwen3_next", "deepseek_v4",
         "minimax_m3_vl_text")  # fmt: skip


@st.composite
def configs(draw, kind):
    """Small decoders of groups: windows, grouped heads, norms, latents, experts, biases."""
    kv_heads = draw(st.sampled_from([1, 2, 3]))
    width = 8 * draw(st.integers(1, 4))
    config = {
        "model_type": kind,
        "hidden_size": 8 * draw(st.integers(1, 8)),
        "vocab_size": draw(st.integers(10, 300)),
        "num_hidden_layers": draw(st.integers(1, 7)),
        "num_key_value_heads": kv_heads,
        "num_attention_heads": kv_heads * draw(st.integers(1, 3)),
        "head_dim": width,
        "intermediate_size": draw(st.integers(1, 90)),
        "tie_word_embeddings": draw(st.booleans()),
    }
    if kind in ("llama", "qwen3", "gemma2", "gemma3_text", "gpt_oss", "qwen3_moe", "olmo2"):
        config["attention_bias"] = draw(st.booleans())
    if kind == "olmo2":
        config["hidden_size"] = width * config["num_attention_heads"]
    if kind in ("gemma2", "gemma3_text", "gpt_oss", "mixtral"):
        config["sliding_window"] = draw(st.integers(2, 1500))
    if kind in ("gpt_oss", "mixtral", "qwen3_moe", "qwen2_moe", "deepseek_v3", "qwen3_next"):
        experts = draw(st.integers(2, 9))
        name = {"gpt_oss": "num_local_experts", "mixtral": "num_local_experts",
                "deepseek_v3": "n_routed_experts"}.get(kind, "num_experts")  # fmt: skip
        config[name] = experts
        config["num_experts_per_tok"] = draw(st.integers(1, experts))
    if kind in ("qwen3_moe", "qwen2_moe", "deepseek_v3", "qwen3_next"):
        config["moe_intermediate_size"] = draw(st.integers(1, 40))
    if kind in ("qwen3_moe", "qwen2_moe", "qwen3_next"):
        config["decoder_sparse_step"] = draw(st.integers(1, 3))
    if kind in ("qwen2_moe", "qwen3_next"):
        config["shared_expert_intermediate_size"] = draw(st.integers(1, 40))
    if kind == "qwen2_moe":
        config["hidden_size"] = width * config["num_attention_heads"]
        del config["head_dim"]
    if kind == "qwen3_next":
        heads = draw(st.integers(1, 3))
        config |= {"linear_num_key_heads": heads, "linear_num_value_heads": 2 * heads,
                   "linear_key_head_dim": 8, "linear_value_head_dim": 16,
                   "linear_conv_kernel_dim": 4, "full_attention_interval": 2}  # fmt: skip
        config["num_hidden_layers"] += 1  # transformers' cache needs a layer of attention
    if kind == "deepseek_v4":
        del config["intermediate_size"]
        config |= {
            "num_key_value_heads": 1,
            "q_lora_rank": draw(st.integers(1, 20)),
            "qk_rope_head_dim": 4,
            "o_groups": config["num_attention_heads"],
            "o_lora_rank": draw(st.integers(1, 20)),
            "sliding_window": draw(st.integers(2, 300)),
            "compress_ratios": draw(st.lists(st.sampled_from([0, 4, 128]), min_size=8)),
            "num_hash_layers": 0,
            "hc_mult": draw(st.integers(1, 5)),
            "index_n_heads": draw(st.integers(1, 4)),
            "index_head_dim": 8,
            "index_topk": draw(st.integers(1, 300)),
            "n_routed_experts": draw(st.integers(2, 9)),
            "num_experts_per_tok": 2,
            "moe_intermediate_size": draw(st.integers(1, 40)),
        }
    if kind == "minimax_m3_vl_text":
        layers = config["num_hidden_layers"]
        sparse = draw(st.lists(st.booleans(), min_size=layers, max_size=layers))
        config |= {
            "rotary_dim": 4,
            "layer_types": ["minimax_m3_sparse" if one else "full_attention" for one in sparse],
            "moe_layer_freq": [int(not one) for one in sparse],
            "index_n_heads": kv_heads,
            "index_head_dim": 8,
            "index_block_size": draw(st.integers(1, 200)),
            "dense_intermediate_size": draw(st.integers(1, 90)),
            "shared_intermediate_size": draw(st.integers(1, 90)),
            "num_local_experts": 4,
            "num_experts_per_tok": draw(st.integers(1, 4)),
        }
    if kind in ("llama", "mixtral", "gemma2", "gemma3_text"):
        config["hidden_size"] *= config["num_attention_heads"]
    if kind == "deepseek_v3":
        del config["head_dim"]
        config |= {
            "num_key_value_heads": config["num_attention_heads"],
            "q_lora_rank": draw(st.sampled_from([None, 12, 24])),
            "kv_lora_rank": 4 * draw(st.integers(1, 9)),
            "qk_nope_head_dim": 4 * draw(st.integers(1, 5)),
            "qk_rope_head_dim": 4 * draw(st.integers(1, 5)),
            "v_head_dim": draw(st.integers(1, 30)),
            "n_shared_experts": draw(st.integers(1, 3)),
            "first_k_dense_replace": draw(st.integers(0, 3)),
            "n_routed_experts": 8,
            "num_experts_per_tok": draw(st.integers(1, 8)),
            "n_group": 1,
            "topk_group": 1,
        }
    return config


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3)
@given(data=st.data())
def test_any_decoder_of_groups_equals_torch(tmp_path_factory, kind, data):
    config = data.draw(configs(kind))
    prompt = data.draw(st.sampled_from(module.PROMPTS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PROMPTS", (prompt,))
        patch.setattr(module, "STEPS", 2)
        assert differences(write(tmp_path_factory.getbasetemp(), config)) == []


@pytest.mark.parametrize("kind", covered())
def test_key_that_is_gone_is_an_error_or_the_default_of_transformers(kind, tmp_path):
    config = all_configs()[covered()[kind]]
    whole = load_model(write(tmp_path, config)).architecture
    harmless = set(families()["harmless"]["keys"])
    stand_in = STAND_INS.get(kind, kind)
    for key in set(part_of(config)) - harmless:
        less = json.loads(json.dumps(config))
        del part_of(less)[key]
        model, error = loaded(write(tmp_path, less))
        if model is None:
            assert key.removeprefix("num_") in error or "missing" in error, key
            continue
        other_spelling = families()["families"][kind].get("window_before") == key
        if model.architecture == whole or other_spelling:  # its own test: `test_every_key`
            continue
        assert key in model.assumed, f"{kind}: {key} changes a cost without a word"
        if stand_in in CONFIG_MAPPING:
            given = {k: v for k, v in part_of(less).items() if k not in ("model_type", "use_mla")}
            theirs = CONFIG_MAPPING[stand_in](**given)
            theirs.allow_global_per_layer_attribute_access = True
            # What no configuration class holds, the modules take from others, as the table does.
            assert getattr(theirs, key, model.assumed[key]) == model.assumed[key], key


def test_key_value_heads_of_a_class_are_those_of_transformers():
    wrong = {}
    for kind, count in families()["class_key_value_heads"].items():
        of_class = CONFIG_MAPPING[kind]
        heads = 2 * of_class().num_attention_heads
        found = of_class(num_attention_heads=heads).num_key_value_heads
        if found != (count or heads):
            wrong[kind] = found
    assert not wrong


def test_census_tells_what_is_equal_from_what_is_not_compared(tmp_path):
    first = tmp_path / "a--small_config.json"
    small = FIGURES["Llama-2-7b-hf"] | {"num_hidden_layers": 1}
    first.write_text(json.dumps(small))
    second = tmp_path / "a--other_config.json"
    second.write_text('{"model_type": "kimi_k3"}')
    rows = census([first, second])
    assert [row.different for row in rows] == [0, 0]
    assert rows[1].reason.startswith('model_type: "kimi_k3" is not supported, as ')
    assert verdict(rows).startswith("1 of 2 configs equal torch in every figure (11 figures)")
    assert rows[0].cells[3:5] == ("11 of 11", "")
    wrong = Row("x", "llama", 1, Comparison([Figure("a", "FLOP", 1, 2)], [], ()), "")
    assert (wrong.different, wrong.cells[3]) == (1, "0 of 1")


def test_command_prints_figures_and_fails_on_a_config_that_is_not_covered(command, tmp_path):
    small = FIGURES["gemma-3-1b-pt"] | {"num_hidden_layers": 2}
    done = command("validate", "--config", write(tmp_path, small), "--json", tmp_path / "f.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "11 of 11 figures equal"
    facts = json.loads((tmp_path / "f.json").read_text())
    assert all(fact["measured"] == fact["analytic"] for fact in facts)
    refused = command("validate", "--config", write(tmp_path, small | {"odd": 1}))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_command_compares_text_and_tower_of_a_config_that_sees_images(command, tmp_path):
    config = {
        "model_type": "gemma3",
        "text_config": FIGURES["gemma-3-1b-pt"] | {"num_hidden_layers": 2},
        "vision_config": {"num_hidden_layers": 2, "image_size": 896, "patch_size": 14},
    }
    done = command("validate", "--config", write(tmp_path, config), "--json", tmp_path / "f.json")
    assert done.returncode == 0, done.stderr
    assert "14 of 14 figures equal" in done.stdout
    facts = json.loads((tmp_path / "f.json").read_text())
    assert [fact["what"] for fact in facts[-3:]] == [
        "parameters, tower and projector",
        "tower and projector, image of 448 x 448",
        "features, image of 448 x 448",
    ]
    assert done.stdout.splitlines()[-1].startswith("prompt tokens follow the image rule alone: ")
