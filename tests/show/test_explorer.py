import subprocess
import sys

import polars as pl
import pytest

import sweepengine as se

pytestmark = pytest.mark.slow


def test_app_computes_what_evaluate_and_the_roofline_say():
    from sweepengine.show.explorer import app

    _, defined = app.run()
    frame = pl.DataFrame(
        {"crop_rows": [2], "crop_cols": [3], "batch_size": [8], "decode_steps": [1000],
         "device": ["h100-sxm"]}
    )  # fmt: skip
    points = se.evaluate(frame)
    assert defined["figures"]["tpot_ms"] == points["tpot_seconds"].item() * 1000
    assert defined["figures"]["ttft_s"] == points["ttft_seconds"].item()
    assert defined["said"].startswith("h100-sxm, vllm")
    assert defined["figures"]["largest_batch"] > 8


class Chosen:
    """A control that is set."""

    def __init__(self, value):
        self.value = value


def test_app_follows_its_controls():
    from sweepengine.show.explorer import app

    values = {"attention": "eager", "batch": 256, "crops": "none", "device": "rtx-4090",
              "heads": "10/1", "model": "deepseek-ocr-3b", "steps": 100, "prompt": 1,
              "serving": "continuous", "framework": "trtllm", "times": "silicon"}  # fmt: skip
    _, defined = app.run(defs={name: Chosen(value) for name, value in values.items()})
    chosen = defined["points"].filter(defined["points"]["batch_size"] == 256).row(0, named=True)
    assert (chosen["crop_rows"], chosen["key_value_heads"], chosen["attention"]) == (0, 1, "eager")
    assert defined["card"].name == "rtx-4090"
    cost = se.cost(
        batch_size=256, key_value_heads=1, attention="eager", device="rtx-4090",
        serving="continuous", framework="trtllm",
    )  # fmt: skip
    assert defined["figures"]["tpot_ms"] == pytest.approx(cost["tpot_seconds"] * 1000, rel=1e-12)
    assert "borrowed from l40s" in defined["said"]


def test_app_of_a_text_model_has_a_prompt_and_no_vision():
    from sweepengine.show.explorer import app

    values = {"attention": "flash", "batch": 64, "device": "h200", "model": "gpt-oss-20b",
              "prompt": 4096, "steps": 500, "heads": "own", "crops": "none",
              "times": "roofline", "framework": "vllm", "serving": "static"}  # fmt: skip
    _, defined = app.run(defs={name: Chosen(value) for name, value in values.items()})
    assert [row["stage"] for row in defined["costs"]] == ["prefill", "decode"]
    frame = pl.DataFrame({"prompt_tokens": [4096], "batch_size": [64], "decode_steps": [500]})
    points = se.evaluate(frame.with_columns(device=pl.lit("h200")), "gpt-oss-20b", "roofline")
    assert defined["figures"]["tpot_ms"] == points["tpot_seconds"].item() * 1000
    assert "lower bound" in defined["said"]


def test_page_is_exported_headless(tmp_path, root):
    page = tmp_path / "explorer.html"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "marimo",
            "export",
            "html",
            "sweepengine/show/explorer.py",
            "-o",
            str(page),
        ],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert "What will it cost?" in text
    assert "TPOT on h100-sxm against the batch" in text
    assert "Traceback" not in text
