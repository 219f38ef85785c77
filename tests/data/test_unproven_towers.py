"""Towers whose code is no part of transformers, by published configs and totals."""

import pytest

from sweepengine.data.errors import InputError
from sweepengine.data.huggingface import reading_of
from sweepengine.data.models import build
from sweepengine.formulas.blocks import join_cost
from sweepengine.formulas.images import image_of_size
from sweepengine.formulas.views import View

NOT_PROVEN = "not proven: its tower's code is no part of transformers"
SIGLIP = {"model_type": "vision", "model_name": "siglip_so400m_patch14_384", "layers": 27,
          "width": 1152, "patch_size": 14, "mlp_ratio": 3.7362}  # fmt: skip
TEXT = {"model_type": "deepseek_v2", "use_mla": False, "vocab_size": 129280, "hidden_size": 1280,
        "intermediate_size": 6848, "num_hidden_layers": 12, "num_attention_heads": 10,
        "num_key_value_heads": 10, "n_routed_experts": 64, "n_shared_experts": 2,
        "num_experts_per_tok": 6, "moe_intermediate_size": 896, "first_k_dense_replace": 1,
        "q_lora_rank": None, "kv_lora_rank": None, "qk_nope_head_dim": 0, "qk_rope_head_dim": 0,
        "v_head_dim": 0, "lm_head": True, "rm_head": False}  # fmt: skip
EDGES = [(1, 1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (2, 3), (3, 2), (3, 3)]
VL2_TINY = {
    "model_type": "deepseek_vl_v2",
    "candidate_resolutions": [[384 * wide, 384 * high] for wide, high in EDGES],
    "global_view_pos": "head",
    "tile_tag": "2D",
    "language_config": TEXT,
    "projector_config": {"model_type": "mlp_projector", "n_embed": 1280},
    "vision_config": SIGLIP,
}
"""DeepSeek-VL2-Tiny."""


def read(config):
    reading = reading_of("config.json", config)
    return reading, build(reading.data, "config.json")


def test_deepseek_vl2_tiny_has_its_published_parameters_and_is_said_to_be_not_proven():
    """3.37 billion, of which 1.0 are activated."""
    reading, model = read(VL2_TINY)
    assert NOT_PROVEN in reading.notes
    assert (model.parameter_count, model.vision_parameter_count) == (3_370_501_440, 435_767_360)
    assert model.active_parameter_count == 1_009_894_720


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(300, 300, 1, 1), (448, 448, 2, 2), (1000, 700, 3, 2), (700, 1000, 2, 3), (400, 1400, 1, 3)],
)
def test_deepseek_vl2_sees_the_whole_image_and_the_tiles_of_the_best_size(
    height, width, rows, columns
):
    """27 x 27 patches a view, padded to 14 x 14 features; newlines, and one separator."""
    towers = read(VL2_TINY)[1].architecture.towers
    image = image_of_size(towers, height, width)
    assert image.views == View(1 + rows * columns, 27, 27)
    assert image.features == image.tokens == 14 * 15 + 1 + 14 * rows * (14 * columns + 1)
    first = next(join for join in towers.joins if join.inputs == 4 * 1152)
    assert join_cost(first, View(1, 27, 27), 0).tensor_flops == 2 * 196 * 4 * 1152 * 1280


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("projector_config", "projector_type", "linear", "projector_config.projector_type = "),
        ("projector_config", "n_embed", 2048, "n_embed = 2048: expected the width of the decoder"),
        ("projector_config", "input_dim", 1024, "input_dim = 1024: expected d = 1152"),
        ("vision_config", "global_pool", "token", "vision_config.global_pool = "),
        ("vision_config", "mlp_ratio", True, "vision_config.mlp_ratio = True: expected a number"),
        ("vision_config", "mlp_ratio", 1e-9, "expected a ratio that gives a width of at least 1"),
        ("", "tile_tag", "1D", "tile_tag = '1D': expected '2D'"),
    ],
)
def test_other_towers_and_projectors_of_its_code_are_refused_by_name(part, key, value, message):
    table = {**(VL2_TINY[part] if part else VL2_TINY), key: value}
    with pytest.raises(InputError) as error:
        read({**VL2_TINY, part: table} if part else table)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["deeplip_b_l", None])
def test_other_encoders_of_the_same_type_are_read_as_text_alone(name):
    reading, model = read({**VL2_TINY, "vision_config": {**SIGLIP, "model_name": name}})
    assert model.architecture.towers is None
    assert "vision tower of vision is not modelled" in reading.notes


MINERU_2 = {
    "model_type": "mineru2_qwen", "hidden_size": 896, "intermediate_size": 4864,
    "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "vocab_size": 151936, "tie_word_embeddings": True, "use_sliding_window": False,
    "image_aspect_ratio": "square_anyres_max_9", "image_grid_pinpoints": "(1x1),...,(4x4)",
    "mm_hidden_size": 1152, "mm_patch_merge_type": "spatial_unpad",
    "mm_projector_type": "mlp2x_gelu", "mm_vision_select_feature": "full",
    "mm_vision_select_layer": -2, "mm_vision_tower": "google/siglip-so400m-patch14-384",
}  # fmt: skip


def test_mineru_2_has_its_published_parameters_and_is_said_to_be_not_proven():
    """0.9 billion: Qwen2-0.5B, 26 blocks of SigLIP and two layers between."""
    reading, model = read(MINERU_2)
    assert NOT_PROVEN in reading.notes
    assert (model.parameter_count, model.vision_parameter_count) == (893_618_208, 399_585_440)


@pytest.mark.parametrize(
    ("height", "width", "tiles", "rows", "columns"),
    [(300, 300, 1, 27, 27), (448, 448, 4, 54, 54), (1654, 2339, 12, 70, 93)],
)
def test_mineru_2_stretches_an_image_to_tiles_and_shrinks_their_features(
    height, width, tiles, rows, columns
):
    """3 x 4 tiles are 81 x 108 features, which sqrt(81*108 / (9*27*27)) = 1.155 makes 70 x 93."""
    image = image_of_size(read(MINERU_2)[1].architecture.towers, height, width)
    assert image.views == View(1 + tiles, 27, 27)
    assert image.features == 27 * 27 + rows * (columns + 1)


def test_sizes_of_mineru_2_may_be_listed():
    listed = [[384 * high, 384 * wide] for high in range(1, 5) for wide in range(1, 5)]
    assert read({**MINERU_2, "image_grid_pinpoints": listed})[1].architecture == (
        read(MINERU_2)[1].architecture
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_aspect_ratio", "anyres"),
        ("image_grid_pinpoints", "(1x1),(4x4)"),
        ("mm_hidden_size", 1024),
        ("mm_patch_merge_type", "flat"),
        ("mm_projector_type", "linear"),
        ("mm_vision_select_layer", -3),
        ("mm_vision_tower", "openai/clip-vit-large-patch14-336"),
        ("mm_resampler_type", "perceiver"),
    ],
)
def test_other_towers_of_mineru_are_refused_by_name(key, value):
    with pytest.raises(InputError, match=key):
        read({**MINERU_2, key: value})


INTERNVL3 = {
    "model_type": "internvl_chat", "architectures": ["InternVLChatModel"], "auto_map": {},
    "downsample_ratio": 0.5, "dynamic_image_size": True, "force_image_size": 448,
    "hidden_size": 3584, "image_fold": None, "max_dynamic_patch": 12, "min_dynamic_patch": 1,
    "output_attentions": False, "pad2square": False, "ps_version": "v2", "select_layer": -1,
    "template": "internvl2_5", "use_backbone_lora": 0, "use_llm_lora": 0, "use_thumbnail": True,
    "llm_config": {"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
                   "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
                   "vocab_size": 151674, "tie_word_embeddings": False},
    "vision_config": {"model_type": "intern_vit_6b", "hidden_size": 1024, "image_size": 448,
                      "intermediate_size": 4096, "num_attention_heads": 16, "qkv_bias": True,
                      "num_hidden_layers": 24, "norm_type": "layer_norm", "patch_size": 14,
                      "qk_normalization": False, "use_flash_attn": True},
}  # fmt: skip
"""InternVL3-8B as its authors release it."""
SIXTH = {"model_type": "intern_vit_6b", "image_size": 448, "num_hidden_layers": 45}
"""InternViT-6B-448px-V1-5."""


def test_internvl_of_its_authors_is_that_of_transformers():
    """7.94 billion parameters published."""
    tower = {key: INTERNVL3["vision_config"][key]
             for key in ("hidden_size", "intermediate_size", "num_attention_heads",
                         "num_hidden_layers", "norm_type")}  # fmt: skip
    tower |= {"model_type": "internvl_vision", "attention_bias": True, "use_qk_norm": False}
    other = {"model_type": "internvl", "text_config": INTERNVL3["llm_config"],
             "vision_config": tower, "tie_word_embeddings": False}  # fmt: skip
    reading, model = read(INTERNVL3)
    assert any(note.startswith("not proven: its code is no part") for note in reading.notes)
    assert model.parameter_count == 7_944_373_760
    same = read(other)[1].architecture
    assert model.architecture.groups == same.groups
    assert model.architecture.towers == same.towers


def test_internvl_with_the_large_tower_has_its_published_parameters():
    """5.54 billion in the tower; the projector is 3,200*4 wide."""
    model = read({**INTERNVL3, "vision_config": SIXTH})[1]
    wide, hidden = 4 * 3200, 3584
    projector = 2 * wide + wide * hidden + hidden + hidden * hidden + hidden
    assert model.vision_parameter_count - projector == 5_536_496_000


@pytest.mark.parametrize("key", ["max_dynamic_patch", "min_dynamic_patch"])
def test_limits_of_tiles_stand_in_the_config_of_internvl(key):
    rule = read({**INTERNVL3, key: 6})[1].architecture.towers.rule
    assert (rule.least, rule.most) == ((1, 6) if key.startswith("max") else (6, 12))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("force_image_size", 336, "contradicts force_image_size = 336"),
        ("select_layer", -4, "select_layer = -4: expected -1"),
        ("use_thumbnail", False, "use_thumbnail = False: expected true"),
        ("downsample_ratio", 0.3, "downsample_ratio = 0.3: expected"),
        ("moe_layers", 3, "moe_layers: unknown key for the vision tower of internvl_chat"),
    ],
)
def test_what_the_row_of_internvl_does_not_know_is_refused_by_name(key, value, message):
    with pytest.raises(InputError) as error:
        read({**INTERNVL3, key: value})
    assert message in str(error.value)


KIMI_VL = {
    "model_type": "kimi_vl", "ignore_index": -100, "media_placeholder_token_id": 163605,
    "use_cache": True, "vocab_size": 163840, "tie_word_embeddings": False,
    "vision_config": {"model_type": "moonvit", "patch_size": 14, "num_attention_heads": 16,
                      "num_hidden_layers": 27, "hidden_size": 1152, "intermediate_size": 4304,
                      "merge_kernel_size": [2, 2], "init_pos_emb_height": 64,
                      "init_pos_emb_width": 64, "torch_dtype": "bfloat16"},
    "text_config": {"model_type": "deepseek_v3", "vocab_size": 163840, "hidden_size": 2048,
                    "intermediate_size": 11264, "moe_intermediate_size": 1408,
                    "num_hidden_layers": 27, "num_attention_heads": 16, "n_shared_experts": 2,
                    "n_routed_experts": 64, "num_experts_per_tok": 6, "kv_lora_rank": 512,
                    "q_lora_rank": None, "qk_rope_head_dim": 64, "v_head_dim": 128,
                    "qk_nope_head_dim": 128, "topk_method": "noaux_tc", "moe_layer_freq": 1,
                    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
                    "num_key_value_heads": 16, "scoring_func": "sigmoid"},
}  # fmt: skip
"""Kimi-VL-A3B-Instruct."""


def test_kimi_vl_has_its_published_parameters_and_pads_what_it_shrinks():
    """16.4 billion, 2.8 of them activated, and a tower of 0.4."""
    reading, model = read(KIMI_VL)
    assert NOT_PROVEN in reading.notes
    assert (model.parameter_count, model.vision_parameter_count) == (16_407_654_384, 447_545_840)
    image = image_of_size(model.architecture.towers, 3000, 2000)
    assert (image.views, image.features) == (View(1, 80, 54), 40 * 27)
    assert image_of_size(model.architecture.towers, 280, 140).features == 10 * 5
