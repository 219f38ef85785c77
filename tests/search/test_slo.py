import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import sweepengine as se
from sweepengine.costs.device_times import Achievable, slowed
from sweepengine.formulas.points import INPUTS, Point
from sweepengine.grid.files import load_grid
from sweepengine.grid.products import expand
from sweepengine.query.sources import open_source
from sweepengine.search.options import EngineOptions, GridTargets, LatencyTargets, SloOptions
from sweepengine.search.slo import find_answers
from sweepengine.search.targets import pareto_front, targets_of, unbeaten_by

GRID = """
name = "small"
[axes]
crops = ["none", "2x3"]
attention = ["eager", "flash"]
heads = [[10, 10], [10, 2]]
batch_size = [1, 4, 16, 64, 256]
decode_steps = [0, 50, 900]
[targets]
ttft_s = 0.1
tpot_s = 0.003
"""
TARGETS = LatencyTargets(0.1, 0.003)
ROOF = SloOptions(times="roofline")
SHARED = SloOptions(framework="sglang", serving="static", engine=EngineOptions(memory_share=0.5))


def shown(model, point):
    """Inputs of a point, as `se.cost` takes them."""
    return {name: INPUTS[name].shown(getattr(point, name)) for name in model.inputs}


def brute_force(path, device, achievable=Achievable()):  # noqa: B008 -- immutable
    """Every point by itself, one after the other."""
    grid, slow = load_grid(path), slowed(device, achievable)
    columns = expand(grid.axes)
    rows = []
    for i in range(grid.points):
        point = Point(**{name: int(columns[name][i]) for name in Point._fields})
        inputs = shown(grid.model, point)
        cost = se.cost(grid.model, "roofline", device=slow, **inputs)
        steps, ttft = point.decode_steps, cost["ttft_seconds"]
        tpot = cost["tpot_seconds"] if steps else None
        rows.append(
            {
                "point": point,
                "ttft": ttft,
                "tpot": tpot,
                "user": 1 / tpot if steps else None,
                "device": point.batch_size * steps / (ttft + cost["decode_seconds"]),
                "fits": cost["fits"],
                "largest": cost["largest_batch"],
            }
        )
    return rows


@pytest.mark.parametrize("name", ["h100-sxm", "rtx-4090", "h20"])
@pytest.mark.parametrize("achievable", [Achievable(), Achievable(0.4, 0.8)])
def test_answers_are_those_of_a_brute_force_scan(grid_file, name, achievable):
    path, device = grid_file(GRID), se.load_device(name)
    rows = brute_force(path, device, achievable)
    options = ROOF._replace(
        compute_fraction=achievable.compute, bandwidth_fraction=achievable.bandwidth
    )
    (answer,) = find_answers(open_source(path), [device], TARGETS, options)
    fitting = [row for row in rows if row["fits"]]
    prompt = [row for row in fitting if row["ttft"] <= TARGETS.ttft_s]
    meeting = [row for row in prompt if row["tpot"] is None or row["tpot"] <= TARGETS.tpot_s]
    assert (answer.points, answer.fitting, answer.meeting) == (120, len(fitting), len(meeting))
    assert 0 < answer.meeting < answer.fitting
    assert answer.largest_batch == max(row["point"].batch_size for row in meeting)
    best = max(meeting, key=lambda row: row["device"])
    assert answer.best["device_tokens_per_s"] == pytest.approx(best["device"], rel=1e-12)
    assert answer.best["batch_size"] == best["point"].batch_size
    assert answer.best["largest_batch"] == best["largest"]
    front = [
        (row["user"], row["device"])
        for row in prompt
        if row["user"]
        and not any(
            other["user"] and other["user"] >= row["user"] and other["device"] >= row["device"]
            and (other["user"], other["device"]) != (row["user"], row["device"])
            for other in prompt
        )
    ]  # fmt: skip
    found = answer.front.select("user_tokens_per_s", "device_tokens_per_s").rows()
    expected = sorted(set(front), reverse=True)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize(
    "options",
    [ROOF, SloOptions(), SHARED],
)
def test_dataset_gives_the_answers_of_its_grid(grid_file, tmp_path, options):
    """A grid is timed by the product of its axes, a dataset point by point."""
    path = grid_file(GRID)
    se.run(path, tmp_path / "d")
    devices = [se.load_device("h100-sxm"), se.load_device("l40s")]
    of_grid = find_answers(open_source(path), devices, TARGETS, options)
    of_dataset = find_answers(open_source(tmp_path / "d"), devices, TARGETS, options)
    assert of_grid[0].meeting
    for one, other in zip(of_grid, of_dataset, strict=True):
        assert one[:5] == other[:5]
        best = [pl.DataFrame([answer.best]) for answer in (one, other)]
        assert_frame_equal(*best, rel_tol=1e-12, abs_tol=0.0)
        assert_frame_equal(one.front, other.front, rel_tol=1e-12, abs_tol=0.0)


def test_front_leaves_out_what_another_point_beats():
    points = pl.DataFrame(
        {
            "user_tokens_per_s": [1.0, 2.0, 2.0, 3.0, None],
            "device_tokens_per_s": [9.0, 5.0, 7.0, 7.0, 0.0],
        }
    )
    assert pareto_front(points).rows() == [(3.0, 7.0), (1.0, 9.0)]


@given(st.lists(st.tuples(st.integers(0, 4) | st.none(), st.integers(0, 4)), max_size=12))
def test_front_is_that_of_the_definition(drawn):
    """Of points equal in both the first stays."""
    points = pl.DataFrame(
        {
            "row": range(len(drawn)),
            "user_tokens_per_s": [user for user, _ in drawn],
            "device_tokens_per_s": [device for _, device in drawn],
        },
        schema_overrides={"user_tokens_per_s": pl.Float64, "device_tokens_per_s": pl.Float64},
    )
    expected = [
        row
        for row, (user, device) in enumerate(drawn)
        if user is not None
        and not any(
            other is not None and other >= user and rate >= device
            and ((other, rate) != (user, device) or before < row)
            for before, (other, rate) in enumerate(drawn)
        )
    ]  # fmt: skip
    found = pareto_front(points)
    assert sorted(found["row"]) == expected
    assert found["user_tokens_per_s"].is_sorted(descending=True)


RATES = st.lists(st.tuples(st.integers(0, 4) | st.none(), st.integers(0, 4)), max_size=12)


@given(RATES, RATES)
def test_what_a_front_beats_is_in_no_front_of_both(first, second):
    def rates(drawn):
        return pl.DataFrame(
            drawn,
            {"user_tokens_per_s": pl.Float64, "device_tokens_per_s": pl.Float64},
            orient="row",
        )

    front, more = pareto_front(rates(first)), rates(second)
    kept = more.filter(unbeaten_by(front, more))
    assert_frame_equal(
        pareto_front(pl.concat([front, kept])), pareto_front(rates([*first, *second]))
    )


def test_price_of_a_million_tokens(grid_file):
    device = se.load_device("h100-sxm")
    (answer,) = find_answers(
        open_source(grid_file(GRID)), [device], TARGETS, ROOF._replace(prices={"h100-sxm": 3.6})
    )
    expected = 0.001 / answer.best["device_tokens_per_s"] * 1e6
    assert answer.usd_per_million_tokens == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
def test_target_is_a_time(seconds):
    with pytest.raises(se.InputError, match="expected seconds above 0"):
        targets_of("slo", GridTargets(seconds), (1.0, 1.0))


SERVED = """
name = "served"
model = "qwen3-30b-a3b"
[axes]
prompt_tokens = [512]
decode_steps = [0, 100]
batch_size = [1, 64, 1000]
layout = ["tp1", "tp4", "tp4-ep16", "ep32", "tp2-pp4"]
precision = ["bf16", "fp8-kv8", "nvfp4"]
[targets]
ttft_s = 100
tpot_s = 1
"""


@pytest.mark.parametrize("name", ["b200", "h100-sxm", "a100-80gb"])
def test_layouts_and_formats_are_answered_as_point_by_point(grid_file, name):
    device, grid = se.load_device(name), load_grid(grid_file(SERVED))
    (answer,) = find_answers(
        open_source(grid_file(SERVED)), [device], LatencyTargets(100, 1), options=ROOF
    )
    columns = expand(grid.axes)
    fitting, best, sums = 0, 0.0, 0
    for i in range(grid.points):
        point = Point(**{field: int(columns[field][i]) for field in Point._fields})
        cost = se.cost(grid.model, "roofline", device=device, **shown(grid.model, point))
        if not cost["fits"]:
            continue
        fitting += 1
        whole = cost["ttft_seconds"] + cost["decode_seconds"]
        if point.decode_steps:
            rate = point.batch_size * point.decode_steps / whole / cost["devices"]
            best, sums = max(best, rate), sums + 1
    assert answer.points == 90
    assert answer.fitting == fitting
    assert 0 < sums < fitting < 90 or name == "b200"
    assert answer.best["device_tokens_per_s"] == pytest.approx(best, rel=1e-9)


def test_a_device_without_links_is_refused_where_points_lie_on_several(grid_file):
    own = se.load_device("h100-sxm")._replace(links=None)
    with pytest.raises(se.InputError, match="slo: h100-sxm: its file has no link"):
        find_answers(open_source(grid_file(SERVED)), [own], LatencyTargets(100, 1), options=ROOF)


def test_devices_with_and_without_links_are_asked_together(grid_file):
    own = se.load_device("h100-sxm")
    bare = own._replace(name="bare", links=None)
    first, second = find_answers(open_source(grid_file(GRID)), [bare, own], TARGETS, options=ROOF)
    assert first.best == second.best


TIMED = """
name = "timed"
model = "qwen3-8b"
[axes]
device = ["h100-sxm", "b200"]
framework = ["vllm", "trtllm"]
serving = ["static", "continuous"]
batch_size = [1, 8, 64]
prompt_tokens = [1000, 4000]
decode_steps = [0, 100, 1000]
"""


@pytest.mark.parametrize("of", ["grid", "dataset"])
def test_answers_by_silicon_equal_points_one_by_one(grid_file, tmp_path, of):
    place = grid_file(TIMED)
    if of == "dataset":
        se.run(place, tmp_path / "d")
        place = tmp_path / "d"
    targets = LatencyTargets(0.5, 0.012)
    devices = [se.load_device(name) for name in ("h100-sxm", "b200")]
    for answer in find_answers(open_source(place), devices, targets):
        frame = se.scan(grid_file(TIMED)).collect()
        rows = frame.filter(pl.col("device") == answer.device.name)
        assert answer.points == rows.height == 72
        meets = []
        model = se.load_model("qwen3-8b")
        names = [*(n for n in frame.columns if n in model.inputs), "device", "framework", "serving"]
        for row in rows.select(names).iter_rows(named=True):
            cost = se.cost("qwen3-8b", **row)
            in_time = cost["ttft_seconds"] <= targets.ttft_s
            if not in_time or cost["tpot_seconds"] > targets.tpot_s:
                continue
            if not cost["fits"]:
                continue
            whole = cost["ttft_seconds"] + cost["decode_seconds"]
            meets.append(row["batch_size"] * row["decode_steps"] / whole)
        assert answer.meeting == len(meets)
        assert answer.best["device_tokens_per_s"] == pytest.approx(max(meets), rel=1e-9)
        assert answer.basis.startswith(f"{answer.device.name}, vllm")
    with pytest.raises(se.InputError, match="l40s: expected one of h100-sxm, b200, as in"):
        find_answers(open_source(place), [se.load_device("l40s")], targets)


def test_asked_framework_and_serving_are_taken(grid_file):
    path = grid_file('name = "a"\nmodel = "qwen3-8b"\n[axes]\nbatch_size = [16]\n')
    device = se.load_device("h100-sxm")
    for asked in (SloOptions(), SloOptions("trtllm"), SloOptions("sglang", "static"), ROOF):
        (answer,) = find_answers(
            open_source(path), [device], LatencyTargets(10, 1), options=asked
        )  # fmt: skip
        cost = se.cost(
            "qwen3-8b", asked.times or "silicon", batch_size=16, device="h100-sxm",
            framework=asked.framework, serving=asked.serving,
        )  # fmt: skip
        assert answer.best["tpot_s"] == pytest.approx(cost["tpot_seconds"], rel=1e-11)
        assert answer.best["ttft_s"] == pytest.approx(cost["ttft_seconds"], rel=1e-11)
