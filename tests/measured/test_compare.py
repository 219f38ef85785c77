import json

import polars as pl
import pytest

import sweepengine as se
from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.measured.compare import find_comparison
from sweepengine.measured.measured_runs import read_runs, runs_of
from sweepengine.search.options import CompareOptions
from sweepengine.show.comparison_chart import comparison_chart

MODEL, DEVICE = "llama-3.1-8b", "h100-sxm"
BENCHMARK = {
    "model_id": "meta-llama/Meta-Llama-3.1-8B",
    "completed": 100,
    "total_input_tokens": 102_400,
    "total_output_tokens": 25_600,
    "output_throughput": 3000.0,
    "mean_ttft_ms": 210.0,
    "mean_tpot_ms": 18.0,
    "max_concurrency": 64,
}


def runs(factor=1.0, host_ms=0.0, **columns):
    """Runs that take `factor` times as long as predicted, and a constant a step more."""
    rows = []
    for batch in (1, 4, 16, 64, 128):
        for prompt in (512, 4096):
            asked = {"prompt_tokens": prompt, "decode_steps": 256, "batch_size": batch}
            cost = se.cost(MODEL, device=DEVICE, serving="static", **asked)
            ttft, tpot = cost["ttft_seconds"] * factor, cost["tpot_seconds"] * factor
            asked |= {"ttft_ms": ttft * 1000, "tpot_ms": tpot * 1000 + host_ms}
            rows.append(asked | columns)
    return pl.DataFrame(rows)


def test_predictions_ratios_and_shares_are_what_single_costs_say():
    found = find_comparison(runs(1.25), DEVICE, MODEL)
    peak, bandwidth = load_device(DEVICE).tensor_flops_per_s, load_device(DEVICE).bytes_per_s
    for row in found.runs.to_dicts():
        asked = {name: row[name] for name in ("prompt_tokens", "decode_steps", "batch_size")}
        cost = se.cost(MODEL, device=DEVICE, serving="static", **asked)
        assert row["predicted_ttft_s"] == pytest.approx(cost["ttft_seconds"])
        assert row["ttft_ratio"] == pytest.approx(0.8)
        assert row["tpot_ratio"] == pytest.approx(0.8)
        assert row["prefill_numerator_flops"] == cost["prefill_tensor_flops"]
        spent = row["measured_ttft_s"]
        assert row["prefill_mfu"] == pytest.approx(cost["prefill_tensor_flops"] / spent / peak)
        moved = sum(cost[f"decode_{m}_io_bytes"] for m in ("activation", "weight", "kv"))
        spent = row["measured_tpot_s"] * row["decode_steps"]
        assert row["decode_mbu"] == pytest.approx(moved / spent / bandwidth)
        assert row["measured_whole_s"] == pytest.approx(row["measured_ttft_s"] + spent)
    assert found.warnings == ()


def test_gap_adds_up_and_says_what_is_unexplained():
    found = find_comparison(runs(1.25), DEVICE, MODEL)
    for stage in ("prefill", "decode"):
        mine = found.gap.filter(pl.col("stage") == stage)
        assert mine["of_gap"].sum() == pytest.approx(1)
        unexplained = mine.filter(pl.col("operator") == "unexplained")["of_gap"].item()
        assert 0.1 < unexplained < 0.9
    exact = find_comparison(runs(1.0), DEVICE, MODEL).gap
    assert exact.filter(pl.col("operator") == "unexplained")["of_gap"].abs().max() < 1e-9


def test_runs_without_a_layout_of_their_own_take_the_given_one():
    found = find_comparison(runs(), DEVICE, MODEL, CompareOptions(layout="tp2"))
    assert found.runs["devices"].to_list() == [2] * 10
    spelled = find_comparison(runs(layout="tp2", precision="fp8-kv8"), DEVICE, MODEL)
    assert spelled.runs["tensor_parallel"].to_list() == [2] * 10
    assert set(spelled.runs["weight_format"].cast(pl.String)) == {"fp8"}


def test_world_size_that_is_forgotten_is_noticed():
    with pytest.raises(InputError, match=r"runs: run 0: DECODE MBU of 2\.\d+: faster .* --layout"):
        find_comparison(runs(0.25), DEVICE, MODEL)
    told = find_comparison(runs(0.25), DEVICE, MODEL, CompareOptions(layout="tp8"))
    assert told.warnings == ()


def test_peak_that_is_sparse_is_noticed(tmp_path):
    text = known("devices")[DEVICE].read_text(encoding="utf-8")
    path = tmp_path / "sparse.toml"
    path.write_text(text.replace("989.4", "1978.8"), encoding="utf-8")
    found = find_comparison(runs(), path, MODEL)
    assert any("check whether it is the sparse peak" in text for text in found.warnings)


def test_reports_with_another_denominator_are_noticed():
    ours = find_comparison(runs(), DEVICE, MODEL).runs["whole_mfu"]
    halved = find_comparison(runs().with_columns(mfu=ours / 2), DEVICE, MODEL)
    assert sum("check whether it uses the sparse peak" in text for text in halved.warnings) == 10
    eighth = find_comparison(runs().with_columns(mfu=ours * 8), DEVICE, MODEL)
    assert sum("count of FLOPs and of devices" in text for text in eighth.warnings) == 10
    same = find_comparison(runs().with_columns(mfu=ours), DEVICE, MODEL)
    assert same.warnings == ()


def test_calibration_finds_the_constant_and_the_factor_that_made_the_runs():
    fit = find_comparison(runs(1.3, 0.8), DEVICE, MODEL, CompareOptions(calibrate=True)).calibration
    assert fit.factor == pytest.approx(1.3, rel=1e-3)
    assert fit.host_ms == pytest.approx(0.8, rel=0.02)
    assert fit.before_median > 15
    assert fit.left_median < 0.5
    assert (fit.of, fit.runs) == ("tpot", 10)


def test_calibration_is_judged_on_runs_that_no_fit_saw():
    """One wild run cannot be predicted from the others, however the fit to all bends."""
    wild = runs().with_columns(
        tpot_ms=pl.when(pl.int_range(pl.len()) == 9).then(500.0).otherwise("tpot_ms")
    )
    fit = find_comparison(wild, DEVICE, MODEL, CompareOptions(calibrate=True)).calibration
    assert fit.left_mean > 5


def test_rates_alone_give_whole_requests():
    whole_ms = pl.col("ttft_ms") + 256 * pl.col("tpot_ms")
    rate = pl.col("batch_size") * 256 / whole_ms * 1000
    frame = runs(1.0).with_columns(tokens_per_s=rate).drop("ttft_ms", "tpot_ms")
    found = find_comparison(frame, DEVICE, MODEL, CompareOptions(calibrate=True))
    assert found.runs["whole_ratio"].to_list() == pytest.approx([1.0] * 10)
    assert found.gap["stage"].unique().to_list() == ["whole"]
    assert found.calibration.of == "whole"


def test_vision_is_in_what_the_first_token_takes():
    cost = se.cost(
        device="a100-40gb",
        crop_rows=2,
        crop_cols=3,
        batch_size=4,
        decode_steps=50,
        serving="static",
    )
    asked = {"crop_rows": 2, "crop_cols": 3, "batch_size": 4, "decode_steps": 50}
    frame = pl.DataFrame([asked | {"ttft_seconds": cost["ttft_seconds"]}])
    (row,) = find_comparison(frame, "a100-40gb", "deepseek-ocr-3b").runs.to_dicts()
    both = cost["vision_tensor_flops"] + cost["prefill_tensor_flops"]
    assert row["prefill_numerator_flops"] == both
    apart = frame.with_columns(prefill_seconds=pl.lit(cost["prefill_seconds"]),
                               vision_seconds=pl.lit(cost["vision_seconds"]))  # fmt: skip
    (row,) = find_comparison(apart, "a100-40gb", "deepseek-ocr-3b").runs.to_dicts()
    assert row["prefill_numerator_flops"] == cost["prefill_tensor_flops"]
    assert row["vision_numerator_flops"] == cost["vision_tensor_flops"]
    assert row["ttft_ratio"] == pytest.approx(1.0)


def test_benchmark_of_a_server_is_read(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(BENCHMARK))
    found = find_comparison(path, DEVICE)
    (row,) = found.runs.to_dicts()
    cost = se.cost(MODEL, device=DEVICE, serving="continuous", prompt_tokens=1024,
                   decode_steps=256, batch_size=64)  # fmt: skip
    assert row["predicted_tpot_s"] == pytest.approx(cost["tpot_seconds"])
    assert row["measured_ttft_s"] == 0.21
    assert row["prefill_mfu"] is None  # a TTFT of a running batch is no prefill's time
    assert "runs of dense models on vLLM" in found.basis
    assert set(found.gap["stage"]) == {"prefill", "decode"}


def test_benchmark_without_a_limit_takes_the_concurrency_that_it_had(tmp_path):
    path = tmp_path / "runs.jsonl"
    sglang = {key: value for key, value in BENCHMARK.items() if key not in ("max_concurrency",)}
    open_loop = sglang | {"concurrency": 31.7, "model_id": None,
                          "server_info": {"model_path": "meta-llama/Meta-Llama-3.1-8B",
                                          "tp_size": 2}}  # fmt: skip
    path.write_text(json.dumps(open_loop) + "\n" + json.dumps(open_loop) + "\n")
    read = read_runs(path, DEVICE, "vllm")
    assert read.inputs["batch_size"].to_list() == [32, 32]
    assert read.inputs["tensor_parallel"].to_list() == [2, 2]
    assert read.model == "meta-llama/Meta-Llama-3.1-8B"
    path.write_text(json.dumps(sglang))
    assert "Little" in " ".join(read_runs(path, DEVICE, "vllm").assumed)
    little = 3000 / 256 * (0.21 + 0.018 * 255)
    assert read_runs(path, DEVICE, "vllm").inputs["batch_size"].to_list() == [round(little)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"completed": 0}, "completed = 0: expected a number above 0"),
        ({"completed": True}, "completed = True"),
        ({"total_input_tokens": "many"}, "total_input_tokens = 'many'"),
        ({"output_throughput": None}, "output_throughput = None"),
        ({"model_id": "nobody/nothing"}, "is not a shipped model"),
    ],
)
def test_wrong_benchmarks_are_named(tmp_path, change, said):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(BENCHMARK | change))
    with pytest.raises(InputError, match=said):
        find_comparison(path, DEVICE)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"batch_size": [1]}, "expected a measured column"),
        ({"ttft_ms": [0.0]}, r"ttft_ms\[0\] = 0.0: expected above 0"),
        ({"ttft_ms": [float("nan")]}, r"ttft_ms\[0\]"),
        ({"ttft_ms": ["fast"]}, "ttft_ms: expected numbers"),
        ({"ttft_ms": [1.0], "abacus": [1]}, "runs: points: abacus: unknown column"),
        ({"ttft_ms": [1.0], "batch_size": [0]}, r"batch_size\[0\] = 0"),
        ({"ttft_ms": [1.0], "layout": ["tp3x"]}, r"layout\[0\] = 'tp3x'"),
        ({"ttft_ms": [1.0], "precision": ["gold"]}, r"precision\[0\] = 'gold'"),
    ],
)
def test_wrong_tables_are_named(frame, said):
    with pytest.raises(InputError, match=said):
        find_comparison(pl.DataFrame(frame), DEVICE, MODEL)


def test_too_few_runs_cannot_be_fitted():
    with pytest.raises(InputError, match="2 runs with a measured time: expected at least 3"):
        find_comparison(runs().head(2), DEVICE, MODEL, CompareOptions(calibrate=True))


def test_runs_that_miss_some_times_are_still_compared():
    frame = runs().with_columns(ttft_ms=pl.when(pl.int_range(pl.len()) % 2 == 0).then("ttft_ms"))
    found = find_comparison(frame, DEVICE, MODEL)
    assert found.runs["ttft_ratio"].null_count() == 5
    assert found.runs["tpot_ratio"].null_count() == 0
    assert runs_of(frame, "runs").measured["ttft_seconds"].null_count() == 5


def test_python_says_the_same_and_the_chart_is_drawn():
    found = find_comparison(runs(1.25), DEVICE, MODEL)
    assert se.compare(runs(1.25), DEVICE, MODEL).equals(found.runs)
    drawn = comparison_chart(found).to_dict()
    assert "TTFT 0.80, TPOT 0.80" in drawn["title"]["text"]


def test_command_prints_runs_and_writes_the_chart(tmp_path, command):
    path, out = tmp_path / "runs.csv", tmp_path / "runs.svg"
    runs(1.25, 0.3).write_csv(path)
    done = command("compare", path, "--device", DEVICE, "--model", MODEL, "--calibrate",
                   "--chart", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "calibrated on 10 runs: 1.250 x predicted + 0.3" in done.stdout
    assert out.read_text().startswith("<svg")
