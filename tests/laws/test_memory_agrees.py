"""One question of memory, one number: every command and Python, to the byte."""

import json

import numpy as np
import polars as pl
import pytest

import sweepengine as se
from sweepengine.costs.device_memory import memory_on
from sweepengine.data.files import known
from sweepengine.data.speeds import on_devices
from sweepengine.engine.memory import MEMORY_INPUTS, memory_columns
from sweepengine.engine.one_point import point_memory
from sweepengine.grid.columns import MEMORY
from sweepengine.grid.counted import point_columns
from sweepengine.grid.files import parse_grid
from sweepengine.grid.lengths import lengths_of
from sweepengine.grid.points import checked_point
from sweepengine.query.sources import open_source
from sweepengine.search.exploration import explore
from sweepengine.search.limits_map import find_maps
from sweepengine.search.options import EngineOptions, LatencyTargets, MapOptions, SloOptions
from sweepengine.search.slo import find_answers

PARTS = ("weight_bytes", "runtime_bytes", "activation_bytes", "graph_bytes")
FLAGS = {
    "framework_version": "--engine-version",
    "max_sequences": "--max-num-seqs",
    "chunk_tokens": "--max-num-batched-tokens",
    "memory_share": "--memory-share",
}
POINTS = [
    ("llama-3.1-8b", "h100-sxm", "tp1", "checkpoint", 64, {}),
    ("llama-3.1-8b", "l4", "tp1", "fp8-kv8", 3, {"max_sequences": 16}),
    ("qwen3-30b-a3b", "h200", "tp2-ep2", "fp8", 300, {"framework_version": "0.12"}),
    ("deepseek-v3", "b200", "tp8", "checkpoint", 32, {"memory_share": 0.8}),
    ("gpt-oss-20b", "rtx-5090", "tp1", "checkpoint", 2000, {}),
    ("gemma-3-27b", "a100-80gb", "tp2", "checkpoint", 8, {"chunk_tokens": 4096}),
]
REQUEST = {"prompt_tokens": 3000, "decode_steps": 200}
EASY = LatencyTargets(1e6, 1e6)


def needed(cost, sequences, engine):
    """Bytes that a point takes of vLLM's share, from the columns of `se.cost`."""
    share = engine.get("memory_share", 0.9 if engine.get("framework_version") else 0.92)
    room = round(share * 1000) * cost["device_usable_bytes"] // 1000
    return room - cost["kv_pool_bytes"] + sequences * cost["sequence_kv_bytes"]


def test_newest_engine_charges_all_parts():
    cost = se.cost("qwen3-8b", device="h100-sxm")
    parts = sum(cost[name] for name in PARTS) + cost["sequence_kv_bytes"]
    assert needed(cost, 1, {}) == parts


@pytest.fixture(params=POINTS, ids=lambda p: f"{p[0]}-{p[1]}-{p[2]}-{p[3]}")
def point(request):
    model, device, layout, precision, batch, engine = request.param
    inputs = {"layout": layout, "precision": precision, "batch_size": batch} | REQUEST
    cost = se.cost(model, device=device, serving="continuous", **inputs, **engine)
    return request.param, inputs, cost


def test_frames_and_scanned_grids_have_the_columns_of_a_point(point, tmp_path):
    (model, device, *_, engine), inputs, cost = point
    frame = pl.DataFrame({name: [value] for name, value in inputs.items()})
    version = engine.get("framework_version")
    written = {"framework_version": "0.8"} if version == "0.12" else {}
    given = {name: [value] for name, value in (engine | written).items()}
    settings = {name: pl.lit(value) for name, (value,) in given.items()}
    on_device = {"device": pl.lit(device), "serving": pl.lit("continuous")}
    own = se.evaluate(frame.with_columns(**on_device, **settings), model)
    axes = {name: [value] for name, value in inputs.items()} | given
    grid = {"name": "g", "model": model, "axes": axes | {"device": [device],
                                                         "serving": ["continuous"]}}  # fmt: skip
    path = tmp_path / "g.toml"
    lines = ['name = "g"', f'model = "{model}"', "[axes]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in grid["axes"].items()]
    path.write_text("\n".join(lines))
    scanned = se.scan(path).collect()
    for name in (*PARTS, "kv_pool_bytes", "kv_pool_tokens", "fits", "largest_batch"):
        assert own[name].item() == scanned[name].item() == cost[name], name


def test_fit_explain_explore_and_map_say_what_a_point_says(point, command):
    (model, device, layout, precision, batch, engine), _, cost = point
    rows = se.fit(model, device, {"prompt": 3000, "answer": 200}, layout=layout,
                  precision=precision, **engine)  # fmt: skip
    one = se.cost(model, device=device, serving="continuous", layout=layout, precision=precision,
                  **REQUEST, **engine)  # fmt: skip
    first = rows.row(0, named=True)
    assert first["batch_size"] == 1
    for name in (*PARTS, "kv_pool_bytes", "kv_pool_tokens", "fits", "largest_batch"):
        assert first[name] == one[name], name
    assert first["memory_bytes"] == needed(one, 1, engine)
    said = [word for name, value in engine.items() for word in (FLAGS[name], value)]
    done = command("explain", "--model", model, "--device", device, "--layout", layout,
                   "--precision", precision, "--batch-size", batch, "--prompt-tokens", 3000,
                   "--decode-steps", 200, "--json", *said)  # fmt: skip
    (found,) = json.loads(done.stdout)["devices"]
    held = found["memory"]
    assert held["pool_bytes"] == cost["kv_pool_bytes"]
    assert held["pool_tokens"] == cost["kv_pool_tokens"]
    assert (held["fits"], held["largest_batch"]) == (cost["fits"], cost["largest_batch"])
    assert found["needed_bytes"] == needed(cost, batch, engine)
    options = MapOptions(EASY, longest=64, most_batch=1, cells=100, layout=layout,
                         precision=precision, engine=EngineOptions(**engine))  # fmt: skip
    (panel,) = find_maps(model, [device], lengths_of("t", se.load_model(model), {"answer": [9]}),
                         options).panels  # fmt: skip
    if panel.best is not None:
        short = {"prompt_tokens": panel.best["length"], "decode_steps": 9, "layout": layout}
        at = se.cost(model, device=device, precision=precision, **short, **engine)
        assert panel.best["memory_bytes"] == needed(at, 1, engine)
    if not engine:
        chosen = {"layout": layout, "precision": precision, "batch": str(batch)}
        shown = explore(model, device, chosen | {"prompt": "3000", "answer": "200"})
        assert shown.cost["kv_pool_bytes"] == cost["kv_pool_bytes"]
        assert shown.memory["weights"] == cost["weight_bytes"]
        assert shown.memory["capacity"] == cost["device_usable_bytes"]


def test_slo_and_reports_say_what_a_point_says(point, tmp_path):
    (model, device, _, _, batch, engine), inputs, cost = point
    path = tmp_path / "g.toml"
    lines = ['name = "g"', f'model = "{model}"', "[axes]"]
    lines += [f"{name} = {json.dumps([value])}" for name, value in inputs.items()]
    path.write_text("\n".join(lines))
    source, known = open_source(path), se.load_device(device)
    options = SloOptions(serving="continuous", engine=EngineOptions(**engine))
    (answer,) = find_answers(source, [known], EASY, options)
    assert answer.fitting == int(cost["fits"])
    if cost["fits"]:
        assert answer.best["memory_bytes"] == needed(cost, batch, engine)
        assert answer.best["largest_batch"] == cost["largest_batch"]
    if not engine:
        held = source.points.select(memory_on(source.loaded, known, source.columns)).collect()
        figures = held.to_series().struct.unnest().row(0, named=True)
        assert figures["fits"] == cost["fits"]
        assert figures["needed_bytes"] == needed(cost, batch, engine)


def test_deploy_and_design_say_what_a_point_says(point):
    (model, device, layout, precision, _, engine), _, _ = point
    plans = se.deploy(model, device, {"prompt": 3000, "answer": 200}, layouts=[layout],
                      precisions=[precision], most_batch=4, ttft=1e6, tpot=1e6, devices=8,
                      modes=["aggregated"], **engine)  # fmt: skip
    (plan,) = plans.to_dicts()
    batch = plan["batch_size"]
    most = {"max_sequences": engine.get("max_sequences", batch)}
    assert plan["max_sequences"] == most["max_sequences"]
    most["chunk_tokens"] = plan["chunk_tokens"]
    cost = se.cost(model, device=device, layout=layout, precision=precision, batch_size=batch,
                   **REQUEST, **engine | most)  # fmt: skip
    assert plan["memory_bytes"] == needed(cost, batch, engine)
    assert cost["fits"]


def test_engine_version_of_a_grid_file_is_one_of_the_file_of_the_engine():
    grid = {"name": "g", "model": "llama-3.1-8b",
            "axes": {"device": ["h100-sxm"], "framework_version": ["0.17", "newest"]}}  # fmt: skip
    assert parse_grid(grid, "g.toml").points == 2
    with pytest.raises(se.InputError, match=r'framework_version\[0\] = "0\.12": expected "newest"'):
        parse_grid(grid | {"axes": grid["axes"] | {"framework_version": ["0.12"]}}, "g.toml")


@pytest.mark.parametrize("name", known("models"))
def test_columns_have_what_points_have(name):
    """Of every shipped model, without a compiler: two points at once and each alone."""
    model = on_devices(se.load_model(name), ["h100-sxm"])
    points = [checked_point(model, {"batch_size": batch, "decode_steps": 100}) for batch in (4, 8)]
    inputs = {
        column: np.array([getattr(point, column) for point in points]) for column in MEMORY_INPUTS
    }
    costs = [point_columns(model.architecture, point) for point in points]
    counted = ("weight_bytes", "context_tokens", "image_features")
    counts = {column: np.array([int(cost.get(column, 0)) for cost in costs]) for column in counted}
    found = memory_columns(model, inputs, counts, [column.name for column in MEMORY])
    few = memory_columns(model, inputs, counts, ["fits", "largest_batch"])
    assert {column: values.tolist() for column, values in few.items()} == {
        column: found[column].tolist() for column in few
    }
    for i, point in enumerate(points):
        alone = point_memory(model, point, *(int(counts[column][i]) for column in counted))
        assert {column: values[i] for column, values in found.items()} == alone
