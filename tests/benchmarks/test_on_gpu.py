"""The script for GPUs of users measures on a CPU what it says; how long it takes is not tested."""

import csv
import json
from collections import Counter
from itertools import count
from pathlib import Path

import polars as pl
import pytest
import torch
from transformers import Cache, DynamicCache

import sweepengine as se
from benchmarks.on_gpu import operators
from benchmarks.on_gpu.__main__ import FACTS, SIZES, main
from benchmarks.on_gpu.clock import Budget, Clock
from benchmarks.on_gpu.passes import FilledLayer
from benchmarks.on_gpu.sizes import read_sizes
from sweepengine.data.rates import load_rates, shipped_rates
from sweepengine.validation.calibration import calibrate, units_of
from sweepengine.validation.configs import decoder_config
from sweepengine.validation.measured_operators import Tables
from sweepengine.validation.measured_passes import COLUMNS, PASSES, read_passes
from sweepengine.validation.modules import decoder_of, made_on
from sweepengine.validation.operator_kinds import KINDS

CPU = torch.device("cpu")
KIND_OF_TABLE = {"gemm": "gemm", "generation_attention": "decode", "context_attention": "prefill",
                 "encoder_attention": "encoder", "moe": "mixture"}  # fmt: skip


@pytest.fixture(scope="module")
def tiny():
    return Path(__file__).parent.parent / "data" / "on_gpu"


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """Everything of the tiny sizes, measured eager."""
    out = tmp_path_factory.mktemp("on-gpu") / "out"
    arguments = [str(out), "--device", "cpu", "--sizes", str(tiny / "sizes.toml")]
    assert main(arguments) == 0
    return out


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_tables_have_the_columns_and_a_row_for_each_shape(folder, tiny):
    sizes, left_out = read_sizes(tiny / "sizes.toml"), Counter()
    for entry in json.loads((folder / FACTS).read_text())["left_out"]:
        left_out[entry["what"].split()[0], entry["why"]] += 1
    assert left_out == {
        ("gemm", "the device does not multiply in fp8"): 2,
        ("generation_attention", "operands of more than 0.001 GB"): 2,
    }
    for table, columns in operators.COLUMNS.items():
        rows = rows_of(folder / f"{table}_perf.csv")
        assert tuple(rows[0]) == columns
        assert all(float(row["latency"]) > 0 for row in rows)
        cases = list(operators.MAKERS[table](getattr(sizes, table)))
        missing = sum(n for (name, _), n in left_out.items() if name == table)
        assert len(rows) == len(cases) - missing
        wanted = [{name: str(value) for name, value in case.row.items()} for case in cases]
        if table == "moe":  # a CPU has no kernel of grouped GEMMs
            wanted = [row | {"kernel_source": operators.LOOPED} for row in wanted]
        assert all({k: v for k, v in row.items() if k != "latency"} in wanted for row in rows)


def test_passes_are_read_back_with_their_models(folder, tiny):
    sizes = read_sizes(tiny / "sizes.toml")
    rows = read_passes(folder / PASSES)
    assert tuple(rows_of(folder / PASSES)[0]) == COLUMNS
    assert [(row.model, row.what) for row in rows] == [
        (entry.model, entry.what) for entry in sizes.passes for _ in entry.cases
    ]
    first, prefill, tower = rows[0], rows[3], rows[-1]
    assert (first.batch, first.tokens, first.image_height) == (1, 0, 128)
    assert (prefill.batch, prefill.tokens, prefill.cached_tokens) == (1, 16, 8)
    assert (tower.batch, tower.image_height, tower.image_width) == (2, 128, 192)
    assert {(row.device, row.torch, row.mode) for row in rows} == {
        ("cpu", torch.__version__, "eager")
    }
    for entry in sizes.passes:
        assert (folder / entry.model).read_bytes() == (tiny / entry.model).read_bytes()


def test_user_compares_what_the_script_wrote(folder, command):
    done = command("validate", "--silicon", "--measured", folder, "--device", "h100-sxm")
    assert done.returncode == 0, done.stderr
    for said in ("tiny-ocr.toml", "tiny-vl.json", "Operators, all measured shapes", "gemm",
                 "mixture", "Eager torch is no serving engine"):  # fmt: skip
        assert said in done.stdout


@pytest.mark.slow
def test_passes_are_compiled_too(tiny, tmp_path):
    for name in ("tiny-ocr.toml", "tiny-qwen.json"):
        (tmp_path / name).write_bytes((tiny / name).read_bytes())
    text = "".join(
        f'[[passes]]\nmodel = "{model}"\nwhat = "{what}"\ncases = [{case}, {case}]\ncompiled = 1\n'
        for model, what, case in (
            ("tiny-ocr.toml", "CLIP", [1, 128, 128]),
            ("tiny-qwen.json", "decode", [2, 1, 16]),
        )
    )
    (tmp_path / "sizes.toml").write_text(f"most_gb = 1\n{text}")
    out = tmp_path / "out"
    assert main([str(out), "--device", "cpu", "--sizes", str(tmp_path / "sizes.toml")]) == 0
    modes = Counter((row.what, row.mode) for row in read_passes(out / PASSES))
    assert modes == {("CLIP", "eager"): 2, ("decode", "eager"): 2, ("CLIP", "compiled"): 1,
                     ("decode", "compiled"): 1}  # fmt: skip


def test_budget_starts_nothing_that_would_not_fit():
    ticks = iter((0, 0, 4, 4, 7, 7, 7, 7, 7, 7, 8))
    budget = Budget(10, now=lambda: next(ticks))
    with budget.measured("pass", "first") as fits:  # from 0 to 4
        assert fits
    with budget.measured("pass", "second", expected=100) as fits:  # 4 + 4 fit; to 7
        assert fits
    with budget.measured("pass", "third") as fits:  # 7 + 4 do not
        assert not fits
    with budget.measured("operator", "half", share=0.5) as fits:  # 7 of 5 seconds
        assert not fits
    with budget.measured("compiled", "slow", expected=5) as fits:
        assert not fits
    assert budget.left_out == [
        (what, "the budget was used up") for what in ("third", "half", "slow")
    ]
    with budget.measured("operator", "broken") as fits:
        assert fits
        raise RuntimeError("no kernel\nfor this")
    assert budget.left_out[-1] == ("broken", "no kernel for this")


def test_script_keeps_its_budget_and_says_what_is_left_out(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--device", "cpu", "--sizes", str(tiny / "sizes.toml")]
    assert main([str(out), *arguments, "--minutes", "1e-9", "--only", "operators"]) == 1
    assert [path.name for path in out.iterdir()] == [FACTS]
    printed = capsys.readouterr()
    assert "left out: 2 of moe: the budget was used up" in printed.out
    assert printed.err == f"{out}: nothing was measured\n"
    facts = json.loads((out / FACTS).read_text())
    assert facts["rows"] == {}
    assert len(facts["left_out"]) == 14


def test_clock_takes_the_median_of_repeats():
    calls = count()
    found = Clock(CPU).single(lambda: next(calls))
    assert found.repeats == 20
    assert next(calls) == 3 + 20  # warm-up first
    run = Clock(CPU).kernels([lambda: next(calls)] * 4)
    assert next(calls) - 24 == 4 * 23
    assert run.microseconds > 0


def test_step_behind_held_tokens_is_that_of_transformers(tiny):
    config = decoder_config(tiny / "tiny-qwen.json")
    config._attn_implementation = "sdpa"
    config.dtype = torch.float32
    torch.manual_seed(0)
    with made_on(CPU, torch.float32):
        body, head = decoder_of(config)
    assert head is None
    ids, cached = torch.randint(config.vocab_size, (2, 9)), 8
    with torch.inference_mode():
        grown = DynamicCache(config=config)
        body(ids[:, :cached], past_key_values=grown, use_cache=True)
        layers = [
            FilledLayer(cached, *(torch.cat([of, torch.zeros_like(of[:, :, :1])], dim=2)
                                for of in (layer.keys, layer.values)))
            for layer in grown.layers
        ]  # fmt: skip
        expected = body(ids[:, cached:], past_key_values=grown, use_cache=True).logits
        inputs = {"position_ids": torch.tensor([[cached]]), "use_cache": True}
        held = Cache(layers=layers)
        for _ in range(2):  # a step may run again and again
            found = body(ids[:, cached:], past_key_values=held, **inputs).logits
            torch.testing.assert_close(found, expected)


def test_operators_compute_what_their_rows_say(tiny):
    sizes = read_sizes(tiny / "sizes.toml")
    shapes = {
        "gemm": lambda row: (row["m"], row["n"]),
        "generation_attention": lambda row: (row["batch_size"], row["num_heads"], 1,
                                             row["head_dim"]),
        "context_attention": lambda row: (row["batch_size"], row["num_heads"], row["isl"],
                                          row["head_dim"]),
        "encoder_attention": lambda row: (row["batch_size"], row["num_heads"], row["isl"],
                                          row["head_dim"]),
        "moe": lambda row: (row["num_tokens"], row["hidden_size"]),
    }  # fmt: skip
    for table, maker in operators.MAKERS.items():
        for case in maker(getattr(sizes, table)):
            if case.size > 1e6:
                continue
            made = case.make(CPU)(1)()
            assert (*made.shape,) == shapes[table](case.row)
            assert made.dtype == torch.bfloat16
            assert made.isfinite().all()


@pytest.mark.slow
def test_fit_of_the_shipped_sizes_recovers_known_rates(tmp_path):
    """Times of a known device in every shape that the script measures, in its own columns."""
    device, sizes = se.load_device("h100-sxm"), read_sizes(SIZES)
    shipped = load_rates(shipped_rates()[device.name, "vllm"]).fits
    kinds = {kind.name: kind for kind in KINDS}
    known = {}
    for table, columns in operators.COLUMNS.items():
        kind = kinds[KIND_OF_TABLE[table]]
        known[kind.name] = shipped[kind.name]["bf16"].kernels[0].rates
        cases = [case.row for case in operators.MAKERS[table](getattr(sizes, table))]
        rows = pl.DataFrame([row for row in cases if row.get("gemm_dtype") != "fp8"])
        shaped = rows.with_columns(window_size=pl.lit(0)) if table == "gemm" else rows
        shapes = shaped.select(
            [n.cast(pl.Float64).alias(f"n{i}") for i, n in enumerate(kind.shaped(shaped))]
        ).to_numpy()
        us = units_of(kind, "bf16", device).times(shapes, known[kind.name])
        rows.with_columns(latency=us / 1e3).select(columns).write_csv(
            tmp_path / f"{table}_perf.csv"
        )
    found = calibrate(device, "vllm", tmp_path)
    assert {*found.fits} == {*KIND_OF_TABLE.values()}
    for kind, by_format in found.fits.items():
        fit = by_format["bf16"]
        assert fit.median < 0.1, kind
        few, many = fit.kernels[0].all_rates
        assert many["flops"] == pytest.approx(known[kind]["flops"], rel=0.01), kind
        if kind != "encoder":  # no shape of which is bound by traffic
            assert few["bytes"] == pytest.approx(known[kind]["bytes"], rel=0.01), kind
    assert Tables(tmp_path, "").read(kinds["gemm"], "vllm")["bf16"].version == "own"


def refusal(arguments, capsys):
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_bad_input_is_one_line(tiny, tmp_path, capsys, monkeypatch):
    sizes, ocr = tmp_path / "sizes.toml", Path(__file__).parents[1] / "data/on_gpu/tiny-ocr.toml"
    given = ("--device", "cpu", "--sizes", sizes)
    cases = {
        "most_gb = 1\nspeed = 1\n": "speed: unknown key",
        "most_gb = 1\n[gemm]\nm = [0]\nn_k = [[1, 1]]\nformats = ['bfloat16']\n": "gemm.m[0]",
        "most_gb = 1\n[[passes]]\nmodel = 'none'\nwhat = 'SAM'\ncases = [[1, 64, 64]]\n"
        "compiled = 0\n": "none",
        "most_gb = 1\n[[passes]]\nmodel = 'qwen3-8b'\nwhat = 'SAM'\ncases = [[1, 64, 64]]\n"
        "compiled = 0\n": "qwen3-8b: SAM: expected DeepSeek-OCR",
        "most_gb = 1\n[[passes]]\nmodel = 'qwen3-8b'\nwhat = 'speed'\ncases = [[1, 64, 64]]\n"
        "compiled = 0\n": "passes[0].what",
        f"most_gb = 1\n[[passes]]\nmodel = '{ocr}'\nwhat = 'SAM'\n"
        "cases = [[1, 128, 128], [1, 100, 64]]\ncompiled = 0\n": "cases[1]: image_height = 100",
        f"most_gb = 1\n[[passes]]\nmodel = '{ocr}'\nwhat = 'decode'\n"
        "cases = [[1, 4, 0]]\ncompiled = 0\n": "cases[0]: tokens = 4: expected 1 of a decode",
    }
    for text, expected in cases.items():
        sizes.write_text(text)
        assert expected in refusal([tmp_path / "out", *given], capsys)
        assert not (tmp_path / "out").exists()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cuda: torch finds no GPU" in refusal([tmp_path / "out"], capsys)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "passes.csv").touch()
    sizes.write_text("most_gb = 1\n")
    assert "expected a new folder" in refusal([tmp_path / "full", *given], capsys)
    assert (tmp_path / "full" / "passes.csv").read_text() == ""
    assert not (tmp_path / "out").exists()
