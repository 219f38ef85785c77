"""One compile serves every model, and small questions need none."""

import subprocess
import sys

import pytest

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


@pytest.mark.parametrize(
    "code",
    [
        "import sweepengine as se, polars as pl; se.evaluate(pl.DataFrame({'batch_size': [1, 2]}))",
        "import sweepengine as se; se.cost('qwen3-32b', prompt_tokens=4000)",
        "import sweepengine as se; se.run('modes', out='out')",
        "import sweepengine as se; se.scan('serving').collect()",
    ],
)
def test_small_questions_load_no_compiler(code, tmp_path):
    check = "; import sys; assert 'numba' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code + check], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
