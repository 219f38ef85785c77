"""Configs for tests: figures of public ones that no package ships, and those that one does."""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from sweepengine.data.configs import PARTS, families, uncovered

TOWERS = ("vision_config", "audio_config")
LLAMA_2 = {"model_type": "llama", "vocab_size": 32000, "hidden_act": "silu",
           "tie_word_embeddings": False}  # fmt: skip
FIGURES = {
    "Llama-2-7b-hf": {
        **LLAMA_2, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32,
    },
    "Llama-2-70b-hf": {
        **LLAMA_2, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
        "num_attention_heads": 64, "num_key_value_heads": 8,
    },
    "Mistral-7B-v0.1": {
        "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
        "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "sliding_window": 4096, "hidden_act": "silu",
    },
    "Qwen2-7B": {
        "model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584,
        "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "sliding_window": 131072, "use_sliding_window": False,
        "max_window_layers": 28, "tie_word_embeddings": False,
    },
    "gemma-2-9b": {
        "model_type": "gemma2", "vocab_size": 256000, "hidden_size": 3584,
        "intermediate_size": 14336, "num_hidden_layers": 42, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 256, "sliding_window": 4096,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    },
    "gemma-3-1b-pt": {
        "model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152,
        "intermediate_size": 6912, "num_hidden_layers": 26, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 256, "sliding_window": 512,
    },
    "gemma-3-4b-pt": {
        "model_type": "gemma3",
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
            "num_hidden_layers": 34, "sliding_window": 1024,
        },
    },
    "phi-4": {
        "model_type": "phi3", "vocab_size": 100352, "hidden_size": 5120,
        "intermediate_size": 17920, "num_hidden_layers": 40, "num_attention_heads": 40,
        "num_key_value_heads": 10, "sliding_window": None,
    },
    "Qwen1.5-MoE-A2.7B": {
        "model_type": "qwen2_moe", "vocab_size": 151936, "hidden_size": 2048,
        "intermediate_size": 5632, "num_hidden_layers": 24, "num_attention_heads": 16,
        "num_key_value_heads": 16, "num_experts": 60, "num_experts_per_tok": 4,
        "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
        "decoder_sparse_step": 1, "use_sliding_window": False, "sliding_window": 32768,
    },
    "DeepSeek-V2": {
        "model_type": "deepseek_v2", "vocab_size": 102400, "hidden_size": 5120,
        "intermediate_size": 12288, "num_hidden_layers": 60, "num_attention_heads": 128,
        "num_key_value_heads": 128, "n_routed_experts": 160, "n_shared_experts": 2,
        "num_experts_per_tok": 6, "moe_intermediate_size": 1536, "first_k_dense_replace": 1,
        "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "scoring_func": "softmax",
    },
    "GLM-4.5-Air": {
        "model_type": "glm4_moe", "vocab_size": 151552, "hidden_size": 4096,
        "intermediate_size": 10944, "num_hidden_layers": 46, "num_attention_heads": 96,
        "num_key_value_heads": 8, "head_dim": 128, "n_routed_experts": 128,
        "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 1408,
        "first_k_dense_replace": 1, "attention_bias": True, "use_qk_norm": False,
        "partial_rotary_factor": 0.5,
    },
    "DeepSeek-OCR": {
        "model_type": "deepseek_vl_v2",
        "language_config": {
            "model_type": "deepseek_v2", "use_mla": False, "vocab_size": 129280,
            "hidden_size": 1280, "intermediate_size": 6848, "num_hidden_layers": 12,
            "num_attention_heads": 10, "num_key_value_heads": 10, "n_routed_experts": 64,
            "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 896,
            "first_k_dense_replace": 1, "q_lora_rank": None, "kv_lora_rank": None,
            "qk_nope_head_dim": 0, "qk_rope_head_dim": 0, "v_head_dim": 0,
        },
    },
}  # fmt: skip
"""Public figures, as their config.json states them."""
FEW_LAYERS = 6
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "layers", "decoder_layers")
"""Keys that may hold the number of layers."""


def shipped():
    """Configs of aiconfigurator-core by name, those of quantisation alone left out."""
    folder = Path(next(iter(find_spec("aiconfigurator_core").submodule_search_locations)))
    found = {}
    for path in sorted((folder / "model_configs").glob("*_config.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        if "model_type" in config:
            found[path.name.removesuffix("_config.json").split("--")[1]] = config
    return found


@cache
def whole_configs():
    """Every config by name, with its towers; a test that changes one changes a copy."""
    return MappingProxyType(FIGURES | shipped())


@cache
def all_configs():
    """Every config by name, without its towers, which have tests of their own."""
    configs = {
        name: {key: value for key, value in config.items() if key not in TOWERS}
        for name, config in whole_configs().items()
    }
    return MappingProxyType(configs)


def part_of(config):
    """The part that describes the decoder."""
    return next((config[key] for key in PARTS if config.get(key)), config)


def write(folder, config):
    """Path of a config, written."""
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def shortened(config, few=FEW_LAYERS):
    """The same config with few layers; costs are linear in the layers of each kind."""
    config = json.loads(json.dumps(config))
    part = part_of(config)
    counted = next((key for key in LAYERS if part.get(key)), LAYERS[0])
    count = part.get(counted) or len(part.get("layers_block_type", []))
    part[counted] = min(few, count)
    if part.get("num_kv_shared_layers"):
        part["num_kv_shared_layers"] = 1
    if layers := part.get("per_layer_config"):
        part["per_layer_config"] = {k: v for k, v in layers.items() if int(k) < few}
    for key, value in part.items():
        named = isinstance(value, str) and "act" in key  # of an activation, no pattern
        if isinstance(value, list | str) and not named and len(value) >= count > few:
            part[key] = value[:few]
        elif isinstance(value, dict):
            for inner, listed in value.items():
                if isinstance(listed, list) and len(listed) == count > few:
                    value[inner] = listed[:few]
    return config


@cache
def covered():
    """One config of each family that is read, by the family."""
    tables = families()
    kinds = {}
    for name, config in all_configs().items():
        if config["model_type"] in uncovered():
            continue
        kind = part_of(config).get("model_type") or tables["parts"].get(config["model_type"])
        if kind in tables["families"]:
            kinds.setdefault(kind, name)
    return kinds
