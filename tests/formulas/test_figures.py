from hypothesis import given
from hypothesis import strategies as st

from sweepengine.data.models import load_model
from sweepengine.formulas.cost import add, scaled, total
from sweepengine.formulas.crops import crop_views
from sweepengine.formulas.layers import (
    decoder_ends,
    decoder_layer,
)
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.phases import attention_peak, other_peak
from sweepengine.formulas.points import Point
from sweepengine.formulas.reductions import activated_experts
from sweepengine.grid.counted import point_columns
from tests.points import layer_pass, points

RELEASED = load_model("deepseek-ocr-3b").architecture
PUBLISHED = load_model("deepseek-ocr-3b-modelmeter").architecture
ONE_BY_TWO = Point(1024, 640, 1, 2, 10, 100, 1, 10, 10, 1)
EAGER = ONE_BY_TWO._replace(attention=0)
SCALED_BY_BATCH = ("flops", "activation_io_bytes", "kv_io_bytes", "activation_bytes", "cache_bytes")


def test_tokens_of_views_and_tiles():
    rule = RELEASED.vision.crops
    assert crop_views(rule, 1024, 640, 0, 0).tokens == 273
    assert crop_views(rule, 1024, 640, 1, 2).tokens == 483
    assert crop_views(rule, 1024, 640, 3, 2).tokens == 273 + 3 * 10 * (2 * 10 + 1)


def test_released_model_has_the_check_values():
    columns = point_columns(RELEASED, ONE_BY_TWO)
    none = point_columns(RELEASED, ONE_BY_TWO._replace(crop_rows=0, crop_cols=0))
    assert columns["context_tokens"] == 493
    assert none["vision_tensor_flops"] == 1_139_967_033_344
    assert columns["vision_tensor_flops"] == 1_916_266_708_992
    assert columns["prefill_tensor_flops"] == 580_991_712_768
    assert columns["decode_tensor_flops"] == 118_158_489_600


def test_published_accounting_has_the_check_values():
    flash, eager = point_columns(PUBLISHED, ONE_BY_TWO), point_columns(PUBLISHED, EAGER)

    def both(measure):
        return flash[f"vision_{measure}"] + flash[f"prefill_{measure}"]

    assert flash["vision_tensor_flops"] == 1_913_039_446_016
    assert flash["vision_cuda_flops"] == 1_329_560_576
    assert flash["vision_activation_io_bytes"] == 2 * 954_429_440
    assert flash["vision_activation_bytes"] == 2 * 1_007_144_960
    assert both("tensor_flops") == 2_495_322_771_456
    assert both("cuda_flops") == 1_546_890_752
    assert both("activation_io_bytes") == 2 * 1_243_355_048
    assert flash["decode_tensor_flops"] == 118_414_336_000
    assert flash["decode_cuda_flops"] == 44_083_200
    assert flash["decode_activation_io_bytes"] == 2 * 58_605_600
    assert eager["decode_activation_io_bytes"] == 2 * 71_625_600
    assert flash["decode_activation_bytes"] == 2 * 586_056
    assert eager["decode_activation_bytes"] == 2 * 712_776
    assert flash["prefill_activation_bytes"] == 2 * 288_925_608
    assert eager["prefill_activation_bytes"] == 2 * 339_684_888
    for measure in ("weight_io_bytes", "kv_io_bytes"):
        assert flash[f"decode_{measure}"] == flash[f"prefill_{measure}"] == 0


def test_cache_after_decoding_holds_the_tokens_the_model_says():
    per_token = 2 * 12 * 1280 * 2
    for arch, tokens in ((RELEASED, 593), (PUBLISHED, 592)):
        assert point_columns(arch, ONE_BY_TWO)["decode_kv_cache_bytes"] == per_token * tokens
        still = point_columns(arch, ONE_BY_TWO._replace(decode_steps=0))
        assert still["decode_kv_cache_bytes"] == still["prefill_kv_cache_bytes"] == per_token * 493
        assert still["decode_tensor_flops"] == still["decode_activation_bytes"] == 0


def one_step(arch, keys, heads):
    """Counts of one decode step over `keys` keys, and the activations that it holds."""
    cost = total(decoder_ends(arch.backbone, 1), arch.counts.ends)
    peak = 0
    seen = layer_pass(1, keys, flash=heads[2])
    for group in share_of(arch, *heads[:2]).groups:
        layer = decoder_layer(group, arch.backbone, seen)
        cost = add(cost, scaled(total(layer, arch.counts.layer), group.layers, group.layers))
        peaks = (
            attention_peak(layer, arch.backbone.hidden),
            other_peak(layer, arch.backbone, heads[0], seen),
        )
        peak = max(peak, *peaks)
    return cost, cost.activation_sum if arch.convention.sums_activations else peak


@given(points(), st.integers(0, 40))
def test_closed_form_of_decode_is_the_sum_of_its_steps(point, steps):
    point = point._replace(decode_steps=steps)
    heads = (point.attention_heads, point.key_value_heads, point.attention)
    for arch in (RELEASED, PUBLISHED):
        columns = point_columns(arch, point)
        first = columns["context_tokens"] + arch.convention.step_attends_itself
        found = [one_step(arch, first + step, heads) for step in range(steps)]
        for measure in ("tensor_flops", "cuda_flops"):
            summed = sum(getattr(cost, measure) for cost, _ in found)
            assert columns[f"decode_{measure}"] == point.batch_size * summed
        bytes_per_value = 2 * point.batch_size
        assert columns["decode_kv_io_bytes"] == bytes_per_value * sum(c.kv_io for c, _ in found)
        largest = max((held for _, held in found), default=0)
        assert columns["decode_activation_bytes"] == bytes_per_value * largest


@given(points())
def test_batch_scales_every_count_but_weight_reads(point):
    for arch in (RELEASED, PUBLISHED):
        many = point_columns(arch, point)
        one = point_columns(arch, point._replace(batch_size=1))
        for name, value in many.items():
            if name.endswith(SCALED_BY_BATCH):
                assert value == point.batch_size * one[name], name
            elif "weight_io" in name:
                assert one[name] <= value <= max(point.batch_size, 1) * one[name]
            else:
                assert value == one[name]


@given(
    points(),
    st.sampled_from(
        ["view_size", "tile_size", "crop_rows", "crop_cols", "text_tokens", "decode_steps",
         "batch_size"]
    ),
)  # fmt: skip
def test_every_count_grows_with_every_size(point, axis):
    if axis in ("crop_rows", "crop_cols") and point.crop_rows == 0:
        point = point._replace(crop_rows=1, crop_cols=1)
    step = 64 if axis.endswith("_size") and axis != "batch_size" else 1
    larger = point._replace(**{axis: getattr(point, axis) + step})
    for arch in (RELEASED, PUBLISHED):
        before, after = point_columns(arch, point), point_columns(arch, larger)
        assert all(after[name] >= before[name] for name in before)


@given(points())
def test_turning_the_crop_grid_changes_only_tokens(point):
    turned = point._replace(crop_rows=point.crop_cols, crop_cols=point.crop_rows)
    one, other = point_columns(RELEASED, point), point_columns(RELEASED, turned)
    vision_columns = [name for name in one if name.startswith("vision")]
    assert [one[name] for name in vision_columns] == [other[name] for name in vision_columns]
    edge = -(-(point.tile_size // 16) // 4)
    expected = (point.crop_rows - point.crop_cols) * edge
    assert one["image_tokens"] - other["image_tokens"] == expected


@given(points())
def test_eager_does_the_same_flops_and_moves_and_holds_more(point):
    point = point._replace(decode_steps=max(point.decode_steps, 1))
    for arch in (RELEASED, PUBLISHED):
        eager = point_columns(arch, point._replace(attention=0))
        flash = point_columns(arch, point._replace(attention=1))
        assert [v for n, v in eager.items() if n.endswith("flops")] == [
            v for n, v in flash.items() if n.endswith("flops")
        ]
        # The published accounting gives flash one more width a token than eager.
        few = 1280 // (2 * point.attention_heads) if arch is PUBLISHED else 1
        if flash["context_tokens"] > few:
            for stage in ("prefill", "decode"):
                for measure in ("activation_io_bytes", "activation_bytes"):
                    name = f"{stage}_{measure}"
                    assert eager[name] > flash[name], name


def test_activated_experts_grow_from_six_to_all():
    assert activated_experts(64, 64, 6, 0) == 0
    assert abs(activated_experts(64, 64, 6, 1) - 6) < 1e-12
    assert abs(activated_experts(64, 64, 6, 2) - (12 - 36 / 64)) < 1e-12
    assert activated_experts(64, 64, 6, 10_000) == 64
    # docs/layouts.md, "Check values": DeepSeek-V3 on 32 and on 8 devices, 128 tokens
    assert round(activated_experts(8, 256, 8, 128), 3) == 7.863
    assert round(activated_experts(32, 256, 8, 128), 3) == 31.450
    assert activated_experts(8, 256, 8, 40 * 256) == 8


def test_a_pass_that_touches_all_experts_reads_all_parameters_but_unused_ones():
    many = point_columns(RELEASED, ONE_BY_TWO._replace(text_tokens=1_000_000))
    unread = 3 * 14 * 14 * 1024  # the patch convolution of CLIP
    read = many["vision_weight_io_bytes"] + many["prefill_weight_io_bytes"]
    assert read == 2 * (3_336_106_240 - unread)
