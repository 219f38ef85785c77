import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sweepengine as se
from sweepengine.grid.columns import TIMED
from sweepengine.grid.files import load_grid

SECONDS = [column.name for column in TIMED]
GRID = """
name = "timed"
model = "qwen3-30b-a3b"
{times}
[axes]
device = ["h100-sxm", "b200"]
framework = ["vllm", "trtllm"]
serving = ["static", "continuous"]
layout = ["tp1", "tp2", "ep4"]
precision = ["bf16", "fp8-kv8"]
prompt_tokens = [100, 5000]
batch_size = [1, 64]
decode_steps = [0, 1, 700]
"""


def close(one, other):
    return one == pytest.approx(other, rel=1e-11)


def rows_of(frame):
    names = [name for name in SECONDS if name in frame.columns]
    return frame.select(names).rows()


MODELS = ("deepseek-ocr-3b", "qwen3-8b", "gpt-oss-20b", "deepseek-v3", "deepseek-v4-flash",
          "gemma-3-27b", "deepseek-ocr-2")  # fmt: skip


@st.composite
def asked(draw):
    model = draw(st.sampled_from(MODELS))
    point = {
        "device": draw(st.sampled_from(["h100-sxm", "b200", "a100-40gb", "l40s", "mi300x"])),
        "framework": draw(st.sampled_from(["vllm", "trtllm", "sglang"])),
        "serving": draw(st.sampled_from(["static", "continuous"])),
        "batch_size": draw(st.integers(1, 500)),
        "decode_steps": draw(st.integers(0, 5000)),
        "cached_tokens": draw(st.integers(0, 5000)),
        "cache_format": draw(st.sampled_from(["bf16", "fp8"])),
        "device_bandwidth_gbs": float(draw(st.sampled_from([0, 1000, 9000]))),
    }
    if "ocr" not in model:
        point["prompt_tokens"] = draw(st.integers(1, 20_000))
        point["tensor_parallel"] = draw(st.sampled_from([1, 2, 4]))
    return model, point


@given(asked())
def test_kernel_equals_plain_python(drawn):
    import sweepengine.engine.kernel
    import sweepengine.engine.kernel_times  # noqa: F401  (makes `evaluate` compute compiled)

    model, point = drawn
    (found,) = rows_of(se.evaluate(pl.DataFrame([point]), model))
    plain = se.cost(model, **point)
    assert close(found, [plain[n] for n in SECONDS if n in plain])


@pytest.mark.parametrize("times", ["", 'times = "roofline"'])
def test_grid_computed_whole_or_in_plain_python_equals_points_one_by_one(grid_file, times):
    grid = load_grid(grid_file(GRID.format(times=times)))
    frame = se.scan(grid).collect()
    assert frame.height == grid.points
    named = "roofline" if times else ""
    inputs = [n for n in frame.columns if n in grid.model.inputs]
    for row in frame.sample(40, seed=1).select(*inputs, *SECONDS[1:]).iter_rows(named=True):
        seconds = {name: row.pop(name) for name in SECONDS[1:]}
        plain = se.cost("qwen3-30b-a3b", named, **row)
        assert close(list(seconds.values()), [plain[name] for name in seconds])


def test_chunks_of_a_grid_are_parts_of_the_whole(grid_file):
    grid = load_grid(grid_file(GRID.format(times="")))
    from sweepengine.engine.typed import compute_chunk

    whole = pl.concat(compute_chunk(grid.model, chunk) for chunk in grid.chunks(10**9))
    parts = pl.concat(compute_chunk(grid.model, chunk) for chunk in grid.chunks(7))
    assert whole.equals(parts)


def test_columns_of_times_are_there_with_a_device_alone(grid_file):
    plain = se.scan(grid_file('name = "a"\n[axes]\nbatch_size = [1]\n'))
    assert not {*SECONDS, "device", "framework", "serving"} & set(plain.collect_schema())
    timed = se.scan(grid_file('name = "a"\n[axes]\ndevice = ["l4"]\n', "b.toml"))
    schema = timed.collect_schema()
    assert schema["device"] == pl.Enum(["l4"])
    assert schema["framework"] == pl.Enum(["vllm", "trtllm", "sglang"])
    assert set(SECONDS) <= set(schema)
    assert "vision_seconds" not in se.cost("qwen3-8b", device="l4")


def test_stages_add_up_and_continuous_batches_wait():
    point = {"model": "deepseek-ocr-3b", "crop_rows": 2, "crop_cols": 3, "device": "h100-sxm",
             "batch_size": 16}  # fmt: skip
    static = se.cost(**point, serving="static")
    assert static["ttft_seconds"] == pytest.approx(
        static["vision_seconds"] + static["prefill_seconds"]
    )
    assert static["decode_seconds"] == pytest.approx(100 * static["tpot_seconds"])
    served = se.cost(**point)
    assert served["prefill_seconds"] < static["prefill_seconds"]
    assert served["tpot_seconds"] > static["tpot_seconds"]
    assert served["ttft_seconds"] > served["vision_seconds"] + served["prefill_seconds"]


def test_no_steps_take_no_time():
    found = se.cost(device="h100-sxm", decode_steps=0)
    assert (found["decode_seconds"], found["tpot_seconds"]) == (0, 0)


LAWS = (
    ("batch_size", 2, 64),
    ("prompt_tokens", 100, 9000),
    ("decode_steps", 10, 999),
    ("cached_tokens", 0, 8000),
)


@pytest.mark.parametrize(("name", "less", "more"), LAWS)
@pytest.mark.parametrize("model", ["qwen3-8b", "gpt-oss-20b", "deepseek-v3"])
def test_more_takes_longer(model, name, less, more):
    one, other = (se.cost(model, device="h200", **{name: value}) for value in (less, more))
    total = [cost["prefill_seconds"] + cost["decode_seconds"] for cost in (one, other)]
    assert total[0] < total[1]


@settings(max_examples=30)
@given(asked())
def test_silicon_is_slower_than_the_data_sheet(drawn):
    model, point = drawn
    point |= {"serving": "static", "device": "h100-sxm", "framework": "trtllm"}
    silicon, roofline = (se.cost(model, times, **point) for times in ("silicon", "roofline"))
    assert silicon["decode_seconds"] >= roofline["decode_seconds"]
    assert silicon["ttft_seconds"] > roofline["ttft_seconds"]


def test_twice_the_device_halves_the_roofline():
    own = {"device_tensor_tflops": 2 * 989.4, "device_bandwidth_gbs": 6700.0}
    plain = se.cost("qwen3-8b", "roofline", device="h100-sxm", decode_steps=500)
    twice = se.cost("qwen3-8b", "roofline", device="h100-sxm", decode_steps=500, **own)
    for name in ("prefill_seconds", "decode_seconds"):
        assert twice[name] == pytest.approx(plain[name] / 2, rel=1e-9)


def test_tensor_groups_are_faster_and_pay_for_links():
    one = se.cost("qwen3-32b", device="h100-sxm", batch_size=8)
    four = se.cost("qwen3-32b", device="h100-sxm", batch_size=8, tensor_parallel=4)
    assert one["tpot_seconds"] / 4 < four["tpot_seconds"] < one["tpot_seconds"]
    slow = se.cost("qwen3-32b", device="h100-sxm", batch_size=8, tensor_parallel=4,
                   link_bandwidth_gbs=1.0)  # fmt: skip
    assert slow["prefill_seconds"] > 2 * four["prefill_seconds"]


OWN = """
schema_version = 1
name = "tomorrow"
[tensor_bf16]
value = 2000
unit = "TFLOP/s"
source = "ours"
[cuda_fp32]
value = 100
unit = "TFLOP/s"
source = "ours"
[bandwidth]
value = 9000
unit = "GB/s"
source = "ours"
[memory]
value = 200
unit = "GB"
source = "ours"
"""


def test_device_by_file_is_an_axis_like_others(grid_file, tmp_path):
    own = grid_file(OWN, "own.toml")
    like = grid_file(
        OWN.replace('"tomorrow"', '"like"')
        + '[multiprocessors]\nvalue = 132\nunit = "SMs"\nsource = "ours"\n'
        + '[rates]\nlike = "h100-sxm"\n',
        "like.toml",
    )
    grid = grid_file(f'name = "a"\n[axes]\ndevice = ["{like}", "{own}"]\nbatch_size = [1, 2]\n')
    slower, least = se.scan(grid).collect()["tpot_seconds"].to_list()[::2]
    assert slower > least  # rates of an H100's kernels, and a roofline
    grid = grid_file(f'name = "a"\n[axes]\ndevice = ["{like}", "h200"]\nbatch_size = [1, 2]\n')
    frame = se.scan(grid).collect()
    assert frame["device"].cast(pl.String).to_list() == ["like", "like", "h200", "h200"]
    named = pl.DataFrame({"device": [str(like), "h200"], "batch_size": [1, 1]})
    assert rows_of(se.evaluate(named)) == [
        pytest.approx(row, rel=1e-11) for row in rows_of(frame.filter(pl.col("batch_size") == 1))
    ]


def test_dataset_keeps_devices_and_times(grid_file, tmp_path, command):
    path = grid_file(GRID.format(times=""))
    se.run(path, tmp_path / "d")
    from sweepengine.query.sources import open_source

    source = open_source(tmp_path / "d")
    assert source.loaded.device_names == ("h100-sxm", "b200")
    assert source.points.collect().equals(se.scan(path).collect())
    asked = ("query", tmp_path / "d", "--where", "device = 'b200'", "--select",
             "min(tpot_seconds) AS least", "--format", "json")  # fmt: skip
    (answer,) = json.loads(command(*asked).stdout)
    assert (
        answer["least"]
        == se.scan(path)
        .filter(pl.col("device") == "b200")
        .select(pl.min("tpot_seconds"))
        .collect()
        .item()
    )
    again = se.run(path, tmp_path / "d")
    assert again.written == 0
    import pyarrow.parquet as pq

    schema = pq.read_schema(next((tmp_path / "d").glob("points-*.parquet")))
    assert b"h100-sxm, vllm 0.24.0: operators +-" in schema.metadata[b"times"]
    for shown in (command("plan", path), command("query", tmp_path / "d", "--top", "2")):
        assert shown.stdout.count("runs of ") == 4  # two devices under two frameworks


def test_rates_of_other_figures_are_another_grid(grid_file):
    one = load_grid(grid_file(GRID.format(times="")))
    other = load_grid(grid_file(GRID.format(times='times = "roofline"'), "b.toml"))
    assert one.hash != other.hash


BAD = {
    "unknown": ('device = ["h101"]', 'device "h101" does not exist'),
    "number": ("device = [7]", "axes.device[0] = 7: expected a device's name"),
    "twice": ('device = ["h200", "h200"]', "axes.device: duplicate"),
    "framework alone": ('framework = ["vllm"]', "is asked of a device"),
    "framework": ('device = ["h200"]\nframework = ["tgi"]', '"vllm" or "trtllm"'),
    "serving": ('device = ["h200"]\nserving = ["lazy"]', '"static" or "continuous"'),
    "no links": ('device = ["own.toml"]\nlayout = ["tp2"]', "link: required key is missing"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_axes_are_one_line(grid_file, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text(OWN)
    axes, expected = BAD[case]
    path = grid_file(f'name = "a"\nmodel = "qwen3-8b"\n[axes]\n{axes}\n')
    with pytest.raises(se.InputError) as caught:
        se.scan(path).collect()
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('times = "silicon"\n[axes]\nbatch_size = [1]', "times: expected an axis `device`"),
        ('times = "slow"\n[axes]\ndevice = ["h200"]', "times"),
        ('times = "silicon"\n[axes]\ndevice = ["gaudi-3"]', "gaudi-3: has no rates"),
    ],
)
def test_bad_times_are_one_line(grid_file, text, expected):
    with pytest.raises(se.InputError, match=expected):
        load_grid(grid_file(f'name = "a"\n{text}\n'))


def test_evaluate_refuses_what_is_no_device():
    for frame, expected in (
        (pl.DataFrame({"device": [1]}), "expected names of devices"),
        (pl.DataFrame({"device": ["h200", None]}), r"device\[1\] is null"),
        (pl.DataFrame({"device": ["x"]}), 'device "x" does not exist'),
        (pl.DataFrame({"framework": ["vllm"]}), "is asked of a device"),
    ):
        with pytest.raises(se.InputError, match=expected):
            se.evaluate(frame)


def test_many_points_are_the_same_on_all_threads(grid_file):
    import sweepengine.engine.kernel  # noqa: F401

    rng = np.random.default_rng(1)
    rows = 200_000
    frame = pl.DataFrame(
        {
            "device": rng.choice(["h100-sxm", "l40s"], rows),
            "prompt_tokens": rng.integers(1, 50, rows),
            "decode_steps": rng.integers(0, 5000, rows),
            "batch_size": rng.choice([1, 8, 64], rows),
        }
    )
    found = se.evaluate(frame, "qwen3-8b")
    part = se.evaluate(frame[100_000:100_500], "qwen3-8b")
    assert rows_of(found[100_000:100_500]) == rows_of(part)
