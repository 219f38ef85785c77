"""Vision towers of configs, made small, against transformers: weights, and FLOPs."""

from typing import NamedTuple

import pytest
from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

from sweepengine.data.models import build, load_model
from sweepengine.data.towers import vision_section
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.views import NO_VIEWS, ImageViews, View
from sweepengine.grid.plain import vision_figures
from sweepengine.validation.tower_inputs import Shown, inputs_of
from sweepengine.validation.towers import encode, tower_parameters

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
         "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1],
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
    weights = parts["vision tower"] + parts["projector"]
    assert (weights, found) == (tower_parameters(model), flops)
