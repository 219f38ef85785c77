"""Layouts and precisions as they are spelled, in grids and frames."""

import polars as pl
import pytest

import sweepengine as se
from sweepengine.costs import metrics
from sweepengine.costs.device_memory import memory_on
from sweepengine.data.models import load_model
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, WEIGHT_FORMATS
from sweepengine.formulas.layout import Layout
from sweepengine.grid.files import parse_grid
from sweepengine.grid.shorthand import read_layout, read_precision


@pytest.mark.parametrize(
    ("written", "layout"),
    [
        ("tp8", Layout(8, 1, 1, 1)),
        ("tp2-pp4", Layout(2, 1, 4, 1)),
        ("pp4-tp2", Layout(2, 1, 4, 1)),
        ("tp8-ep8", Layout(8, 8, 1, 1)),
        ("tp8-ep2", Layout(8, 2, 1, 1)),
        ("tp4-ep8", Layout(4, 8, 1, 2)),  # two tensor groups
        ("dp8-ep64", Layout(8, 64, 1, 8)),
        ("ep8", Layout(1, 8, 1, 8)),
        ("dp8-ep8", Layout(1, 8, 1, 8)),
        ("dp3", Layout(1, 1, 1, 3)),
        ("tp2-ep8-dp4-pp3", Layout(2, 8, 3, 4)),
        ("tp8-dcp2", Layout(8, 1, 1, 1, 2)),
    ],
)
def test_layouts_say_what_they_leave_out(written, layout):
    assert read_layout(written) == layout


@pytest.mark.parametrize("written", ["", "tp", "tp8-tp4", "8", "tp8 ep8", "xp4", 8, None, "tp-8"])
def test_layouts_that_are_none_are_refused(written):
    with pytest.raises(ValueError, match="such as"):
        read_layout(written)


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("bf16", ("bf16", "bf16", "bf16")),
        ("fp8", ("fp8", "fp8", "bf16")),
        ("fp8-kv8", ("fp8", "fp8", "fp8")),
        ("w4a16", ("int4", "bf16", "bf16")),
        ("w8a8-kv8", ("int8", "int8", "fp8")),
        ("nvfp4-kv4", ("nvfp4", "nvfp4", "nvfp4")),
        ("fp8-row-kv16", ("fp8-row", "fp8", "bf16")),
        ("mxfp4", ("mxfp4", "bf16", "bf16")),
        ("checkpoint", ("checkpoint", "fp8", "bf16")),
        ("checkpoint-kv8", ("checkpoint", "fp8", "fp8")),
    ],
)
def test_precisions_set_three_formats(written, names):
    arch = load_model("deepseek-v3").architecture
    weights, activations, cache = read_precision(arch, written)
    assert (WEIGHT_FORMATS[weights], FORMAT_NAMES[activations], CACHE_FORMATS[cache]) == names


BAD = {
    "layout": ({"layout": ["tp3"]}, 'axes.layout[0] = "tp3": tensor_parallel = 3 does not divide'),
    "spelling": ({"layout": ["tp8x"]}, 'axes.layout[0] = "tp8x": expected such as "tp8"'),
    "size": ({"layout": ["tp2048"]}, "1..1,024"),
    "experts": ({"layout": ["ep2"]}, "the model has no routed experts"),
    "twice": ({"layout": ["tp2", "tp2-dp1"]}, "duplicate value"),
    "precision": ({"precision": ["fp7"]}, 'axes.precision[0] = "fp7": expected one of checkpoint'),
    "cache": ({"precision": ["fp8-kv3"]}, "-kv16, -kv8, -kv4 for the KV cache"),
    "none": ({"precision": ["mxfp4"]}, "to routed experts: the model has none"),
    "weights": ({"weight_format": ["int4-32"]}, "to routed experts: the model has none"),
    "both": ({"precision": ["fp8"], "cache_format": ["fp8"]}, "expected no axes.cache_format"),
    "alone": ({"tensor_parallel": [2]}, "axes.tensor_parallel: unknown key"),
}


def test_layouts_are_checked_with_the_heads_that_are_swept():
    axes = {"heads": [[10, 10], [20, 5]], "layout": ["tp5"]}
    parse_grid({"name": "g", "axes": axes}, "g.toml")
    with pytest.raises(se.InputError, match="neither divides 10 key-value heads"):
        parse_grid({"name": "g", "axes": {"heads": [[20, 10]], "layout": ["tp4"]}}, "g.toml")
    odd = axes | {"heads": [[10, 10], [16, 4]]}
    with pytest.raises(se.InputError, match=r'axes.layout\[0\] = "tp5": .* divide 16 attention'):
        parse_grid({"name": "g", "axes": odd}, "g.toml")
    four = {"heads": [[20, 4]], "layout": "tp4"}  # the model's own 10 heads would not do
    assert parse_grid({"name": "g", "axes": four}, "g.toml").points == 1


@pytest.mark.parametrize("case", BAD)
def test_bad_axis_is_one_line(case):
    axes, expected = BAD[case]
    with pytest.raises(se.InputError) as error:
        parse_grid({"name": "g", "model": "qwen3-8b", "axes": axes}, "g.toml")
    assert expected in str(error.value)
    assert str(error.value).startswith("g.toml: axes.")


def test_columns_state_the_formats_that_stand_where_none_is_said():
    found = se.evaluate(pl.DataFrame({"batch_size": [1]}), "deepseek-v3")
    assert found.select("weight_format", "activation_format", "cache_format").row(0) == (
        "checkpoint", "fp8", "bf16",
    )  # fmt: skip
    assert found["devices"].item() == 1


def test_frames_take_layouts_and_refuse_those_that_break_a_rule():
    frame = pl.DataFrame({"tensor_parallel": [1, 8], "weight_format": ["bf16", "fp8"]})
    found = se.evaluate(frame, "llama-3.1-8b")
    assert found["devices"].to_list() == [1, 8]
    assert found["weight_bytes"][0] > 14 * found["weight_bytes"][1]
    for bad in (
        pl.DataFrame({"tensor_parallel": [1, 3]}),
        pl.DataFrame({"batch_size": [1, 1], "weight_format": ["fp8", "mxfp4"]}),
    ):
        with pytest.raises(se.InputError, match="points: row 1: "):
            se.evaluate(bad, "llama-3.1-8b")
    with pytest.raises(se.InputError, match="point: tensor_parallel = 3 does not divide"):
        se.cost("llama-3.1-8b", tensor_parallel=3)
    with pytest.raises(se.InputError, match="point: weight_format"):
        se.cost("llama-3.1-8b", weight_format="mxfp4")


def test_overflow_of_a_layout_is_refused_before_it_starts():
    axes = {"prompt_tokens": [10_000_000], "layout": ["tp8", "tp1"], "batch_size": [65_536]}
    grid = parse_grid({"name": "g", "model": "llama-3.1-405b", "axes": axes}, "g.toml")
    with pytest.raises(se.InputError, match="reaches"):
        grid.check()
    small = parse_grid(
        {"name": "g", "model": "llama-3.1-405b", "axes": {"layout": ["tp8", "tp16-pp2"]}}, "g.toml"
    )
    small.check()


SPACE = {
    "device_tensor_tflops": [100, 989.4],
    "device_bandwidth_gbs": {"start": 1000, "stop": 5000, "step": 2000},
    "device_memory_gb": [0, 24.5],
    "link_bandwidth_gbs": [450],
    "batch_size": [1, 8],
}


def test_hypothetical_hardware_is_a_grid(tmp_path):
    grid = parse_grid({"name": "g", "model": "qwen3-8b", "axes": SPACE}, "g.toml")
    frame = se.scan(grid).collect()
    assert frame.height == 24
    assert frame["device_tensor_tflops"].dtype == pl.Float64
    assert frame["device_tensor_tflops"].unique(maintain_order=True).to_list() == [100, 989.4]
    assert frame["device_bandwidth_gbs"].unique().sort().to_list() == [1000, 3000, 5000]
    assert frame["device_memory_gb"].unique().sort().to_list() == [None, 24.5]
    assert se.scan(grid).filter(pl.col("device_memory_gb") == 24.5).collect().height == 12
    se.run(grid, tmp_path / "out")
    written = pl.read_parquet(tmp_path / "out" / "points-*.parquet")
    assert written["device_memory_gb"].to_list() == frame["device_memory_gb"].to_list()
    given = frame.select("device_memory_gb", "device_tensor_tflops", "batch_size")
    again = se.evaluate(given, "qwen3-8b")
    assert again["device_tensor_tflops"].to_list() == frame["device_tensor_tflops"].to_list()


@pytest.mark.parametrize("value", [-1, 0.12345, "80", True, 2e6, float("inf"), float("nan")])
def test_hardware_that_is_none_is_refused(value):
    with pytest.raises(se.InputError, match=r"three decimals, 0 \(the device's own\)\.\.1,000,000"):
        parse_grid(
            {"name": "g", "model": "qwen3-8b", "axes": {"device_memory_gb": [value]}}, "g.toml"
        )
    with pytest.raises(se.InputError, match="point: device_memory_gb"):
        se.cost("qwen3-8b", device_memory_gb=value)
    if not isinstance(value, str | bool):
        with pytest.raises(se.InputError, match=r"points: device_memory_gb\[0\]"):
            se.evaluate(pl.DataFrame({"device_memory_gb": [float(value)]}), "qwen3-8b")


def test_rooflines_take_what_a_point_says_instead_of_the_device():
    device, model = se.load_device("h100-sxm"), se.load_model("qwen3-8b")
    given = {"prompt_tokens": [1000], "weight_format": ["fp8"], "activation_format": ["fp8"],
             "tensor_parallel": [2]}  # fmt: skip
    said = {"device_tensor_tflops": 494.7, "device_bandwidth_gbs": 1675.0,
            "device_memory_gb": 24.0, "link_bandwidth_gbs": 225.0}  # fmt: skip

    def found(**more):
        frame = se.evaluate(pl.DataFrame(given | {k: [v] for k, v in more.items()}), model)
        return (
            frame.select(
                peak=metrics.tensor_peak(device, "prefill"),
                memory=metrics.memory_seconds(device, "decode"),
                held=memory_on(model, device, tuple(frame.columns)),
            )
            .unnest("held")
            .row(0, named=True)
        )

    own, other = found(), found(**said)
    assert own["peak"] == pytest.approx(1978.9e12)
    assert other["peak"] == pytest.approx(own["peak"] / 2)
    assert other["memory"] == pytest.approx(2 * own["memory"])
    inputs = {name: values[0] for name, values in given.items()} | {"serving": "static"}
    whole, half = (se.cost(model, "roofline", device=device, **inputs | more)
                   for more in ({}, said))  # fmt: skip
    for name in ("prefill_seconds", "tpot_seconds"):  # links, memory and tensor cores at half
        assert half[name] == pytest.approx(2 * whole[name], rel=1e-9)
    assert (own["room_bytes"], other["room_bytes"]) == (78_238_640_000, 22_080_000_000)
    assert other["largest_batch"] < own["largest_batch"] / 3
