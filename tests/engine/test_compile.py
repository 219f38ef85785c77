"""One compile serves every model, and small questions need none."""

import os
import subprocess
import sys

import numpy as np

from sweepengine.data.models import load_model
from sweepengine.engine import tables
from sweepengine.engine.compute import COMPILED, compute_arrays
from sweepengine.grid.files import parse_grid


def test_models_of_different_numbers_of_groups_share_what_is_compiled(monkeypatch):
    from sweepengine.engine import kernel

    monkeypatch.setattr(tables, "FEW", 0)
    groups = set()
    for name in ("llama-3.1-8b", "gpt-oss-20b", "deepseek-v3", "gemma-3-27b", "deepseek-ocr-3b"):
        model = load_model(name)
        groups.add(len(model.architecture.groups))
        grid = parse_grid({"name": "g", "model": name, "axes": {"batch_size": [1, 2]}}, "g")
        (chunk,) = grid.chunks(2)
        compute_arrays(model, chunk, backend=COMPILED)
    assert groups == {1, 2}
    assert len(kernel.fill_prefill.signatures) == 1
    assert len(kernel.fill.signatures) == 1


SMALL_QUESTIONS = (
    "se.evaluate(pl.DataFrame({'batch_size': [1, 2]}))",
    "se.cost('qwen3-32b', prompt_tokens=4000)",
    "se.run('modes', out='out')",
    "se.scan('serving').collect()",
)


def test_small_questions_load_no_compiler(tmp_path):
    lines = ["import sys", "import polars as pl", "import sweepengine as se"]
    for question in SMALL_QUESTIONS:
        lines += [question, f"assert 'numba' not in sys.modules, {question!r}"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_cache_file_that_is_no_file_of_ours_is_written_again(tmp_path, monkeypatch):
    from sweepengine.engine import compiled

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def double(values):
        values *= 2

    def doubled():
        values = np.array([3.0])
        compiled.compiled("part")(double)(values)
        return values[0]

    assert doubled() == 6
    files = list(tmp_path.rglob("*.nb[ci]"))
    assert files
    for path in files:
        path.unlink()
        os.mkfifo(path)
    assert doubled() == 6
    for path in files:
        path.unlink(missing_ok=True)
        path.symlink_to("/dev/zero")
    assert doubled() == 6
