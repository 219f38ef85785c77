"""A model that a test has written, asked in several ways, which have to agree."""

import pytest

import sweepengine as se
from sweepengine.costs.cost_lines import COUNTS
from sweepengine.costs.explain import explain
from sweepengine.costs.timeline import timeline
from sweepengine.data.speeds import timing_target
from sweepengine.engine import tables
from sweepengine.engine.compute import COMPILED, PLAIN, compute_arrays
from sweepengine.grid.files import parse_grid
from sweepengine.grid.points import checked_point

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


def check_tree(model, inputs, title):
    """Lines of the tree add up to the columns; its lines of a title, first and later."""
    tree = explain(model.architecture, checked_point(model, inputs))
    columns = se.cost(model, **inputs)
    for phase in tree.parts:
        for name in COUNTS:
            found = getattr(phase, name)
            assert found == pytest.approx(columns[f"{phase.name}_{name}"], rel=1e-12), name
    return [line for _, line in tree.walk() if line.name == title]


def check_timeline(model, inputs):
    """Times of operators on an H100 add up to the phases; the operators."""
    place = timing_target(se.load_device("h100-sxm"), "vllm")
    timed = model._replace(devices=(place.device,), times=place.times)
    static = inputs | {"serving": "static", "device": place.device.name}
    operators = timeline(model, checked_point(timed, static), place).operators
    costs = se.cost(model, **static)
    for phase in ("vision", "prefill", "decode"):
        spent = sum(one.seconds for one in operators if one.stage == phase)
        assert spent == pytest.approx(costs[f"{phase}_seconds"], rel=1e-9)
    return operators
