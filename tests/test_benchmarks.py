"""Benchmarks compute what they claim to; how long it takes is not tested."""

import json
from functools import partial

import numpy as np
import pytest

from benchmarks import kernel_ways, silicon_ways
from benchmarks.measure import measure, run_command
from benchmarks.readme import peers, tables

pytestmark = pytest.mark.slow


def test_every_way_computes_the_columns_of_the_kernel(monkeypatch):
    monkeypatch.setattr(kernel_ways, "measure", partial(measure, runs=2))
    monkeypatch.setattr(kernel_ways, "PYTHON_POINTS", 200)
    ways = kernel_ways.measurements(30_000)
    assert [one.way for one in ways][1:] == [
        "kernel, all cores", "kernel, one core", "kernel, 8 columns",
        "Polars expressions, 8 columns", "numexpr, 8 columns", "NumPy, 8 columns", "plain Python",
        "kernel, qwen3-32b", "kernel, gpt-oss-20b", "kernel, 12 layouts, 5 precisions, 6 models",
    ]  # fmt: skip
    assert all(one.points > 0 and len(one.seconds) > 1 for one in ways)


def test_way_that_differs_stops_the_benchmark():
    kernel = {name: np.arange(3) for name in kernel_ways.COLUMNS}
    other = {**kernel, "decode_kv_cache_bytes": np.array([0, 1, 3])}
    kernel_ways.require_same("same", dict(kernel), kernel)
    with pytest.raises(SystemExit, match="other and kernel differ in decode_kv_cache_bytes"):
        kernel_ways.require_same("other", other, kernel)


def test_process_is_watched_from_outside():
    done = run_command("plan", "capacity")
    assert "10,108,800" in done.output
    assert 10 < done.megabytes < 4000


def test_page_holds_the_figures_of_the_results(root):
    facts = json.loads((root / "benchmarks" / "results.json").read_text())
    page = (root / "docs" / "speed.md").read_text()
    assert tables(facts) in page
    assert peers(facts) in page


def test_times_are_those_of_the_tool_that_knows_the_tables(monkeypatch):
    small = silicon_ways.timed_capacity()
    axes = tuple(axis._replace(values=axis.values[:40]) for axis in small.axes)
    monkeypatch.setattr(silicon_ways, "timed_capacity", lambda: small._replace(axes=axes))
    steps = {"decode_steps": {"start": 1, "stop": 100, "step": 1}}
    monkeypatch.setitem(silicon_ways.LENGTHS, "axes", silicon_ways.LENGTHS["axes"] | steps)
    ways = silicon_ways.measurements(20_000, others=False)
    assert len(ways) == 6
    assert all(one.points > 0 and len(one.seconds) > 1 for one in ways)
    off = {one.way: float(one.note.rstrip("%")) for one in ways if one.note}
    assert 0 < off[silicon_ways.ONE] < off["aiconfigurator, data sheet"]
    assert off[silicon_ways.LOOKED_UP] == 0
