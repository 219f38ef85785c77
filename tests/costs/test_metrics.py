import polars as pl
import pytest

import sweepengine as se
from sweepengine import metrics
from sweepengine.costs.device_times import Achievable, slowed
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.parameters import parameter_parts


@pytest.fixture
def points():
    frame = pl.DataFrame({"crop_rows": [1], "crop_cols": [2]})
    return se.evaluate(frame, "deepseek-ocr-3b-modelmeter")


def test_intensity_per_bit_is_flops_over_published_activation_bits(points):
    both = ("vision", "prefill")
    bits, per_byte = points.select(
        metrics.arithmetic_intensity(both, per="bit").alias("bit"),
        metrics.arithmetic_intensity(both).alias("byte"),
    ).row(0)
    expected = (2_495_322_771_456 + 1_546_890_752) / (1_243_355_048 * 16)
    assert bits == pytest.approx(expected, rel=1e-15)
    assert per_byte == 8 * bits
    with pytest.raises(se.InputError, match='expected "byte" or "bit"'):
        metrics.arithmetic_intensity(both, per="nibble")


def test_released_model_counts_weights_and_cache_as_moved():
    points = se.evaluate(pl.DataFrame({"batch_size": [1]}))
    row = points.row(0, named=True)
    moved = points.select(metrics.moved_bytes(["decode"])).item()
    parts = ("activation_io_bytes", "weight_io_bytes", "kv_io_bytes")
    assert moved == sum(row[f"decode_{part}"] for part in parts)


def test_required_rate_falls_with_the_time_allowed(points):
    need = [
        points.select(rate(seconds)).item()
        for rate in (metrics.required_tflops_for_ttft, metrics.required_tflops_for_tpot)
        for seconds in (0.5, 1.0)
    ]
    assert need[0] == 2 * need[1]
    assert need[2] == 2 * need[3]


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_targets_are_positive_seconds(seconds):
    with pytest.raises(se.InputError, match="expected seconds above 0"):
        metrics.required_tflops_for_ttft(seconds)


H100 = se.load_device("h100-sxm")
RELEASED = se.load_model()


def test_decode_of_one_page_is_bound_by_the_weights_it_reads():
    point = se.evaluate(pl.DataFrame({"crop_rows": [1], "crop_cols": [2]}))
    assert point.select(metrics.bound(H100, "decode")).item() == "bandwidth"
    assert point.select(metrics.bound(H100, "vision")).item() == "compute"
    tpot = point.select(metrics.memory_seconds(H100, "decode")).item() / 100
    group = RELEASED.architecture.groups[-1]
    mixture = group.feed_forward
    expert = 3 * RELEASED.architecture.backbone.hidden * mixture.expert_width * 2
    unread = group.layers * (mixture.experts - mixture.experts_per_token) * expert
    vision_and_table = (95_569_152 + 303_177_728 + 2_622_720 + 2_560 + 165_478_400) * 2
    read = RELEASED.weight_bytes - unread - vision_and_table
    # Beside the weights a step reads the cache and moves activations, a few per cent.
    assert read / H100.bytes_per_s < tpot < 1.05 * read / H100.bytes_per_s
    assert tpot < RELEASED.weight_bytes / H100.bytes_per_s


def test_attainable_rate_is_the_lower_roof():
    points = se.evaluate(pl.DataFrame({"batch_size": [1, 64]}))
    for stage in ("vision", "prefill", "decode"):
        rate, work, traffic = points.select(
            metrics.attainable_flops_per_s(H100, stage).alias("rate"),
            metrics.compute_seconds(H100, stage).alias("work"),
            metrics.memory_seconds(H100, stage).alias("traffic"),
        ).get_columns()
        flops = points.select(metrics.flops([stage])).to_series()
        slower = [max(pair) for pair in zip(work, traffic, strict=True)]
        assert rate.to_list() == pytest.approx([f / s for f, s in zip(flops, slower, strict=True)])


def test_slower_peaks_take_longer_in_proportion():
    whole, half = (
        se.cost("qwen3-8b", "roofline", device=slowed(H100, Achievable(share, share)))
        for share in (1.0, 0.5)
    )
    for name in ("prefill_seconds", "ttft_seconds", "tpot_seconds"):
        assert half[name] == pytest.approx(2 * whole[name], rel=1e-9)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, float("nan")])
def test_fractions_are_of_the_peak(fraction):
    with pytest.raises(se.InputError, match="above 0, at most 1"):
        slowed(H100, Achievable(fraction, 1.0))


def test_weights_follow_the_heads():
    heads = [(10, 10), (10, 5), (20, 4), (1280, 1), (8, 2)]
    frame = pl.DataFrame(heads, schema=["attention_heads", "key_value_heads"], orient="row")
    found = se.evaluate(frame)["weight_bytes"].to_list()
    arch = RELEASED.architecture
    own = [arch._replace(groups=share_of(arch, *pair).groups) for pair in heads]
    assert found == [2 * sum(parameter_parts(other).values()) for other in own]
    assert found[0] == RELEASED.weight_bytes


@pytest.mark.parametrize("tokens", [1, 15, 16, 17, 127, 128, 129, 145, 5000])
def test_engines_reserve_whole_pages_and_no_more_of_a_window_than_it_can_lie_on(tokens):
    frame = pl.DataFrame({"prompt_tokens": [tokens], "decode_steps": [0], "batch_size": [3]})
    point = se.evaluate(frame, "gpt-oss-20b")
    model = se.load_model("gpt-oss-20b")
    reserved = point.select(metrics.reserved_kv_cache_bytes(model)).item()
    layer = 2 * 8 * 64 * 2
    pages = -(-tokens // 16)
    assert reserved == 3 * 12 * layer * 16 * (pages + min(pages, -(-127 // 16) + 1))
    assert reserved >= point["decode_kv_cache_bytes"].item()
    one = point.select(metrics.reserved_kv_cache_bytes(model, 1)).item()
    assert one >= point["decode_kv_cache_bytes"].item()
    with pytest.raises(se.InputError, match="page_tokens = 0"):
        metrics.reserved_kv_cache_bytes(model, 0)


def test_reserved_pages_follow_the_heads_of_each_point():
    frame = pl.DataFrame({"key_value_heads": [10, 5], "decode_steps": [7, 7]})
    found = se.evaluate(frame).select(metrics.reserved_kv_cache_bytes(RELEASED)).to_series()
    assert found.to_list() == [2 * 12 * 1280 * 2 * 304, 2 * 12 * 640 * 2 * 304]


def test_devices_that_share_tokens_reserve_blocks_of_their_part():
    frame = pl.DataFrame({"prompt_tokens": [5_000], "decode_steps": [0], "tensor_parallel": [8],
                          "decode_context_parallel": [8]})  # fmt: skip
    model = se.load_model("deepseek-v3")
    found = se.evaluate(frame, model).select(metrics.reserved_kv_cache_bytes(model)).item()
    assert found == -(-5_000 // (64 * 8)) * 64 * 61 * 576 * 2
