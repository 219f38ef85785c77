"""Measurements of a user beside predictions: numbers by hand, other commands, and bad input."""

import json

import pytest

import sweepengine as se
from sweepengine.costs.timeline import timeline
from sweepengine.data.speeds import speeds_of, timing_target
from sweepengine.formulas.seconds import gemm
from sweepengine.formulas.serving import STATIC
from sweepengine.grid.points import checked_point
from sweepengine.validation.measured_folder import NO_RATES, compare_folder
from sweepengine.validation.measured_passes import COLUMNS

ROUND_DEVICE = """
schema_version = 1
name = "round"
description = "Figures to calculate with"
tensor_bf16 = { value = 100, unit = "TFLOP/s", source = "by hand" }
cuda_fp32 = { value = 10, unit = "TFLOP/s", source = "by hand" }
bandwidth = { value = 1000, unit = "GB/s", source = "by hand" }
memory = { value = 24, unit = "GB", source = "by hand" }
multiprocessors = { value = 100, unit = "SMs", source = "by hand" }
"""
GEMMS = """gemm_dtype,m,n,k,latency
bfloat16,1000,1000,1000,0.04
bfloat16,1000,2000,1000,0.02
bfloat16,1,1000,1000,0.002002
"""
STEPS = """\
num_heads,num_key_value_heads,head_dim,attn_dtype,kv_cache_dtype,batch_size,isl,step,latency
8,2,100,bfloat16,bfloat16,10,1,999,0.0
8,2,100,bfloat16,bfloat16,10,1,1000,0.016064
"""


def row(model, what, us, batch=1, tokens=0, cached=0, height=0, width=0, mode="eager"):
    values = ("A GPU", "2.13.0", model, what, mode, batch, tokens, cached, height, width,
              "bfloat16", us, 20)  # fmt: skip
    return ",".join(map(str, values))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "measured"
    path.mkdir()
    return path


def write(folder, *rows):
    (folder / "passes.csv").write_text("\n".join((",".join(COLUMNS), *rows)) + "\n")


def test_operators_by_hand(folder, tmp_path):
    """A GEMM of 1000 x 1000 x 1000 is 2e9 FLOP, 20 us at 100 TFLOP/s; 6 MB take 6 us."""
    (tmp_path / "round.toml").write_text(ROUND_DEVICE)
    (folder / "gemm_perf.csv").write_text(GEMMS)
    (folder / "generation_attention_perf.csv").write_text(STEPS)
    found = compare_folder(folder, str(tmp_path / "round.toml"), "vllm")
    gemms, step = found.operators
    # 20 of 40 us, 40 of 20 us, and 2.002 of 2.002 us, for 2 * (1000 + 1e6 + 1000) bytes.
    assert (gemms.kind, gemms.format, gemms.rows, gemms.rates) == ("gemm", "bf16", 3, NO_RATES)
    assert gemms.ratio == pytest.approx(1.0, rel=1e-3)
    assert (gemms.median, gemms.p90) == (50.0, 90.0)
    assert (gemms.sheet_median, gemms.sheet_p90) == (gemms.median, gemms.p90)
    # 2*10*2*100*2 bytes a key and 4*10*8*100 are 8.04 MB at 1001 keys, half of what was measured;
    # a row without a time is left out.
    assert (step.kind, step.rows) == ("decode", 1)
    assert step.ratio == pytest.approx((8000 * 1001 + 32000) / 1e6 / 16.064)


def test_passes_have_the_times_of_static_points(folder):
    given = {"device": "h100-sxm", "serving": "static", "precision": "bf16"}
    text = se.cost("qwen3-8b", **given, batch_size=4, prompt_tokens=900, cached_tokens=100,
                   decode_steps=1)  # fmt: skip
    seen = se.cost("qwen3-vl-8b", **given, image_height=448, image_width=640, images=1,
                   batch_size=2)  # fmt: skip
    prefill, decode, vision = (1e6 * cost[f"{name}_seconds"] for name, cost in (
        ("prefill", text), ("decode", text), ("vision", seen)))  # fmt: skip
    write(
        folder,
        row("qwen3-8b", "prefill", 2 * prefill, 4, 900, 100),
        row("qwen3-8b", "decode", decode / 2, 4, 1, 1000),
        row("qwen3-8b", "decode", decode / 4, 4, 1, 1000, mode="compiled"),
        row("qwen3-8b", "decode", decode / 3, 4, 1, 1000, mode="compiled"),
        row("qwen3-vl-8b", "tower", vision, 2, height=448, width=640),
    )
    found = compare_folder(folder, "h100-sxm", "vllm")
    assert [case.ratio for case in found.passes] == pytest.approx([0.5, 2, 4, 3, 1])
    assert [case.error for case in found.passes] == pytest.approx([50, 100, 300, 200, 0], abs=1e-9)
    medians = {(one["what"], one["mode"]): one for one in found.medians()}
    assert medians["decode", "compiled"]["cases"] == 2
    assert medians["decode", "compiled"]["ratio"] == pytest.approx(3.5)
    assert medians["decode", "compiled"]["error"] == pytest.approx(250)
    assert medians["prefill", "eager"]["error"] == pytest.approx(50)


@pytest.mark.parametrize("side", [1024, 640])
def test_sam_and_clip_are_what_explain_shows(folder, side):
    model = se.load_model("deepseek-ocr-3b")
    given = {"view_size": side, "batch_size": 3, "precision": "bf16"}
    place = timing_target(se.load_device("h100-sxm"), "sglang")
    point = checked_point(model, given)._replace(serving=STATIC)
    times = timeline(model, point, place)
    parts = {"SAM": 0.0, "CLIP": 0.0}
    kinds = {name.kind: name.part
             for name in (*model.architecture.towers.block_names,
                          *model.architecture.towers.join_names)}  # fmt: skip
    for one in times.operators:
        if one.stage == "vision" and one.id.operator in kinds:
            parts[kinds[one.id.operator]] += 1e6 * one.seconds
    write(folder, *(row(model.name, what, us, 3, height=side, width=side)
                    for what, us in parts.items()))  # fmt: skip
    found = compare_folder(folder, "h100-sxm", "sglang")
    assert [case.ratio for case in found.passes] == pytest.approx([1.0, 1.0])


def test_command_prints_and_writes_what_it_compared(command, folder, tmp_path):
    write(folder, row("qwen3-8b", "decode", 7000, 4, 1, 1000))
    done = command("validate", "--silicon", "--measured", folder, "--device", "rtx-4090",
                   "--json", tmp_path / "facts.json", "--page", tmp_path / "page.md")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["device"], facts["framework"], facts["times"]) == ("rtx-4090", "vllm", "silicon")
    one = facts["passes"][0]
    assert one["microseconds"] == 7000
    assert one["ratio"] == pytest.approx(one["predicted_microseconds"] / 7000)
    page = (tmp_path / "page.md").read_text()
    for text in (done.stdout, page):
        assert "measured on A GPU; predicted for rtx-4090 with rates of vllm" in text
        assert "7,000" in text
        assert f"{one['ratio']:.2f}" in text


def test_device_without_rates_has_the_times_of_its_data_sheet(folder):
    write(folder, row("qwen3-8b", "decode", 7000, 4, 1, 1000))
    (folder / "gemm_perf.csv").write_text(GEMMS)
    found = compare_folder(folder, "gaudi-3", "vllm")
    assert found.target.times == "roofline"
    sheet = se.cost("qwen3-8b", device="gaudi-3", serving="static", precision="bf16",
                    batch_size=4, prompt_tokens=1000, decode_steps=1)  # fmt: skip
    assert found.passes[0].predicted == pytest.approx(1e6 * sheet["decode_seconds"])
    assert [one.rates for one in found.operators] == [NO_RATES]


def test_heading_says_whose_rates_are_borrowed(command, folder):
    (folder / "gemm_perf.csv").write_text(GEMMS)
    for device, said in (("mi300x", "borrowed from h200 as shares of the data sheet, kernels"),
                         ("h100-pcie", "borrowed from h100-sxm, which adds")):  # fmt: skip
        done = command("validate", "--silicon", "--measured", folder, "--device", device)
        assert said in " ".join(done.stdout.split()), done.stdout
    done = command("validate", "--silicon", "--measured", folder, "--device", "h100-sxm")
    assert "borrowed" not in done.stdout


@pytest.mark.parametrize("device", ["mi300x", "h100-sxm"])
def test_operators_have_the_times_that_points_take(folder, device):
    """Cold caches, and where rates are borrowed the factor of the device that borrows."""
    (folder / "gemm_perf.csv").write_text(GEMMS)
    found = compare_folder(folder, device, "vllm")
    model = se.load_model("qwen3-8b")
    speeds = speeds_of(model.architecture, checked_point(model, {}), found.target)
    ratios = [gemm(float(m), n, k, speeds.plain) / us
              for m, n, k, us in ((1000, 1000, 1000, 40), (1000, 2000, 1000, 20),
                                  (1, 1000, 1000, 2.002))]  # fmt: skip
    assert found.operators[0].ratio == pytest.approx(sorted(ratios)[1])
    assert found.operators[0].rates == ("h200, vllm" if device == "mi300x" else "h100-sxm, vllm")


def test_bad_tables_are_one_line(command, folder):
    good = row("qwen3-8b", "decode", 7000, 4, 1, 1000)
    head = ",".join(COLUMNS)
    cases = {
        "": "column device is missing",
        head.replace("batch", "sequences") + "\n": "column batch is missing",
        head + "\n": "has no rows",
        f"{head}\n{good}\n{good.replace(',4,', ',x,')}\n": "line 3: batch",
        f"{head}\n{good.replace('7000', '0')}\n": "line 2: microseconds",
        f"{head}\n{good.replace('7000', 'nan')}\n": "line 2: microseconds",
        f"{head}\n{good.replace('eager', 'fast')}\n": "line 2: mode",
        f"{head}\n{good.replace('bfloat16', 'float32')}\n": "line 2: dtype",
        f"{head}\n{good.replace('decode', 'speed')}\n": "line 2: what",
        f"{head}\n{row('qwen3-8b', 'decode', 7, 4, 2, 9)}\n": "tokens = 2: expected 1 of a decode",
        f"{head}\n{row('qwen3-8b', 'prefill', 7, 4, 0, 9)}\n": "expected 1 or more of a prefill",
        f"{head}\n{row('qwen3-8b', 'SAM', 7, height=64, width=64)}\n": "a model that sees images",
        f"{head}\n{row('deepseek-ocr-2', 'CLIP', 7, height=64, width=64)}\n": "a model with CLIP",
        f"{head}\n{row('deepseek-ocr-3b', 'SAM', 7, height=65, width=65)}\n": "multiple of 64",
        f"{head}\n{row('deepseek-ocr-3b', 'tower', 7, height=64, width=64)}\n": "SAM or CLIP",
        f"{head}\n{row('deepseek-ocr-3b', 'SAM', 7)}\n": "expected pixels of an image",
        f"{head}\n{row('qwen3-vl-8b', 'tower', 7, height=1, width=999)}\n": "image of 1 x 999",
        f"{head}\n{row('none.json', 'decode', 7, 4, 1, 9)}\n": "none.json",
        f"{head}\n{row('llama-3.1-8', 'decode', 7, 4, 1, 9)}\n": 'model = "llama-3.1-8"',
    }
    for text, expected in cases.items():
        (folder / "passes.csv").write_text(text)
        done = command("validate", "--silicon", "--measured", folder, "--device", "h100-sxm")
        assert (done.returncode, done.stdout) == (2, ""), text
        assert expected in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        assert str(folder) in done.stderr


def test_bad_options_are_one_line(command, folder):
    silicon = ("validate", "--silicon")
    cases = {
        (*silicon, "--measured", folder, "--device", "h100-sxm"): "nothing measured",
        (*silicon, "--measured", folder): "expected --device",
        (*silicon, "--measured", folder / "none", "--device", "h100-sxm"): "does not exist",
        (*silicon, "--measured", folder, "--device", "h100"): "h100",
        (*silicon, "--device", "h100-sxm"): "--device: expected --measured",
        (*silicon, "--framework", "vllm"): "--framework: expected --measured",
        ("validate", "--measured", folder, "--device", "h100-sxm"): "expected --silicon",
        (*silicon, "--memory", "--measured", folder, "--device", "h100-sxm"): "--memory",
    }
    for arguments, expected in cases.items():
        done = command(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert expected in done.stderr
        assert done.stderr.count("\n") == 1
