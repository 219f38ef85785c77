import json
import math

import polars as pl
import pytest

from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.grid.files import load_grid, parse_grid
from sweepengine.search.design import DESIGN, device_figures, find_designs
from sweepengine.search.options import LatencyTargets
from sweepengine.show.design_chart import designs_chart, equal_lines
from tests.search.by_hand import Requests, formats_of, room_of, served

MIX = [Requests(500, 300, 2.0), Requests(6000, 100, 1.0)]
GRID = {
    "name": "small",
    "model": "llama-3.1-8b",
    "cost": "1 + device_bandwidth_gbs / 1000.0 + device_memory_gb / 10.0",
    "axes": {
        "device": ["h100-sxm"],
        "serving": ["continuous"],
        "batch_size": [1, 8, 32, 128],
        "device_bandwidth_gbs": [1000, 2000, 4000],
        "device_memory_gb": [16, 24, 96],
    },
    "lengths": [{"prompt": one.prompt, "answer": one.answer, "weight": one.weight} for one in MIX],
    "targets": {"ttft_s": 1.0, "tpot_s": 0.03},
}
TARGETS = LatencyTargets(1.0, 0.03)


def grid_of(**changes):
    return parse_grid(GRID | changes, "small.toml")


def test_designs_are_what_a_loop_over_costs_finds():
    found = find_designs(grid_of(), TARGETS)
    assert (found.designs.height, found.candidates) == (9, 36)
    inputs = formats_of("llama-3.1-8b", "checkpoint", "tp1")
    for row in found.designs.to_dicts():
        figures = {name: row[name] for name in ("device_bandwidth_gbs", "device_memory_gb")}
        room = room_of("h100-sxm", row["device_memory_gb"])
        candidates = [
            served("llama-3.1-8b", "h100-sxm", MIX, batch, inputs | figures) | {"batch": batch}
            for batch in (1, 8, 32, 128)
        ]
        fitting = [c for c in candidates if c["memory_bytes"] <= room]
        meeting = [c for c in fitting if c["ttft_s"] <= 1.0 and c["tpot_s"] <= 0.03]
        latencies = [c["batch"] / c["requests_per_s"] for c in fitting]
        assert row["latency_s"] == (pytest.approx(min(latencies)) if latencies else None)
        cost = 1 + row["device_bandwidth_gbs"] / 1000 + row["device_memory_gb"] / 10
        assert row["cost"] == pytest.approx(cost)
        if not meeting:
            assert row["device_tokens_per_s"] is None
            continue
        best = max(meeting, key=lambda c: c["requests_per_s"])
        assert row["batch_size"] == best["batch"]
        assert row["device_tokens_per_s"] == pytest.approx(best["device_tokens_per_s"])
        assert row["cost_per_request"] == pytest.approx(cost / best["requests_per_s"])


def test_cheapest_and_best_value_are_the_least_of_those_that_meet():
    found = find_designs(grid_of(), TARGETS)
    meeting = found.designs.drop_nulls("device_tokens_per_s")
    assert found.cheapest["cost"] == meeting["cost"].min()
    assert found.best_value["cost_per_request"] == meeting["cost_per_request"].min()
    assert meeting.height < found.designs.height


def test_sensitivity_doubles_one_figure_at_a_time():
    found = find_designs(grid_of(), TARGETS)
    base = found.best_value
    figures = {doubled.figure: doubled for doubled in found.sensitivity}
    assert set(figures) == set(DESIGN)
    wide = {**base, "device_bandwidth_gbs": 2 * base["device_bandwidth_gbs"]}
    inputs = formats_of("llama-3.1-8b", "checkpoint", "tp1")
    named = {name: wide[name] for name in ("device_bandwidth_gbs", "device_memory_gb")}
    rates = [
        c["requests_per_s"]
        for batch in (1, 8, 32, 128)
        if (c := served("llama-3.1-8b", "h100-sxm", MIX, batch, inputs | named))["memory_bytes"]
        <= room_of("h100-sxm", wide["device_memory_gb"])
        and c["ttft_s"] <= 1.0
        and c["tpot_s"] <= 0.03
    ]
    ratio = max(rates) / base["device_requests_per_s"]
    assert figures["device_bandwidth_gbs"].throughput == pytest.approx(ratio)
    assert figures["link_bandwidth_gbs"].throughput == 1
    gains = [doubled.throughput / doubled.cost for doubled in found.sensitivity]
    assert gains == sorted(gains, reverse=True)


def test_figures_that_no_axis_says_are_the_devices_own():
    found = find_designs(grid_of(), TARGETS)
    own = device_figures(load_device("h100-sxm"))
    assert set(found.designs["device_tensor_tflops"]) == {own["device_tensor_tflops"]}
    assert set(found.designs["link_bandwidth_gbs"]) == {own["link_bandwidth_gbs"]}


def test_lines_of_equal_latency_lie_between_designs():
    designs = pl.DataFrame(
        [{"x": x, "y": y, "v": 10.0 / (x * y)} for x in (1.0, 2.0, 4.0, 8.0)
         for y in (1.0, 3.0, 9.0)]
    )  # fmt: skip
    lines = equal_lines(designs, "x", "y", "v")
    assert len({line["level"] for line in lines}) == 6
    for line in lines:
        assert math.isclose(10 / (line["x"] * line["y"]), line["level"], rel_tol=1e-9)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cost": None}, "cost: required key is missing"),
        ({"cost": "device_bandwidth_gbs -"}, "cost: "),
        ({"cost": "abacus"}, "cost: "),
        ({"cost": "-1.0"}, "cost: expected numbers above 0"),
        ({"cost": "device_memory_gb > 3"}, "cost: expected numbers above 0"),
        ({"cost": "device_memory_gb / 0.0"}, "cost: expected numbers above 0"),
        ({"cost": "1e300 * 1e300"}, "cost: expected numbers above 0"),
        ({"lengths": [{"prompt": 1}, {"answer": 2}]}, r"lengths\[1\]: expected the keys prompt"),
        ({"lengths": [{"prompt": 0}]}, r"lengths: prompt_tokens\[0\] = 0"),
    ],
)
def test_wrong_grids_are_named(changes, said):
    data = {key: value for key, value in (GRID | changes).items() if value is not None}
    with pytest.raises(InputError, match=f"small.toml: {said}"):
        find_designs(parse_grid(data, "small.toml"), TARGETS)


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"device_bandwidth_gbs": [1000], "device_memory_gb": [24]}, "expected one of device_t"),
        ({"device": ["h100-sxm", "h200"]}, "axes.device: expected one"),
        ({"serving": ["static"]}, 'axes.serving: expected "continuous"'),
        ({"framework": ["vllm", "trtllm"]}, "axes.framework: expected one"),
    ],
)  # fmt: skip
def test_wrong_axes_are_named(axes, said):
    grid = grid_of(axes=GRID["axes"] | axes)
    with pytest.raises(InputError, match=said):
        find_designs(grid, TARGETS)


def test_shipped_grid_answers_and_draws(tmp_path, command):
    out = tmp_path / "designs.svg"
    done = command("design", "accelerators", "--chart", out)
    assert done.returncode == 0, done.stderr
    assert "best value" in done.stdout
    assert "as multiples" in done.stdout
    assert "<svg" in out.read_text()[:200]
    facts = json.loads(command("design", "accelerators", "--json").stdout)
    assert len(facts["designs"]) == 2000
    assert facts["cheapest"]["cost"] <= facts["best_value"]["cost"]


def test_chart_of_one_figure_is_a_line():
    axes = {name: value for name, value in GRID["axes"].items() if name != "device_memory_gb"}
    found = find_designs(grid_of(axes=axes), TARGETS)
    assert designs_chart(found).to_dict()["title"]["text"].startswith("Best value")


def test_grid_with_lengths_has_them_as_its_last_axis_and_is_swept_as_any_other():
    grid = load_grid("accelerators")
    assert grid.axes[-1].name == "lengths"
    assert grid.lengths.weights.tolist() == pytest.approx([0.6, 0.3, 0.1])
    assert grid.points == 78_000 * 3
