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
