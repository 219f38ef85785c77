"""Vision towers of configs, made small, against transformers: weights, and FLOPs."""

import json
from collections import Counter
from typing import NamedTuple

import pytest
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

from sweepengine.data.models import build, load_model
from sweepengine.data.towers import vision_section
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.views import NO_VIEWS, ImageViews, View
from sweepengine.grid.plain import vision_figures
from sweepengine.validation import towers
from sweepengine.validation.tower_inputs import INPUTS, Shown, inputs_of
from sweepengine.validation.towers import (
    TEXT_ALONE,
    WITH_TOWER,
    encode,
    measure_tower,
    tower_parameters,
    vision_types,
)
from tests.data.configs import write

HIDDEN = 64
TEXT = {"hidden_size": HIDDEN, "intermediate_size": 96, "num_hidden_layers": 1, "head_dim": 16,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
LLAMA = {**TEXT, "model_type": "llama"}
TURNED = {**TEXT, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4,
                                      "mrope_section": [2, 3, 3]}}  # fmt: skip
WIDE = {"hidden_size": 64, "intermediate_size": 112}
FIXED = {**WIDE, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 56,
         "patch_size": 14}  # fmt: skip
NATIVE = {**WIDE, "depth": 4, "num_heads": 4, "out_hidden_size": HIDDEN}


class Case(NamedTuple):
    """A small model of a type, and a view to run through its tower."""

    vision: dict
    text: dict
    rows: int
    columns: int
    outer: dict = {}


CASES = {
    "qwen2_5_vl": Case({**NATIVE, "fullatt_block_indexes": [1]}, TURNED, 20, 12),
    "qwen3_vl": Case({**NATIVE, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 2]},
                     TURNED, 8, 12),
    "glm4v": Case({**NATIVE, "image_size": 56}, TURNED, 8, 12),
    "glm_ocr": Case({**NATIVE, "image_size": 56}, TURNED, 8, 12),
    "kimi_k25": Case(
        {**WIDE, "num_hidden_layers": 3, "num_attention_heads": 4, "pos_emb_height": 8,
         "pos_emb_width": 8}, LLAMA, 8, 12,
        {"projection_hidden_size": 64}),
    "hunyuan_vl": Case(
        {**WIDE, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4,
         "max_image_size": 128, "text_hidden_size": HIDDEN}, TEXT, 8, 12),
    "internvl": Case(
        {**FIXED, "image_size": [56, 56], "patch_size": [14, 14], "attention_bias": True,
         "use_qk_norm": True, "norm_type": "rms_norm"}, LLAMA, 4, 4),
    "gemma3": Case({**FIXED, "vision_use_head": False}, TEXT, 4, 4,
                   {"mm_tokens_per_image": 4}),
    "deepseek_vl": Case(FIXED, LLAMA, 4, 4),
    "got_ocr2": Case(
        {"hidden_size": 64, "output_channels": 16, "num_hidden_layers": 3,
         "num_attention_heads": 4, "image_size": 256, "window_size": 5,
         "global_attn_indexes": [1], "mlp_dim": 112}, LLAMA, 16, 16),
    "lighton_ocr": Case({**FIXED, "image_size": 112}, LLAMA, 4, 6),
    "ovis2": Case({**FIXED, "vocab_size": 200, "hidden_stride": 2}, LLAMA, 4, 4,
                  {"hidden_size": HIDDEN}),
    "florence2": Case(
        {"embed_dim": [16, 32], "depths": [1, 2], "num_heads": [2, 4], "num_groups": [2, 4],
         "patch_size": [7, 3], "patch_stride": [4, 8], "patch_padding": [3, 1],
         "patch_prenorm": [False, True], "window_size": 5, "projection_dim": HIDDEN},
        {"model_type": "bart", "d_model": HIDDEN, "vocab_size": 320, "encoder_layers": 1,
         "decoder_layers": 1, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
         "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}, 16, 16),
}  # fmt: skip
"""Types whose towers differ in kind: windows, added layers, convolutions, channels, words."""


@pytest.mark.parametrize("kind", CASES)
def test_a_tower_equals_that_of_transformers(kind):
    case = CASES[kind]
    config = CONFIG_MAPPING[kind](vision_config=case.vision, text_config=case.text, **case.outer)
    model = AutoModelForImageTextToText.from_config(config, attn_implementation="eager").eval()
    section = vision_section(config.to_dict(), HIDDEN, "config.json").section
    base = load_model("qwen3-8b").data
    vision = {"rule": {"name": "fixed", "patch": 1}, **section}
    arch = build({**base, "name": kind, "vision": vision}, "config.json").architecture
    parts = parameter_parts(arch)
    image = ImageViews(View(1, case.rows, case.columns), NO_VIEWS, 1, 1)
    shown = Shown(arch.towers.rule, image.views, 14 * case.rows, 14 * case.columns)
    flops, _ = encode(model, inputs_of(shown, config.vision_config))
    found = vision_figures(arch, image, 0).counts.tensor_flops
    weights = sum(parts.values()) - parts["decoder"] - parts["LM head"]
    assert (weights, found) == (tower_parameters(model), flops)


FEW = {"num_hidden_layers": 2}
SHORT = {
    "blip-2": {"vision_config": FEW, "qformer_config": FEW},
    "cohere2_vision": {"vision_config": FEW},
    "deepseek_vl": {"vision_config": FEW},
    "gemma4": {"vision_config": FEW, "text_config": FEW},
    "glm4v": {"vision_config": {"depth": 2}},
    "got_ocr2": {"vision_config": FEW | {"global_attn_indexes": [1]}},
    "granite_docling": {"vision_config": FEW | {"deepstack_visual_indexes": [0]}},
    "idefics2": {"vision_config": FEW},
    "idefics3": {"vision_config": FEW | {"image_size": 128}},
    "internvl": {"vision_config": FEW},
    "kimi_k25": {"vision_config": FEW, "dtype": "bfloat16"},
    "kosmos-2": {"vision_config": FEW},
    "lfm2_vl": {"vision_config": FEW},
    "llama4": {"vision_config": FEW | {"intermediate_size": 3072, "vision_output_dim": 4096}},
    "llava": {"vision_config": FEW},
    "llava_next": {"vision_config": FEW | {"image_size": 336, "patch_size": 14}},
    "llava_onevision": {"vision_config": FEW | {"image_size": 384, "patch_size": 14}},
    "minimax_m3_vl": {"vision_config": FEW},
    "mllama": {
        "vision_config": FEW
        | {"num_global_layers": 1, "vision_output_dim": 2560, "intermediate_layers_indices": [0]}
    },
    "mistral3": {"vision_config": FEW},
    "paddleocr_vl": {"vision_config": FEW},
    "shieldgemma2": {"vision_config": FEW | {"image_size": 896, "patch_size": 14}},
    "video_llava": {"vision_config": FEW},
    "qwen2_5_vl": {"vision_config": {"depth": 2, "fullatt_block_indexes": [1]}},
    "qwen3_vl": {"vision_config": {"depth": 2, "deepstack_visual_indexes": [0]}},
}
"""Types with every image rule whose inputs are known, and what makes their towers short."""


def saved(kind, tmp_path):
    config = CONFIG_MAPPING[kind](**SHORT[kind]).to_dict()
    return write(tmp_path, json.loads(json.dumps(config, default=str)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHORT)
def test_configs_of_every_image_rule_equal_transformers(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(towers, "IMAGES", ((300, 448),))
    path = saved(kind, tmp_path)
    proof = measure_tower(path, load_model(path))
    assert [(figure.what, figure.difference) for figure in proof.figures] == [
        ("parameters, tower and projector", 0),
        ("tower and projector, image of 300 x 448", 0),
        ("features, image of 300 x 448", 0),
    ]
    assert proof.notes == ()


def test_short_towers_have_every_rule(tmp_path):
    found = {load_model(saved(kind, tmp_path)).architecture.towers.rule.name for kind in SHORT}
    assert found == set(INPUTS) - {"native_newlines"}  # the decoder of HunyuanOCR is not read


def test_what_of_a_tower_is_not_compared_is_one_line(tmp_path, monkeypatch):
    path = saved("llava", tmp_path)
    model = load_model(path)
    monkeypatch.setattr(towers, "inputs_of", lambda *_: {})
    (parameters,), (note,) = measure_tower(path, model)
    assert parameters.difference == 0
    assert note.startswith("the tower is compared by its parameters alone: transformers cannot run")
    monkeypatch.delitem(INPUTS, "fixed")
    assert measure_tower(path, model).notes == (
        "the tower is compared by its parameters alone: the inputs of llava are not known",
    )
    monkeypatch.setattr(towers, "CONFIG_MAPPING", {})
    figures, (note,) = measure_tower(path, model)
    assert figures == []
    assert note == "the tower is not compared: transformers cannot build it: 'llava'"
    assert "\n" not in note


WITH_TOWERS, TEXTS, TYPES = 42, 26, 97
"""Types that are read with their tower, and as text alone; docs/vision.md says so too."""


def test_types_that_see_images_are_read_or_refused_by_a_reason():
    states = vision_types()
    found = Counter(states.values())
    assert (found[WITH_TOWER], found[TEXT_ALONE], len(states)) == (WITH_TOWERS, TEXTS, TYPES)
    for kind, state in states.items():
        assert state in (WITH_TOWER, TEXT_ALONE) or ": " in state, kind
        assert "\n" not in state
