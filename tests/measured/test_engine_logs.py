"""Start-up logs of serving engines beside ours: logs in the shape of public ones, shortened."""

import json

import polars as pl
import pytest

import sweepengine as se
from sweepengine.data.errors import InputError
from sweepengine.measured.engine_logs import FIGURES, LONGEST_LINE, read_log
from sweepengine.measured.log_comparison import ComparedLog, compare_file
from sweepengine.search.options import CompareOptions, EngineOptions

# github.com/2215860382/VedioSifter, train_run_20260421_065709.log: figures and settings.
VLLM = """\
(APIServer pid=7) INFO 04-21 06:57:16 [api_server.py:1351] vLLM API server version 0.12.0
(APIServer pid=7) INFO 04-21 06:57:16 [utils.py:253] non-default args: {'model': '/m/Qwen3-4B', \
'gpu_memory_utilization': 0.5, 'max_num_seqs': 8}
(EngineCore_DP0 pid=9) INFO 04-21 06:57:26 [core.py:93] Initializing a V1 LLM engine (v0.12.0) \
with config: model='/m/Qwen3-4B', speculative_config=None, dtype=torch.bfloat16, \
max_seq_len=40960, tensor_parallel_size=1, pipeline_parallel_size=1, data_parallel_size=1, \
quantization=None, enforce_eager=False, kv_cache_dtype=auto, device_config=cuda
(APIServer pid=7) INFO [scheduler.py:230] Chunked prefill is enabled with \
max_num_batched_tokens=8192.
(EngineCore_DP0 pid=9) INFO [gpu_model_runner.py:3659] Model loading took 7.5552 GiB memory and \
2.3 seconds
(EngineCore_DP0 pid=9) INFO [gpu_worker.py:375] Actual usage is 7.56 GiB for weight, 0.59 GiB \
for peak activation, 0.06 GiB for non-torch memory, and -0.97 GiB for CUDAGraph memory.
(EngineCore_DP0 pid=9) INFO [gpu_worker.py:375] Available KV cache memory: 39.28 GiB
(EngineCore_DP0 pid=9) INFO [kv_cache_utils.py:1291] GPU KV cache size: 285,984 tokens
(EngineCore_DP0 pid=9) INFO [kv_cache_utils.py:1296] Maximum concurrency for 40,960 tokens per \
request: 6.98x
"""
# github.com/hanzhizhz/prograph, vllm.log: two devices, a second one later in the log.
TWO_DEVICES = """\
(EngineCore_DP0 pid=4) INFO 01-20 18:50:26 [core.py:93] Initializing a V1 LLM engine (v0.13.0) \
with config: model='/m/Qwen3-30B-A3B-Instruct-2507-Int4-W4A16', max_seq_len=8196, \
tensor_parallel_size=2, pipeline_parallel_size=1, quantization=compressed-tensors, \
kv_cache_dtype=auto
(Worker_TP0 pid=5) INFO 01-20 18:51:00 [gpu_model_runner.py:3659] Model loading took 7.8951 GiB \
memory and 16.3 seconds
(Worker_TP1 pid=6) INFO 01-20 18:51:00 [gpu_model_runner.py:3659] Model loading took 8.9951 GiB \
memory and 16.3 seconds
(Worker_TP0 pid=5) INFO 01-20 18:51:27 [gpu_worker.py:375] Available KV cache memory: 5.93 GiB
(EngineCore_DP0 pid=4) INFO 01-20 18:51:27 [kv_cache_utils.py:1291] GPU KV cache size: 129,504 \
tokens
(Worker_TP0 pid=5) INFO 01-20 18:51:35 [model_runner.py:661] Graph capturing finished in 1 secs, \
took 2.08 GiB
"""
# Of vLLM before its second engine: vllm-project/vllm, issue 11251, with another model and version.
OLD = """\
INFO 12-20 20:25:22 model_runner.py:1115] Loading model weights took 14.9888 GB
INFO 12-20 20:25:46 worker.py:241] the current vLLM instance can use total_gpu_memory (79.14GiB) \
x gpu_memory_utilization (0.90) = 71.22GiB
INFO 12-20 20:25:46 worker.py:241] model weights take 14.99GiB; non_torch_memory takes 0.12GiB; \
PyTorch activation peak memory takes 1.19GiB; the rest of the memory reserved for KV Cache is \
54.93GiB.
INFO 12-20 20:25:46 executor_base.py:110] # CUDA blocks: 28124, # CPU blocks: 4096
INFO 12-20 20:25:46 executor_base.py:115] Maximum concurrency for 40000 tokens per request: 11.25x
"""
# vllm-project/vllm, issue 21348, and github.com/sostrowsk/dgx-spark-local-llm, sglang-int4.log.
SGLANG = """\
[2026-08-01 23:37:40] server_args=ServerArgs(model_path='Qwen/Qwen3-8B', context_length=65536, \
dtype='auto', quantization=None, kv_cache_dtype='auto', mem_fraction_static=0.85, \
max_running_requests=48, chunked_prefill_size=8192, page_size=1, tp_size=1, dcp_size=1, \
pp_size=1, dp_size=1, ep_size=1)
[2026-08-01 23:39:39] Load weight end. elapsed=9.33 s, type=Qwen3ForCausalLM, avail mem=61.9 GB, \
mem usage=15.31 GB.
[2026-08-01 23:40:01] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 366000, \
K size: 25.13 GB, V size: 25.13 GB
[2026-08-01 23:40:05] Capture cuda graph end. Time elapsed: 8.04 s. mem usage=0.80 GB. avail \
mem=10.30 GB.
"""


@pytest.fixture
def log(tmp_path):
    """Write a log; its path."""

    def write(text, name="start.log"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_log_of_vllm_stands_beside_ours(log):
    frame = se.compare(log(VLLM), "rtx-pro-6000")
    rows = {row["figure"]: row for row in frame.to_dicts()}
    assert tuple(rows) == FIGURES
    logged = {name: row["logged"] for name, row in rows.items()}
    assert logged == {"weights": 7.5552, "activations": 0.59, "graphs": None, "pool": 39.28,
                      "tokens": 285_984, "requests": 6.98}  # fmt: skip
    for name in ("weights", "pool", "tokens", "requests"):
        assert abs(rows[name]["off_percent"]) < 1
    settings = {"framework_version": "0.12.0", "memory_share": 0.5, "max_sequences": 8,
                "chunk_tokens": 8192}  # fmt: skip
    workload = {"prompt_tokens": 40_960, "decode_steps": 0}
    point = se.cost("qwen3-4b", device="rtx-pro-6000", **settings, **workload)
    assert rows["pool"]["ours"] == point["kv_pool_bytes"] / 2**30
    assert rows["tokens"]["ours"] == point["kv_pool_tokens"]
    assert rows["weights"]["ours"] == point["weight_bytes"] / 2**30


def test_the_first_device_counts_and_a_quantization_that_leaves_formats_open_is_asked_for(log):
    path = log(TWO_DEVICES)
    with pytest.raises(InputError, match='Int4-W4A16" is not a shipped model: expected --model'):
        compare_file(path, "rtx-4090", None, CompareOptions())
    with pytest.raises(
        InputError, match=r'"compressed-tensors" leaves the formats open.*precision'
    ):
        compare_file(path, "rtx-4090", "qwen3-30b-a3b", CompareOptions())
    options = CompareOptions(precision="int4", engine=EngineOptions(memory_share=0.65))
    found = compare_file(path, "rtx-4090", "qwen3-30b-a3b", options)
    logged = dict(zip(found.figures["figure"], found.figures["logged"], strict=True))
    assert (logged["weights"], logged["graphs"]) == (7.8951, 2.08)
    off = dict(zip(found.figures["figure"], found.figures["off_percent"], strict=True))
    assert abs(off["tokens"]) < 3
    assert found.missing == ("activations", "requests")
    assert found.settings["memory share"] == "0.65 (option)"
    assert found.settings["chunk tokens"] == "the engine's (default)"
    assert found.settings["layout"] == "tensor_parallel 2, pipeline_parallel 1 (log)"


def test_an_older_log_has_blocks_and_the_memory_of_its_card(log):
    read = read_log(log(OLD))
    assert read.figures == {"weights": 14.9888, "activations": 1.19, "pool": 54.93,
                            "tokens": 16 * 28_124, "requests": 11.25}  # fmt: skip
    found = compare_file(log(OLD), "h100-sxm", "llama-3.1-8b", CompareOptions())
    assert found.settings["memory of the card"] == "79.14 GiB (log)"
    assert found.settings["longest request"] == "40,000 tokens (log)"


def test_a_log_of_sglang_stands_beside_ours(log):
    found = compare_file(log(SGLANG), "h100-sxm", None, CompareOptions())
    assert isinstance(found, ComparedLog)
    assert (found.engine, found.model.name) == ("sglang", "qwen3-8b")
    rows = {row["figure"]: row for row in found.figures.to_dicts()}
    assert rows["pool"]["logged"] == pytest.approx(50.26)
    assert rows["tokens"]["logged"] == 366_000
    assert rows["graphs"]["logged"] == 0.8
    assert abs(rows["weights"]["off_percent"]) < 1
    assert found.settings["memory share"] == "0.85 (log)"


def test_figures_of_a_log_decide_and_not_those_of_options(log):
    options = CompareOptions(engine=EngineOptions(memory_share=0.9), layout="tp4")
    found, plain = (
        compare_file(log(VLLM), "rtx-pro-6000", None, each) for each in (options, CompareOptions())
    )
    assert found.figures.equals(plain.figures)
    assert found.settings == plain.settings


def test_the_command_prints_both_and_what_the_log_lacks(log, command):
    path = log(VLLM, "start.txt")
    done = command("compare", path, "--device", "rtx-pro-6000")
    assert done.returncode == 0
    assert "285,984" in done.stdout
    assert "not in the log: graphs" in done.stdout
    assert "max sequences: 8 (log)" in done.stdout
    facts = json.loads(command("compare", path, "--device", "rtx-pro-6000", "--json").stdout)
    assert facts["missing"] == ["graphs"]
    for option in (("--chart", "x.svg"), ("--calibrate",), ("--times", "roofline")):
        refused = command("compare", path, "--device", "rtx-pro-6000", *option)
        assert (refused.returncode, "a log has no times" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a table of measured runs, or a start-up log"),
        ("nothing of memory\n" * 3, "expected a table of measured runs, or a start-up log"),
        ("x" * LONGEST_LINE + " Available KV cache memory: 39.28 GiB", "or a start-up log"),
        (VLLM.replace("0.12.0", "0.2.4"), "expected a version of vllm from 0.8 on"),
        (VLLM.replace("': 0.5,", "': 7.5,"), "memory_share"),
        (VLLM.replace("'max_num_seqs': 8", "'max_num_seqs': 9999999"), "max_sequences"),
        (VLLM.replace("max_seq_len=40960", "max_seq_len=99999999999"), "prompt_tokens"),
        (VLLM + "total_gpu_memory (" + "9" * 40 + ".0GiB)", "device_memory_gb"),
        (VLLM.replace("pipeline_parallel_size=1", "pipeline_parallel_size=" + "9" * 200), "pipe"),
        (VLLM.replace("tensor_parallel_size=1", "tensor_parallel_size=7"), "tensor_parallel"),
    ],
)
def test_bad_logs_get_one_line(log, command, text, message):
    path = log(text)
    done = command("compare", path, "--device", "rtx-pro-6000")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(path) in done.stderr
    assert message in done.stderr


def test_a_value_that_is_too_long_is_no_setting(log):
    read = read_log(log(VLLM.replace("max_seq_len=40960", "max_seq_len=" + "9" * 5000)))
    assert read.settings["length"] == "40,960"  # of the line of requests
    assert read_log(log("Available KV cache memory: " + "9" * 5000 + ".00 GiB")) is None


def test_settings_of_an_engine_are_refused_with_measured_runs(command, tmp_path):
    path = tmp_path / "runs.csv"
    pl.DataFrame({"batch_size": [1], "ttft_ms": [100.0]}).write_csv(path)
    done = command("compare", path, "--device", "h100-sxm", "--model", "qwen3-8b",
                   "--max-num-seqs", "8")  # fmt: skip
    assert done.returncode == 2
    assert "are for its log" in done.stderr


def test_the_page_of_memory_has_what_the_command_prints(log, root):
    page = (root / "docs" / "memory.md").read_text(encoding="utf-8")
    for row in se.compare(log(VLLM), "rtx-pro-6000").drop_nulls("logged").to_dicts():
        form = ",.0f" if row["figure"] == "tokens" else ",.2f"
        unit = " GiB" if row["unit"] == "GiB" else ""
        cells = (f"{row['logged']:{form}}{unit}", f"{row['ours']:{form}}{unit}",
                 f"{row['off_percent']:+.1f} %")  # fmt: skip
        assert f"| {' | '.join(cells)} |" in page
