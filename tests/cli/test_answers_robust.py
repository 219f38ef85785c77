"""Whatever files and options hold, answers are an answer or one line that names the place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.test_robustness import VALUES, toml_value
from tests.fuzz import examples, right

NUMBERS = st.sampled_from(
    ["0", "-1", "1", "7", "0.5", "1e9", "1e300", "-1e-300", "nan", "inf", "-inf", "", "abc", "1,5",
     "99999999999999999999", "0x10", "\u0661"]
)  # fmt: skip
NAMES = st.sampled_from(
    ["h100-sxm", "l4", "mi300x", "rtx-4090", "nope", "", "h100-sxm.toml", "../x", "tp2",
     "fp8-kv8", "checkpoint", "w4a16", "ep8", "tp3", "tp0", "dp8-ep64", "gundam:2x3", "2x3",
     "none", "tiny", "llama-3.1-8b", "gpt-oss-20b", "deepseek-ocr-3b", "a=b", "disaggregated",
     "sglang", "roofline", "h100-sxm=2", "l4=-1", "=", "\x1b[1m"]
)  # fmt: skip
OPTIONS = {
    "fit": ["--prompt", "--answer", "--mode", "--crops", "--cached-tokens", "--layout",
            "--precision", "--share", "--memory-share", "--device", "--framework", "--times"],
    "deploy": ["--prompt", "--answer", "--mode", "--crops", "--layout", "--precision", "--share",
               "--memory-share", "--devices", "--rate", "--ttft", "--tpot", "--batch", "--price",
               "--device", "--mode-of-serving", "--framework", "--times", "--users", "--latency",
               "--margin", "--decode-device", "--script", "--manifest"],
    "map": ["--prompt", "--answer", "--mode", "--crops", "--layout", "--precision", "--share",
            "--ttft", "--tpot", "--batch", "--longest", "--cells", "--over", "--device"],
}  # fmt: skip
SMALL = {"deploy": ["--batch", "4"], "map": ["--cells", "100"], "fit": []}


@pytest.mark.parametrize("name", OPTIONS)
@examples(40)
@given(data=st.data())
def test_options(name, data):
    model = data.draw(st.sampled_from(["llama-3.1-8b", "deepseek-ocr-3b", "gpt-oss-20b", "nope"]))
    arguments = [name, model, "--device", "h100-sxm", *SMALL[name]]
    for option in data.draw(st.lists(st.sampled_from(OPTIONS[name]), max_size=3, unique=True)):
        value = data.draw(st.one_of(NUMBERS, NAMES))
        if option in ("--cells", "--batch") and value in ("1e9", "99999999999999999999"):
            value = "100"
        arguments += [option, value]
    right(arguments)


COLUMNS = st.sampled_from(
    ["prompt", "answer", "weight", "mode", "crops", "prompt_tokens", "decode_steps", "text_tokens",
     "view_size", "crop_rows", "crop_cols", "cached_tokens", "batch_size", "", "a b", "=1+1"]
)  # fmt: skip
CELLS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.sampled_from(["", "x", "gundam:2x3", "2x3", "none", "1", "1000", '"', "NULL", "1e400"]),
)


@examples(40)
@given(data=st.data())
def test_files_of_lengths(tmp_path_factory, data):
    names = data.draw(st.lists(COLUMNS, min_size=1, max_size=4))
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)),
                              max_size=4))  # fmt: skip
    path = tmp_path_factory.mktemp("lengths") / "trace.csv"
    path.write_text("\n".join([",".join(names), *(",".join(row) for row in rows)]))
    model = data.draw(st.sampled_from(["llama-3.1-8b", "deepseek-ocr-3b"]))
    right(["fit", model, "--device", "h100-sxm", "--lengths", str(path)])


MEASURES = st.sampled_from(
    ["ttft_ms", "tpot_ms", "seconds", "tokens_per_s", "prefill_seconds", "mfu", "batch_size",
     "prompt_tokens", "decode_steps", "layout", "precision", "serving", "device", "framework", "x"]
)  # fmt: skip


@examples(40)
@given(data=st.data())
def test_tables_of_runs(tmp_path_factory, data):
    names = data.draw(st.lists(MEASURES, min_size=1, max_size=4, unique=True))
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)),
                              max_size=4))  # fmt: skip
    path = tmp_path_factory.mktemp("runs") / "runs.csv"
    path.write_text("\n".join([",".join(names), *(",".join(row) for row in rows)]))
    right(["compare", str(path), "--device", "h100-sxm", "--model", "llama-3.1-8b"])


@examples(40)
@given(data=st.data())
def test_benchmarks(tmp_path_factory, data):
    keys = st.sampled_from(
        ["model_id", "completed", "total_input_tokens", "total_output_tokens",
         "output_throughput", "mean_ttft_ms", "mean_tpot_ms", "max_concurrency", "concurrency",
         "server_info"]
    )  # fmt: skip
    whole = {"model_id": "meta-llama/Meta-Llama-3.1-8B", "completed": 9, "total_input_tokens": 99,
             "total_output_tokens": 99, "output_throughput": 9.0, "mean_ttft_ms": 9,
             "mean_tpot_ms": 9, "max_concurrency": 4}  # fmt: skip
    run = whole | data.draw(st.dictionaries(keys, VALUES, max_size=3))
    for key in data.draw(st.lists(st.sampled_from(sorted(whole)), max_size=2)):
        run.pop(key, None)
    value = data.draw(st.sampled_from([run, [run], [], 3, None, [run, 7], "x"]))
    path = tmp_path_factory.mktemp("runs") / data.draw(st.sampled_from(["run.json", "run.jsonl"]))
    path.write_text(json.dumps(value))
    right(["compare", str(path), "--device", "h100-sxm"])


DESIGN_KEYS = st.sampled_from(
    ["device_tensor_tflops", "device_bandwidth_gbs", "device_memory_gb", "link_bandwidth_gbs",
     "batch_size", "layout", "precision", "serving", "framework", "device"]
)  # fmt: skip


@examples(40)
@given(data=st.data())
def test_grids_of_designs(tmp_path_factory, data):
    axes = {"device": ["h100-sxm"], "serving": ["continuous"],
            "device_bandwidth_gbs": [1000, 2000]}  # fmt: skip
    axes |= data.draw(st.dictionaries(DESIGN_KEYS, VALUES, max_size=2))
    cost = data.draw(
        st.sampled_from(["device_memory_gb", "1", "0", "1/0", "abacus", "device_memory_gb + ",
                         "'x'", "sum(device_memory_gb)", "1; 2", "null", "true", ""])
    )  # fmt: skip
    lines = ['name = "d"', 'model = "llama-3.1-8b"', f"cost = {toml_value(cost)}", "[axes]"]
    lines += [f"{name} = {toml_value(value)}" for name, value in axes.items()]
    lines += ["[targets]", "ttft_s = 1.0", "tpot_s = 0.1"]
    if data.draw(st.booleans()):
        lines += ["[[lengths]]", f"prompt = {toml_value(data.draw(VALUES))}"]
    path = tmp_path_factory.mktemp("grids") / "designs.toml"
    path.write_text("\n".join(lines))
    right(["design", str(path)])


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "llama-3.1-8b"],
        ["fit", "llama-3.1-8b", "--device", "h100-sxm", "--lengths", "nowhere.csv"],
        ["fit", "llama-3.1-8b", "--device", "h100-sxm", "--lengths", "."],
        ["fit", "llama-3.1-8b", "--device", "h100-sxm", "--lengths", "x", "--prompt", "1"],
        ["deploy", "llama-3.1-8b", "--device", "h100-sxm", "--device", "h100-sxm"],
        ["deploy", "llama-3.1-8b", "--device", "h100-sxm", "--chart", "x.doc", "--batch", "2"],
        ["map", "llama-3.1-8b", "--device", "h100-sxm", "--chart", "x.doc", "--cells", "100"],
        ["design", "capacity"],
        ["design", "nope"],
        ["compare", "nowhere.csv", "--device", "h100-sxm", "--model", "llama-3.1-8b"],
    ],
)
def test_wrong_use_is_one_line(arguments, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert right(arguments)[0] == 2
    assert list(tmp_path.iterdir()) == []
