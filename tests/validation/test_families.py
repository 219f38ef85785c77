"""Every family of configs against transformers on the meta device, with a few of its layers."""

import json

import pytest
from transformers import CONFIG_MAPPING

from sweepengine.data.configs import families
from sweepengine.validation import configs as module
from sweepengine.validation.configs import measure
from tests.data.configs import all_configs, covered, shortened, write

pytestmark = pytest.mark.slow


def differences(path):
    return [figure for figure in measure(path).figures if figure.difference]


@pytest.mark.parametrize("kind", [kind for kind in covered() if kind != "nemotron-nas"])
def test_every_family_equals_torch_in_every_figure(kind, tmp_path, monkeypatch):
    """The code of Nemotron-NAS is no part of transformers."""
    monkeypatch.setattr(module, "STEPS", 2)
    assert differences(write(tmp_path, shortened(all_configs()[covered()[kind]]))) == []


LINEAR, FULL = "linear_attention", "full_attention"
RECURRENT = {
    "mamba": {"num_hidden_layers": 1, "use_bias": True},
    "falcon_mamba": {"num_hidden_layers": 1, "tie_word_embeddings": False},
    "jamba": {"num_hidden_layers": 2, "attn_layer_offset": 1, "attn_layer_period": 2},
    "mamba2": {"num_hidden_layers": 1, "chunk_size": 64},
    "bamba": {"num_hidden_layers": 2, "attn_layer_indices": [1], "mamba_chunk_size": 64},
    "granitemoehybrid": {"num_hidden_layers": 2, "layer_types": [LINEAR, FULL]},
    "falcon_h1": {"num_hidden_layers": 1, "mamba_rms_norm": True},
    "olmo_hybrid": {"num_hidden_layers": 4},
    "lfm2": {"num_hidden_layers": 2, "full_attn_idxs": [1], "block_ffn_dim_multiplier": 1.3},
    "lfm2_moe": {"num_hidden_layers": 3, "layer_types": ["conv", FULL, "conv"], "conv_bias": True},
    "lfm3": {"num_hidden_layers": 6, "sliding_window": 20},
    "kimi_linear": {"num_hidden_layers": 2, "layer_types": [LINEAR, FULL]},
    "bailing_hybrid": {"num_hidden_layers": 3, "layer_group_size": 2},
    "minimax": {"num_hidden_layers": 2, "block_size": 48},
    "recurrent_gemma": {"num_hidden_layers": 3, "attention_window_size": 50},
}
"""Types with recurrent mixers, and a few layers of both kinds."""


def test_every_family_with_a_mixer_is_compared():
    assert {kind for kind, row in families()["families"].items() if "mixer" in row} == {*RECURRENT}


@pytest.mark.parametrize("kind", RECURRENT)
def test_every_recurrent_family_equals_torch_in_every_figure(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROMPTS", ((1, 2), (2, 150)))
    monkeypatch.setattr(module, "CHUNK", 70)
    monkeypatch.setattr(module, "STEPS", 2)
    config = CONFIG_MAPPING[kind](**RECURRENT[kind]).to_dict()
    assert differences(write(tmp_path, json.loads(json.dumps(config, default=str)))) == []


VARIANTS = {
    "deepseek_v3": {"num_hidden_layers": 4, "q_lora_rank": None, "attention_bias": True},
    "glm4_moe_lite": {"num_hidden_layers": 2, "q_lora_rank": None, "attention_bias": True},
    "bailing_hybrid": {"num_hidden_layers": 3, "layer_group_size": 2, "attention_bias": True},
    "openai-gpt": {"n_layer": 2},
    "phi4_multimodal": {"num_hidden_layers": 2},
}
"""Types whose configs say what no public one does, or whose modules are unlike those of others."""


@pytest.mark.parametrize("kind", VARIANTS)
def test_further_choices_of_a_family_equal_torch_in_every_figure(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 2)
    config = CONFIG_MAPPING[kind](**VARIANTS[kind]).to_dict()
    assert differences(write(tmp_path, json.loads(json.dumps(config, default=str)))) == []
