"""Tokens of images that take experts of their own (ERNIE 4.5 VL): figures, sums and backends."""

import copy

import pytest

from sweepengine.data.errors import InputError
from sweepengine.data.models import build, load_model
from sweepengine.formulas.cost import NOTHING
from sweepengine.formulas.experts import image_experts
from sweepengine.formulas.layout import Layout, share_of
from sweepengine.formulas.passes import pass_of
from sweepengine.grid.plain import workload_of
from sweepengine.grid.points import checked_point
from tests.data.backends import check_figures, check_seconds, check_timeline, check_tree
from tests.data.configs import write

TEXT = {"model_type": "ernie4_5_vl_moe_text", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 320, "moe_intermediate_size": [48, 32], "moe_k": 2, "moe_num_experts": 8,
        "moe_num_shared_experts": 2}  # fmt: skip
VISION = {"model_type": "ernie4_5_vl_moe_vision", "depth": 2, "hidden_size": 32, "num_heads": 4,
          "intermediate_size": 48}  # fmt: skip
SMALL = {"model_type": "ernie4_5_vl_moe", "text_config": TEXT, "vision_config": VISION}
"""The first of 3 layers is dense."""
AN_IMAGE = {"image_height": 112, "image_width": 84}
IMAGE_TOKENS = 4 * 3 + 2


@pytest.fixture
def model(tmp_path):
    return load_model(write(tmp_path, SMALL))


def moe_group(model):
    (group,) = [group for group in model.architecture.groups if group.feed_forward.image_width]
    return group


def test_the_release_has_the_parameters_of_transformers(tmp_path):
    text = {"model_type": "ernie4_5_vl_moe_text", "vocab_size": 103424, "hidden_size": 2560,
            "num_attention_heads": 20, "intermediate_size": 12288,
            "num_hidden_layers": 28}  # fmt: skip
    release = {"model_type": "ernie4_5_vl_moe", "text_config": text, "vision_config": {}}
    model = load_model(write(tmp_path, release))
    assert model.parameter_count == 29_399_294_336
    assert model.vision_parameter_count == 774_658_560
    assert model.active_parameter_count == 4_126_808_768


def test_tokens_of_images_leave_the_experts_of_text(model):
    """Worked by hand: 8 experts, 2 a token, 48 wide for text and 32 for images."""
    group = moe_group(model)
    share = share_of(model.architecture, 0, 0)
    position = share.groups.index(group) + 1
    layer = pass_of(share, 20, 0, 1, 0, features=IMAGE_TOKENS)[position].operators
    text, hidden = 20 - IMAGE_TOKENS, 64
    assert layer.router.tensor_flops == 2 * text * hidden * 8
    assert layer.routed.tensor_flops == 2 * text * 2 * 3 * hidden * 48
    expected = 2 * IMAGE_TOKENS * (hidden * 8 + 2 * 3 * hidden * 32)
    assert layer.image_experts.tensor_flops == expected
    assert layer.image_experts.weights == 8 * (hidden + 1) + 8 * 3 * hidden * 32
    assert layer.image_experts.weight_io == layer.image_experts.weights
    assert layer.image_experts.expert_io == 0
    assert layer.mlp.tensor_flops == 2 * 20 * 3 * hidden * 2 * 48


def test_a_pass_of_text_runs_and_reads_no_experts_for_images(model):
    group = moe_group(model)
    cost = image_experts(group.feed_forward, 64, 0)
    assert cost == NOTHING._replace(weights=cost.weights)
    plain = group.feed_forward._replace(image_width=0)
    assert image_experts(plain, 64, 9) == NOTHING


def test_a_chunk_of_images_alone_has_no_tokens_of_text(model):
    share = share_of(model.architecture, 0, 0)
    position = share.groups.index(moe_group(model)) + 1
    layer = pass_of(share, 5, 0, 1, 0, features=IMAGE_TOKENS)[position].operators
    assert layer.routed.tensor_flops == layer.router.tensor_flops == 0
    assert layer.image_experts.tensor_flops == 2 * 5 * (64 * 8 + 2 * 3 * 64 * 32)


@pytest.mark.parametrize(("weight_format", "size"), [("checkpoint", 2), ("fp8-tensor", 1)])
@pytest.mark.parametrize("images", [0, 1])
def test_a_prefill_with_images_reads_their_experts(model, weight_format, size, images):
    at = {"text_tokens": 7, "weight_format": weight_format, "images": images, **AN_IMAGE}
    weights = workload_of(model.architecture, checked_point(model, at)).figures.weights
    scales = 8 * 3 * 4 * (size == 1)  # one of each matrix
    experts = 2 * (8 * 3 * 64 * 32 * size + scales + 2 * 8 * 65)
    assert weights.prefill_read_bytes - weights.read_bytes == images * experts


def test_devices_share_experts_for_images_as_those_for_text(model):
    share = share_of(model.architecture, 0, 0, Layout(4, 2, 1, 1))
    (forward,) = [group.feed_forward for group in share.groups if group.feed_forward.experts]
    assert (forward.image_width, forward.expert_width, forward.experts_held) == (16, 24, 4)


AXES = {
    "text_tokens": [1, 70],
    "images": [0, 1, 3],
    "decode_steps": [0, 3],
    "batch_size": [1, 5],
    "image": ["112x84", "300x200"],
    "attention": ["eager", "flash"],
    "layout": ["tp1", "tp2", "tp2-ep2"],
    "precision": ["checkpoint", "int8", "fp8-kv8"],
}


def test_compiled_figures_are_those_of_plain_python(model, monkeypatch):
    check_figures(model, AXES, monkeypatch)


def test_compiled_seconds_are_those_of_plain_python(model):
    check_seconds(model, AXES)


POINT = {"text_tokens": 5, "decode_steps": 3, "batch_size": 2, "weight_format": "int8", **AN_IMAGE}


def test_lines_of_the_tree_add_up_to_the_columns(model):
    first, later = check_tree(model, POINT, "experts for images")
    assert first.tensor_flops > later.tensor_flops == 0


def test_times_of_operators_add_up_to_the_phases(model):
    operators = check_timeline(model, POINT)
    spent = {one.id.operator: one.seconds for one in operators if one.stage == "prefill"}
    assert spent["image_experts"] > 0


@pytest.mark.parametrize("widths", [48, [48], [48, 32, 16]])
def test_experts_have_two_widths(tmp_path, widths):
    text = {**TEXT, "moe_intermediate_size": widths}
    with pytest.raises(InputError, match=r"moe_intermediate_size = .*: expected the widths for"):
        load_model(write(tmp_path, {**SMALL, "text_config": text}))


def test_experts_for_images_stand_beside_experts_for_text(model):
    decoder = copy.deepcopy(model.data["decoder"])
    decoder["feed_forward"]["dense"]["image_width"] = 8
    with pytest.raises(InputError, match=r"feed_forward\.dense\.image_width"):
        build({**model.data, "decoder": decoder}, "model.toml")
