import json

import polars as pl
import pytest

import sweepengine as se
from sweepengine.data.errors import InputError
from sweepengine.measured.benchmark_files import formats, read_benchmarks
from sweepengine.measured.compare import find_comparison
from sweepengine.search.options import CompareOptions

MODEL, DEVICE = "llama-3.1-8b", "h100-sxm"
HUB = "meta-llama/Llama-3.1-8B"
WANTED = {"prompt_tokens": 1024, "decode_steps": 256, "batch_size": 64, "tokens_per_s": 3000.0}
"""What every file below says."""


def of(value):
    return {"successful": {"mean": value, "median": value}, "errored": None}


GUIDELLM = {
    "args": {"model": HUB},
    "benchmarks": [
        {
            "config": {"strategy": {"type_": "concurrent", "streams": 64}},
            "metrics": {
                "request_totals": {"successful": 100, "errored": 0},
                "prompt_token_count": of(1024.2),
                "output_token_count": of(256.0),
                "output_tokens_per_second": of(3000.0),
                "time_to_first_token_ms": of(210.0),
                "inter_token_latency_ms": of(18.0),
                "time_per_output_token_ms": of(18.7),
                "request_concurrency": of(63.2),
            },
        }
    ],
}
AIPERF = {
    "schema_version": "1.3",
    "input_config": {"endpoint": {"model_names": [HUB]}, "loadgen": {"concurrency": 64}},
    "request_throughput": {"unit": "requests/sec", "avg": 11.7},
    "time_to_first_token": {"unit": "ms", "avg": 210.0, "p50": 200.0},
    "inter_token_latency": {"unit": "ms", "avg": 18.0},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 3000.0},
    "output_sequence_length": {"unit": "tokens", "avg": 256.0},
    "input_sequence_length": {"unit": "tokens", "avg": 1024.0},
}
GENAI_PERF = {name: value for name, value in AIPERF.items() if name != "schema_version"} | {
    "input_config": {"model_names": [HUB], "perf_analyzer": {"stimulus": {"concurrency": 64}}}
}
INFERENCE_PERF = {
    "load_summary": {"count": 100},
    "successes": {
        "count": 100,
        "latency": {
            "request_latency": {"mean": 4.8},
            "time_to_first_token": {"mean": 0.21},
            "time_per_output_token": {"mean": 0.018},
        },
        "throughput": {"output_tokens_per_sec": 3000.0, "requests_per_sec": 11.7},
        "prompt_len": {"mean": 1024.0},
        "output_len": {"mean": 256.0},
    },
    "failures": {"count": 0},
}
VLLM = {
    "model_id": HUB,
    "completed": 100,
    "total_input_tokens": 102_400,
    "total_output_tokens": 25_600,
    "output_throughput": 3000.0,
    "mean_ttft_ms": 210.0,
    "mean_tpot_ms": 18.0,
    "max_concurrency": 64,
}
FILES = {
    "guidellm": GUIDELLM,
    "aiperf": AIPERF,
    "genai-perf": GENAI_PERF,
    "vllm": VLLM,
}


def read(tmp_path, data):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(data))
    return read_benchmarks(path)


@pytest.mark.parametrize("name", FILES)
def test_every_format_says_the_same(tmp_path, name):
    found = read(tmp_path, FILES[name])
    (row,) = found.rows
    assert {key: row[key] for key in WANTED} == WANTED
    assert (row["ttft_ms"], row["tpot_ms"]) == (210.0, 18.0)
    assert found.model == HUB


def test_inference_perf_states_seconds_and_no_concurrency(tmp_path):
    (row,) = read(tmp_path, INFERENCE_PERF).rows
    assert (row["ttft_seconds"], row["tpot_seconds"]) == (0.21, 0.018)
    assert row["batch_size"] == round(3000 / 256 * (0.21 + 0.018 * 255))


def test_units_that_a_file_states_are_obeyed(tmp_path):
    (row,) = read(tmp_path, AIPERF | {"time_to_first_token": {"unit": "s", "avg": 0.21}}).rows
    assert row["ttft_ms"] == 210.0
    with pytest.raises(InputError, match=r"time_to_first_token\.avg: unit 'weeks': expected ms"):
        read(tmp_path, AIPERF | {"time_to_first_token": {"unit": "weeks", "avg": 1.0}})


def test_formats_are_told_apart_by_their_keys_and_have_sources():
    assert len({form.title for form in formats()}) == len(formats()) == 4
    assert all("https://" in form.source and form.has for form in formats())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"hello": 1}, "no keys of a serving benchmark: expected results of the serving"),
        ([1], "run 0: expected an object"),
        ({name: value for name, value in VLLM.items() if name != "completed"},
         "completed: required key of the serving benchmark"),
        ({**AIPERF, "input_sequence_length": {}}, "input_sequence_length.avg: required key"),
    ],
)  # fmt: skip
def test_wrong_files_are_named(tmp_path, data, said):
    with pytest.raises(InputError, match=said):
        read(tmp_path, data)


def test_a_key_twice_is_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{"completed": 1, "completed": 2}')
    with pytest.raises(InputError, match="'completed' appears twice"):
        read_benchmarks(path)


def test_groups_without_a_layout_are_refused(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(VLLM | {"server_info": {"tp_size": 2, "dp_size": 2}}))
    with pytest.raises(InputError, match=r"server_info\.dp_size = 2: expected 1, or --layout"):
        find_comparison(path, DEVICE, MODEL)
    for layout in ("tp2-dp2", "tp4"):
        found = find_comparison(path, DEVICE, MODEL, CompareOptions(layout=layout))
        assert found.runs["devices"].to_list() == [4]


def test_sizes_that_a_run_states_must_agree_with_the_layout(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(VLLM | {"server_info": {"tp_size": 2, "ep_size": 1}}))
    with pytest.raises(InputError, match="tensor_parallel = 2 beside --layout tp8: expected the s"):
        find_comparison(path, DEVICE, MODEL, CompareOptions(layout="tp8"))


def test_requests_of_benchmarks_have_no_image(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(VLLM | {"output_throughput": 500.0}))
    (row,) = find_comparison(path, "a100-40gb", "deepseek-ocr-3b").runs.to_dicts()
    assert (row["images"], row["context_tokens"]) == (0, 1024)


ROWS = {
    "hardware": ["h200", "h200", "b200"],
    "framework": ["sglang", "sglang", "trt"],
    "precision": ["fp8", "fp8", "fp4"],
    "spec_method": ["none", "mtp", "none"],
    "disagg": ["false"] * 3,
    "prefill_tp": [8] * 3,
    "prefill_ep": [1] * 3,
    "isl": [1024] * 3,
    "osl": [1024] * 3,
    "conc": [16, 16, 4],
    "m_mean_ttft": [None, 0.2, 0.1],
    "m_median_ttft": [0.4, 0.2, 0.1],
    "m_mean_tpot": [None, 0.02, 0.01],
    "m_median_tpot": [0.02, 0.02, 0.01],
}


def test_rows_of_inferencex_are_those_of_the_device_and_engine(tmp_path, command):
    path = tmp_path / "rows.csv"
    pl.DataFrame(ROWS).write_csv(path)
    found = find_comparison(path, "h200", "deepseek-v3", CompareOptions(framework="sglang"))
    (row,) = found.runs.to_dicts()
    assert (row["measured_ttft_s"], row["batch_size"], row["tensor_parallel"]) == (0.4, 16, 8)
    assert any("1 of 3 rows: of h200 with sglang" in text for text in found.assumed)
    with pytest.raises(InputError, match=r"no row of h100-sxm with vllm .* of b200 with trtllm"):
        find_comparison(path, DEVICE, "deepseek-v3")


def table(tmp_path, **columns):
    path = tmp_path / "runs.csv"
    pl.DataFrame(columns).write_csv(path)
    return path


def test_serving_of_a_table_is_said_first_and_what_is_impossible_is_an_error(tmp_path, command):
    cost = se.cost(MODEL, device=DEVICE, serving="continuous", prompt_tokens=1000, batch_size=64)
    times = {f"{name}_seconds": [cost[f"{name}_seconds"]] for name in ("ttft", "tpot")}
    path = table(tmp_path, prompt_tokens=[1000], batch_size=[64], **times)
    arguments = ("compare", path, "--device", DEVICE, "--model", MODEL)
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "PREFILL MFU of" in done.stderr
    assert "--serving" in done.stderr
    assert done.stderr.count("\n") == 1
    done = command(*arguments, "--serving", "continuous")
    first, *_ = done.stdout.splitlines()
    assert first == "assumed: serving continuous: requests join a running batch"
    stated = table(tmp_path, tpot_ms=[10.0], serving=["static"])
    with pytest.raises(InputError, match="serving: the runs state it: expected no --serving"):
        find_comparison(stated, DEVICE, MODEL, CompareOptions(serving="continuous"))


def test_bandwidth_is_that_of_the_run():
    runs = pl.DataFrame({"prompt_tokens": [1000], "tpot_ms": [20.0]})
    own = find_comparison(runs, DEVICE, MODEL).runs["decode_mbu"].item()
    half = runs.with_columns(device_bandwidth_gbs=3350.0 / 2)
    assert find_comparison(half, DEVICE, MODEL).runs["decode_mbu"].item() == pytest.approx(2 * own)
