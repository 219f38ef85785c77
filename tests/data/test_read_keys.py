"""Keys of configs are read as transformers reads them: defaults, tied heads, entries of lists."""

import json

import pytest
from transformers import CONFIG_MAPPING

from sweepengine.data.configs import PARTS, families
from sweepengine.data.errors import InputError
from sweepengine.data.huggingface import reading_of
from sweepengine.data.models import build, load_model
from tests.data.configs import FIGURES, all_configs, part_of, shortened, write

LENGTHS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "layers_block_type",
           "layer_types", "mlp_layer_types", "hybrid_override_pattern", "per_layer_config",
           "moe_layer_freq", "layer_rope_theta")  # fmt: skip
"""Keys that the few layers of a test differ from the class in."""
DERIVED = {("bailing_hybrid", "linear_head_dim")}
"""Keys that a class makes of others before it saves them."""


def saved(kind):
    return json.loads(json.dumps(CONFIG_MAPPING[kind]().to_dict(), default=str))


def architecture(config):
    """What a config is read as; None where it is refused."""
    try:
        return build(reading_of("config.json", config).data, "config.json").architecture
    except InputError:
        return None


@pytest.mark.parametrize(
    "kind", [kind for kind in families()["families"] if kind in CONFIG_MAPPING]
)
def test_a_missing_key_is_refused_or_the_default_of_its_class(kind):
    config = shortened(saved(kind))
    whole = None if "text_config" in config else architecture(config)
    wrong = []
    for key in config if whole else ():
        if config[key] is None or key in LENGTHS or (kind, key) in DERIVED:
            continue
        less = architecture({name: value for name, value in config.items() if name != key})
        if less not in (None, whole):
            wrong.append(key)
    assert wrong == []


def outer_types():
    """Types of several parts, and the default of their outer class."""
    for kind, row in CONFIG_MAPPING.items():
        try:
            config = row().to_dict()
        except Exception:  # a class that needs arguments
            continue
        part = next((config[key] for key in PARTS if isinstance(config.get(key), dict)), None)
        if part is not None and part.get("model_type") in families()["families"]:
            yield kind, config


def test_outer_types_have_the_default_of_transformers_for_tied_heads():
    tables = families()["outer_tied"]
    wrong = {}
    for kind, config in outer_types():
        default = config.get("tie_word_embeddings")
        if kind in ("llama4", "kosmos-2", "kosmos-2.5") or default is None:  # its part has a head
            continue
        if (kind in tables["tied"], kind in tables["untied"]) != (default, not default):
            wrong[kind] = default
        if "text_config" in config:
            text = {**config["text_config"], "tie_word_embeddings": True}
            either = CONFIG_MAPPING[kind].from_dict(
                {**config, "tie_word_embeddings": False, "text_config": text}
            )
            if either.tie_word_embeddings != (kind in tables["either"]):
                wrong[kind, "either"] = either.tie_word_embeddings
    assert wrong == {}


def tied(tmp_path, config):
    return load_model(write(tmp_path, config))


@pytest.mark.parametrize(
    ("kind", "outer", "inner", "head"),
    [
        ("qwen3_vl_moe", ..., ..., 0),
        ("qwen3_vl_moe", ..., True, 0),
        ("mistral3", ..., False, 1),
        ("mistral3", None, True, 0),
        ("llava", False, True, 1),
        ("llama4", True, False, 0),
        ("llama4", False, True, 1),
    ],
)
def test_head_is_tied_where_transformers_ties_it(kind, outer, inner, head, tmp_path):
    """Compared on the meta device by tests/validation/test_every_key.py too."""
    config = {key: value for key, value in saved(kind).items() if key != "vision_config"}
    for table, value in ((config, outer), (config["text_config"], inner)):
        table.pop("tie_word_embeddings", None)
        if value is not ...:
            table["tie_word_embeddings"] = value
    model = tied(tmp_path, config)
    assert model.architecture.backbone.tied == head
    noted = any("tie_word_embeddings" in note for note in model.notes)
    assert noted == (outer is ... and inner not in (..., bool(head)))
    assert ("tie_word_embeddings" in model.assumed) == (outer is inner is ...)


@pytest.mark.parametrize("flat", [False, True])
def test_a_head_of_its_own_that_transformers_would_tie_is_said(flat, tmp_path):
    """The release of PaddleOCR-VL states that it has one, and its text part's default is tied."""
    config = saved("paddleocr_vl") | {"tie_word_embeddings": False}
    del config["vision_config"], config["text_config"]["tie_word_embeddings"]
    if flat:
        config = {**config.pop("text_config"), **config}
    model = tied(tmp_path, config)
    assert not model.architecture.backbone.tied
    assert any("transformers ties it" in note for note in model.notes)


def test_head_of_its_own_with_other_rows_than_the_table_is_refused(tmp_path):
    config = saved("ovis2") | {"tie_word_embeddings": False, "vision_config": {}}
    with pytest.raises(InputError, match="vocab_size = 151643: expected 151936, as of the text"):
        tied(tmp_path, config)


def test_float32_is_two_bytes_a_value_in_bytes_and_times_and_said(tmp_path):
    plain = tied(tmp_path, FIGURES["Llama-2-7b-hf"] | {"torch_dtype": "bfloat16"})
    stored = tied(tmp_path, FIGURES["Llama-2-7b-hf"] | {"torch_dtype": "float32"})
    assert stored.architecture == plain.architecture
    assert stored.notes == (
        "stored in float32, and modelled in two bytes a value as engines run it",
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("Llama-2-7b-hf", {"tie_word_embeddings": "false"},
         "tie_word_embeddings = 'false': expected true or false"),
        ("Llama-2-7b-hf", {"compression_config": {"bits": 4}}, "compression_config: unknown key"),
        ("Llama-2-7b-hf", {"attn_config": {"kv_n_heads": 4}}, "attn_config: unknown key"),
        ("Llama-2-7b-hf", {"num_hidden_layers": 32.0},
         "num_hidden_layers = 32.0: expected an integer of at least 1"),
        ("DeepSeek-V3", {"mlp_layer_types": ["Sparse"] * 61},
         "mlp_layer_types[0] = 'Sparse': expected \"sparse\" or \"dense\""),
        ("DeepSeek-V3", {"moe_layer_freq": ["0"] * 61},
         "moe_layer_freq[0] = '0': expected 0 or 1"),
        ("DeepSeek-V3", {"mlp_layer_types": 3}, "mlp_layer_types: expected a list of 61 entries"),
        ("Qwen1.5-MoE-A2.7B", {"mlp_only_layers": ["0"]},
         "mlp_only_layers = ['0']: expected a list of layer numbers"),
        ("Qwen1.5-MoE-A2.7B", {"mlp_only_layers": [True]},
         "mlp_only_layers = [True]: expected a list of layer numbers"),
        ("MiMo-V2-Flash", {"swa_num_key_value_heads": 4},
         "swa_num_key_value_heads = 4: expected 8, twice num_key_value_heads"),
        ("MiMo-V2-Flash", {"swa_head_dim": 128}, "swa_head_dim = 128: expected 192, head_dim"),
        ("MiMo-V2-Flash", {"hybrid_layer_pattern": [1] * 48},
         "hybrid_layer_pattern[0] = 1: expected 0"),
        ("MiMo-V2-Flash", {"moe_layer_freq": [1] * 48}, "moe_layer_freq[0] = 1: expected 0"),
    ],
)  # fmt: skip
def test_value_that_would_be_taken_for_something_else_is_refused(name, change, message, tmp_path):
    config = json.loads(json.dumps(all_configs()[name]))
    part_of(config).update(change)
    with pytest.raises(InputError) as error:
        load_model(write(tmp_path, config))
    assert str(error.value).startswith(f"{tmp_path / 'config.json'}: {message}")


@pytest.mark.parametrize(
    ("windows", "size"),
    [({"sliding_window": 129, "sliding_window_size": 128}, 129), ({"sliding_window": 128}, 128),
     ({}, 129)],
)  # fmt: skip
def test_window_of_mimo_is_that_of_transformers(windows, size, tmp_path):
    """Its own file counts the tokens before a token; one saved by transformers has both keys."""
    config = {
        key: value
        for key, value in all_configs()["MiMo-V2-Flash"].items()
        if key not in ("sliding_window", "sliding_window_size")
    }
    model = load_model(write(tmp_path, config | windows))
    assert {group.attention.window for group in model.architecture.groups} == {0, size}
