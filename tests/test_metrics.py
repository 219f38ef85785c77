import polars as pl
import pytest

import sweepengine as se
from sweepengine import metrics


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
