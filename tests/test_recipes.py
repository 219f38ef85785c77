"""The recipes of CONTRIBUTING.md, applied to a copy of the package, give the right numbers."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

import sweepengine as se

MOST_FILES = {
    "An output column of a new figure": 2,
    "A column of times": 2,
    "An input with an axis": 2,
    "A device": 1,
    "A family of text models": 1,
    "A vision family made of known blocks": 3,
    "A version of a serving engine": 1,
}
"""Recipe to how many files it may touch."""
COMPILED = 4_000
"""Rows of a frame that the kernel computes, and more prompts than plain Python tabulates."""


def recipes(root):
    """Recipe to its files, each with its hunks of (lines before, lines after)."""
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = {}
    for title, block in re.findall(r"\*\*(.+?)\*\*[^`]*?(?:`[^`]+`[^`]*?)*?```diff\n(.*?)```", text,
                                   re.S):  # fmt: skip
        files = {}
        for path, body in re.findall(r"^ # (sweepengine\S+)\n((?:(?! # sweepengine).*\n)*)", block,
                                     re.M):  # fmt: skip
            files[path] = [
                (
                    [line[1:] for line in hunk.splitlines() if line[0] in " -"],
                    [line[1:] for line in hunk.splitlines() if line[0] in " +"],
                )
                for hunk in body.split("@@\n")
            ]
        found[title] = files
    return found


def applied(folder, files):
    """Change the copy as a recipe says."""
    for path, hunks in files.items():
        file = folder / path
        for before, after in hunks:
            text = file.read_text(encoding="utf-8") if before else ""
            old, new = "\n".join(before) + "\n" * bool(before), "\n".join(after) + "\n"
            assert not before or text.count(old) == 1, (path, before)
            file.write_text(text.replace(old, new) if before else new, encoding="utf-8")


@pytest.fixture
def copy(root, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(root / "sweepengine", folder / "sweepengine",
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    return folder


def said(folder, code, **values):
    """What a program prints as JSON that imports the copy."""
    environment = os.environ | {"PYTHONPATH": str(folder), "XDG_CACHE_HOME": str(folder / "cache")}
    head = "import json, sys, polars as pl, sweepengine as se\n"
    head += "".join(f"{name} = {value!r}\n" for name, value in values.items())
    done = subprocess.run([sys.executable, "-c", head + code], capture_output=True, text=True,
                          env=environment, cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_recipes_touch_as_few_files_as_they_should(root):
    found = recipes(root)
    assert set(found) == set(MOST_FILES)
    for title, files in found.items():
        assert 1 <= len(files) <= MOST_FILES[title], title


def test_columns_and_an_axis_that_are_added_are_right_everywhere(root, copy):
    """Plain Python, the kernel and a scanned grid; with 100 tokens of a system prompt."""
    found = recipes(root)
    for title in ("An output column of a new figure", "A column of times", "An input with an axis"):
        applied(copy, found[title])
    code = """
def one(name, **more):
    return se.cost(name, prompt_tokens=900, decode_steps=50, batch_size=3, device="h100-sxm",
                   serving="continuous", **more)
names = ["prefill_summed_bytes", "whole_seconds", "ttft_seconds", "tpot_seconds",
         "prefill_tensor_flops", "context_tokens"]
plain = one("llama-3.1-8b", system_tokens=100)
longer = se.cost("llama-3.1-8b", prompt_tokens=1000, decode_steps=50, batch_size=3,
                 device="h100-sxm", serving="continuous")
rows = pl.DataFrame({"prompt_tokens": range(1, COMPILED + 1)}).with_columns(
    system_tokens=100, decode_steps=50, batch_size=3, device=pl.lit("h100-sxm"),
    serving=pl.lit("continuous"))
compiled = se.evaluate(rows, "llama-3.1-8b").row(899, named=True)
assert "numba" in sys.modules
open("g.toml", "w").write('''name = "g"
model = "llama-3.1-8b"
[axes]
prompt_tokens = [900]
system_tokens = [0, 100]
decode_steps = [50]
batch_size = [3]
device = ["h100-sxm"]
serving = ["continuous"]
''')
scanned = se.scan("g.toml").collect().row(1, named=True)
image = {"crop_rows": 1, "crop_cols": 2}
summed = se.cost("deepseek-ocr-3b-modelmeter", **image)
print(json.dumps([[row[n] for n in names] for row in (plain, longer, compiled, scanned)]
      + [[summed["prefill_summed_bytes"], summed["prefill_activation_bytes"]]]))
"""
    plain, longer, compiled, scanned, published = said(copy, code, COMPILED=COMPILED)
    assert plain == pytest.approx(longer, rel=1e-12)
    assert plain == pytest.approx(compiled, rel=1e-9)
    assert plain == pytest.approx(scanned, rel=1e-9)
    assert plain[:1] + plain[4:] == compiled[:1] + compiled[4:]
    known = se.cost("llama-3.1-8b", prompt_tokens=1000, decode_steps=50, batch_size=3,
                    device="h100-sxm", serving="continuous")  # fmt: skip
    assert plain[4] == known["prefill_tensor_flops"]
    assert plain[1] == pytest.approx(known["ttft_seconds"] + 50 * known["tpot_seconds"], rel=1e-12)
    assert published[0] == published[1] == 2 * 288_925_608  # docs/published.md adds them up


def test_a_device_that_is_added_is_timed_and_listed(root, copy):
    (path,) = recipes(root)["A device"]
    applied(copy, recipes(root)["A device"])
    code = """
device = se.load_device("example-48gb")
static = {"device": "example-48gb", "serving": "static"}
timed = se.cost("llama-3.1-8b", **static)
roof = se.cost("llama-3.1-8b", "roofline", **static, decode_steps=1)
print(json.dumps([device.memory_bytes, timed["tpot_seconds"], roof["tpot_seconds"],
                  roof["decode_weight_io_bytes"] + roof["decode_kv_io_bytes"]]))
"""
    memory, timed, roof, moved = said(copy, code)
    assert memory == 48 * 10**9
    assert roof == pytest.approx(moved / 600e9, rel=0.01)  # the data sheet's bandwidth
    assert roof < timed < 3 * roof
    assert path.endswith("example-48gb.toml")


def test_a_family_that_is_added_is_read(root, copy):
    config = {
        "model_type": "example", "hidden_size": 64, "num_hidden_layers": 3, "vocab_size": 100,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
        "sliding_window": 50,
    }  # fmt: skip
    copy.joinpath("config.json").write_text(json.dumps(config), encoding="utf-8")
    code = """
try:
    model = se.load_model("config.json")
    cost = se.cost("config.json", prompt_tokens=80)
    print(json.dumps([model.parameter_count, cost["prefill_kv_cache_bytes"]]))
except se.InputError as error:
    print(json.dumps(str(error)))
"""
    assert '"example" is unknown' in said(copy, code)
    applied(copy, recipes(root)["A family of text models"])
    attention = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 64 + 2 * 32  # biases of queries, keys and values
    layer = attention + 3 * 64 * 128 + 2 * 64
    held = 2 * 3 * (2 * 32) * 49  # a window of 50 holds 49, the next token is the 50th
    assert said(copy, code) == [3 * layer + 2 * 100 * 64 + 64, held]


def test_a_vision_family_that_is_added_is_read(root, copy):
    text = {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 1, "vocab_size": 100,
        "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 128,
    }  # fmt: skip
    tower = {
        "model_type": "example_vision", "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 48, "window_size": 8,
    }  # fmt: skip
    config = {"model_type": "example_vl", "text_config": text, "vision_config": tower}
    copy.joinpath("config.json").write_text(json.dumps(config), encoding="utf-8")
    code = """
model = se.load_model("config.json")
image = {"image_height": 280, "image_width": 140} if model.has_vision else {}
cost = se.cost("config.json", text_tokens=10, **image) if image else {}
print(json.dumps([list(model.notes), model.vision_parameter_count,
                  cost.get("vision_tensor_flops"), cost.get("context_tokens")]))
"""
    notes, *_ = said(copy, code)
    assert "vision tower of example_vision is not modelled" in notes
    applied(copy, recipes(root)["A vision family made of known blocks"])
    block = 4 * 32 * 32 + 4 * 32 + 2 * 32 * 48 + 48 + 32 + 2 * 2 * 32
    parameters = 588 * 32 + 32 + 2 * block + 2 * 32 + 4 * 32 * 64 + 64
    patches = 20 * 10
    pairs = (8 * 8 + 8 * 8 + 4 * 4) * (8 * 8 + 2 * 2)  # windows of 8 that the edges cut
    layer = 8 * patches * 32 * 32 + 4 * pairs * 32 + 4 * patches * 32 * 48
    flops = 2 * patches * 588 * 32 + 2 * layer + 2 * patches // 4 * 128 * 64
    assert said(copy, code) == [[], parameters, flops, 10 + patches // 4 + 2]


def test_a_version_of_a_serving_engine_that_is_added_is_taken(root, copy):
    code = """
cost = se.cost("llama-3.1-8b", device="h100-sxm", serving="continuous", decode_steps=100)
print(json.dumps([cost["ttft_seconds"], cost["tpot_seconds"]]))
"""
    before = said(copy, code)
    applied(copy, recipes(root)["A version of a serving engine"])
    first, each = (b - a for a, b in zip(before, said(copy, code), strict=True))
    assert first == pytest.approx(1.0, abs=0.05)  # 1 s more before the first token
    assert each == pytest.approx(0.001, rel=0.1)  # and 1 ms a sequence in each step
