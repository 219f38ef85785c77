"""Both backends on one small grid of a model that a test has written."""

import pytest

from sweepengine.engine import tables
from sweepengine.engine.compute import COMPILED, PLAIN, compute_arrays
from sweepengine.grid.files import parse_grid

SECONDS = ("vision_seconds", "prefill_seconds", "decode_seconds", "tpot_seconds")


def chunk_of(model, axes):
    path = model.sources["decoder"].split(",")[0]
    grid = parse_grid({"name": "g", "model": path, "axes": axes}, "g")
    (chunk,) = grid.chunks(grid.points)
    return grid.model, chunk


def check_figures(model, axes, monkeypatch):
    """Compiled figures are those of plain Python, to the unit."""
    monkeypatch.setattr(tables, "FEW", 0)
    compiled, plain = (compute_arrays(*chunk_of(model, axes), backend=b) for b in (COMPILED, PLAIN))
    for name in plain:
        assert compiled[name].tolist() == plain[name].tolist(), name


def check_seconds(model, axes):
    """Compiled seconds on an H100 are those of plain Python."""
    asked = chunk_of(model, {**axes, "device": ["h100-sxm"]})
    compiled, plain = (compute_arrays(*asked, SECONDS, backend) for backend in (COMPILED, PLAIN))
    for name in SECONDS:
        assert compiled[name] == pytest.approx(plain[name], rel=1e-12), name
