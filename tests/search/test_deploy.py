import itertools
import json
import math

import polars as pl
import pytest

import sweepengine as se
from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.data.speeds import timing_target
from sweepengine.formulas.serving import queued
from sweepengine.grid.lengths import lengths_of
from sweepengine.grid.shorthand import read_layout
from sweepengine.search.deploy import find_deployment
from sweepengine.search.disaggregated import EXTRA_WORKERS, MAX_BUSY
from sweepengine.search.known_errors import ERROR_SCHEMA
from sweepengine.search.options import DeployOptions, LatencyTargets
from sweepengine.search.placements import read_layouts, read_precisions, search_grid
from sweepengine.search.plans import MONEY, PLAN, precision_of, served_plan
from sweepengine.search.requests import latencies, percentiles
from sweepengine.search.steady_state import ASSUMED, served_frames
from tests.search.by_hand import formats_of, room_of, served
from tests.search.test_steady_state import MIX, table_of

MODEL, DEVICE = "llama-3.1-8b", "h100-sxm"
LAYOUTS, PRECISIONS, BATCH = ("tp1", "tp2"), ("checkpoint", "fp8-kv8"), 12
TARGETS = LatencyTargets(0.6, 0.012)
ROOM = room_of(DEVICE)


def candidates(mix):
    """Every candidate by single costs."""
    for precision, layout in itertools.product(PRECISIONS, LAYOUTS):
        inputs = formats_of(MODEL, precision, layout)
        for batch in range(1, BATCH + 1):
            sequences = -(-batch // inputs["data_parallel"])
            found = served(MODEL, DEVICE, mix, batch, inputs | {"max_sequences": sequences})
            if found["memory_bytes"] <= ROOM:
                yield found | {"precision": precision, "layout": layout, "batch": batch}


def asked(**more):
    return DeployOptions(
        TARGETS, precisions=PRECISIONS, layouts=LAYOUTS, most_batch=BATCH, **{"margin": 0.0} | more
    )


def found_of(mix, **more):
    lengths = lengths_of("test", load_model(MODEL), table_of(mix))
    return find_deployment(MODEL, [DEVICE], lengths, asked(**more))


@pytest.mark.parametrize("mix", [MIX[:1], MIX], ids=["alike", "mixed"])
def test_aggregated_best_is_that_of_a_loop_over_costs(mix):
    found = found_of(mix, devices=5, modes=("aggregated",))
    meeting = [c for c in candidates(mix)
               if c["ttft_s"] <= TARGETS.ttft_s and c["tpot_s"] <= TARGETS.tpot_s]  # fmt: skip
    best = max(meeting, key=lambda c: 5 // c["devices"] * c["requests_per_s"])
    plan = found.best
    assert plan["requests_per_s"] == pytest.approx(
        5 // best["devices"] * best["requests_per_s"], rel=1e-9
    )
    assert (plan["layout"], plan["batch_size"]) == (best["layout"], best["batch"])
    assert precision_of(plan, load_model(MODEL)) == best["precision"]
    assert plan["replicas"] == 5 // best["devices"]
    for name in ("ttft_s", "tpot_s"):
        assert plan[name] == pytest.approx(best[name], rel=1e-9)
    assert found.points == len(LAYOUTS) * len(PRECISIONS) * BATCH * len(mix)


def test_batches_that_do_not_fit_are_counted_and_every_other_is_tried():
    model, most, targets = load_model(MODEL), 300, LatencyTargets(60.0, 10.0)
    lengths = lengths_of("test", model, {"prompt": [2000], "answer": [500]})
    options = DeployOptions(targets, devices=2, precisions=PRECISIONS, most_batch=most, margin=0.0,
                            layouts=LAYOUTS, modes=("aggregated",))  # fmt: skip
    found = find_deployment(MODEL, ["l4"], lengths, options)
    assert found.candidates == len(PRECISIONS) * len(LAYOUTS) * most
    timing = timing_target(load_device("l4"), "vllm", None)
    axes = {"precision": list(read_precisions("test", model, PRECISIONS)),
            "layout": read_layouts("test", model, LAYOUTS),
            "batch_size": range(1, most + 1)}  # fmt: skip
    grid = search_grid(model, timing, axes, lengths)
    states = pl.concat(served_frames(grid, timing, sized=True))
    fitting = states.filter("fits")
    assert 0 < fitting.height < states.height
    assert fitting.filter(batch_size=fitting["batch_size"].max()).height == 1
    each = fitting["requests_per_s"] * (2 // fitting["devices"])
    assert found.best["requests_per_s"] == pytest.approx(each.max(), rel=1e-9)
    assert found.front["user_tokens_per_s"].max() == pytest.approx(
        fitting["user_tokens_per_s"].max(), rel=1e-9
    )


def test_fewest_devices_for_a_rate_are_those_of_a_loop_over_costs():
    found = found_of(MIX[:1], rate=40.0, modes=("aggregated",))
    meeting = [c for c in candidates(MIX[:1])
               if c["ttft_s"] <= TARGETS.ttft_s and c["tpot_s"] <= TARGETS.tpot_s]  # fmt: skip
    fewest = min(c["devices"] * math.ceil(40 / c["requests_per_s"]) for c in meeting)
    assert found.best["devices"] == fewest
    assert found.best["requests_per_s"] >= 40


@pytest.mark.parametrize("rate", [None, 60.0])
def test_disaggregated_best_is_that_of_all_combinations(rate):
    most = 6
    found = found_of(MIX, devices=None if rate else most, rate=rate, modes=("disaggregated",))
    plans = []
    for precision in PRECISIONS:
        mine = [c for c in candidates(MIX) if c["precision"] == precision]
        prefill_workers = [c for c in mine if c["batch"] == 1]
        for p, d in itertools.product(prefill_workers, mine):
            fills, holds = 1 / p["prefill_s"], d["batch"] / (d["step_s"] * d["output"])
            if rate:
                least = math.ceil(rate / fills / MAX_BUSY)
                counts = [(x, math.ceil(rate / holds)) for x in range(least, least + EXTRA_WORKERS)]
            else:
                counts = [(x, (most - x * p["devices"]) // d["devices"]) for x in range(1, most)]
            for x, y in counts:
                if y < 1 or x * p["devices"] > 10**6:
                    continue
                requests = min(x * fills * MAX_BUSY, y * holds)
                waited = queued(p["prefill_s"], p["prefill_square_s2"], requests / (x * fills))
                ttft = p["prefill_share_s"] + waited + d["step_s"]
                if ttft <= TARGETS.ttft_s and d["step_s"] <= TARGETS.tpot_s:
                    plans.append((requests, x * p["devices"] + y * d["devices"]))
    if rate:
        assert found.best["devices"] == min(devices for _, devices in plans)
    else:
        assert found.best["requests_per_s"] == pytest.approx(max(plans)[0], rel=1e-9)
    assert found.best["prefill_groups"] > 0
    assert found.best["prefill_layout"] in LAYOUTS


def test_each_mode_has_an_undominated_front_that_holds_the_best_of_its_ends():
    found = found_of(MIX[:1], devices=4)
    fronts = found.front.partition_by("mode", as_dict=True)
    assert set(fronts) == {("aggregated",), ("disaggregated",)}
    for front in fronts.values():
        users, devices = (front[n].to_list() for n in ("user_tokens_per_s", "device_tokens_per_s"))
        assert users == sorted(users, reverse=True)
        assert devices == sorted(devices)
    whole = [c for c in candidates(MIX[:1]) if c["ttft_s"] <= TARGETS.ttft_s]
    most = max(c["device_tokens_per_s"] for c in whole)
    alone = fronts["aggregated",]
    assert alone["device_tokens_per_s"].max() == pytest.approx(most, rel=1e-9)
    assert alone.drop("mode").equals(
        found_of(MIX[:1], devices=4, modes=("aggregated",)).front.drop("mode")
    )
    assert found.front.columns == [*PLAN, *MONEY, *ERROR_SCHEMA]


def test_money_and_power_follow_from_prices_and_watts():
    lengths = lengths_of("test", load_model(MODEL), table_of(MIX[:1]))
    found = find_deployment(MODEL, [DEVICE], lengths, asked(devices=4, prices={DEVICE: 3.0}))
    best = found.best
    assert best["usd_per_hour"] == best["devices"] * 3.0
    assert best["usd_per_million_tokens"] == pytest.approx(
        best["usd_per_hour"] / 3600 / best["tokens_per_s"] * 1e6
    )
    assert best["usd_per_1000_requests"] == pytest.approx(
        best["usd_per_hour"] / 3600 / best["requests_per_s"] * 1e3
    )
    assert best["joules_per_token"] == pytest.approx(
        load_device(DEVICE).watts * best["devices"] / best["tokens_per_s"]
    )


def test_of_several_devices_the_cheapest_serves():
    lengths = lengths_of("test", load_model(MODEL), table_of(MIX[:1]))
    kinds, loose = ["h100-sxm", "a100-80gb"], LatencyTargets(5, 0.1)
    ways = asked(rate=20.0)._replace(targets=loose, precisions=("checkpoint",))
    cheap = find_deployment(
        MODEL, kinds, lengths, ways._replace(prices={"h100-sxm": 100, "a100-80gb": 1})
    )
    assert cheap.best["device"] == "a100-80gb"
    dear = find_deployment(
        MODEL, kinds, lengths, ways._replace(prices={"h100-sxm": 1, "a100-80gb": 100})
    )
    assert dear.best["device"] == "h100-sxm"
    with pytest.raises(InputError, match="a100-80gb has no price: expected --price of all or none"):
        find_deployment(MODEL, kinds, lengths, ways._replace(prices={"h100-sxm": 1}))


@pytest.mark.parametrize(
    ("kind", "said", "model", "changes"),
    [
        ("weights", "weights alone need 1.8 devices", "llama-3.1-70b", {"devices": 1}),
        ("cache", "of one batch they need", "llama-3.1-8b",
         {"devices": 1, "prompt": 4_000_000, "ttft": 1e6, "tpot": 1e3}),
        ("ttft", "TTFT is at least", "llama-3.1-8b", {"ttft": 0.01}),
        ("tpot", "TPOT is at least", "llama-3.1-8b", {"tpot": 0.0001}),
        ("rate", "are more than 1 devices reach", "llama-3.1-8b", {"devices": 1, "rate": 1e6}),
    ],
)  # fmt: skip
def test_reason_is_the_first_wall_with_its_figure(kind, said, model, changes):
    given = {"ttft": 2.0, "tpot": 0.05, "prompt": 1000} | changes
    lengths = lengths_of("test", load_model(model), {"prompt": [given["prompt"]]})
    ways = DeployOptions(LatencyTargets(given["ttft"], given["tpot"]), given.get("devices"),
                 given.get("rate"), precisions=("checkpoint",), most_batch=16)  # fmt: skip
    found = find_deployment(model, [DEVICE], lengths, ways)
    assert found.best is None
    assert (found.reason.kind, said in found.reason.text) == (kind, True), found.reason
    assert json.dumps(found.as_dict())


def test_reason_of_groups_apart_is_their_ratio():
    found = found_of(MIX[:1], devices=1, modes=("disaggregated",))
    assert found.reason.kind == "ratio"
    assert "of 1 devices" in found.reason.text


def test_devices_without_links_say_so():
    lengths = lengths_of("test", load_model("llama-3.1-70b"), {"prompt": [100]})
    ways = DeployOptions(LatencyTargets(9, 9), precisions=("checkpoint",), most_batch=2)
    found = find_deployment("llama-3.1-70b", ["l4"], lengths, ways)
    if load_device("l4").links is None:
        assert "which have no links" in found.reason.text
    else:
        assert found.best["devices"] > 1


def test_groups_of_many_devices_are_tried_in_steps_that_find_nearly_as_much():
    whole = found_of(MIX[:1], devices=120, modes=("disaggregated",)).best
    most = found_of(MIX[:1], devices=1200, modes=("disaggregated",)).best
    assert most["requests_per_s"] == pytest.approx(10 * whole["requests_per_s"], rel=0.05)
    assert most["devices"] <= 1200


def test_without_devices_or_a_rate_kinds_are_compared_by_each_device():
    lengths = lengths_of("test", load_model(MODEL), table_of(MIX[:1]))
    ways = asked()._replace(targets=LatencyTargets(5, 0.1), precisions=("checkpoint",))
    found = find_deployment(MODEL, ["h200", "a100-80gb"], lengths, ways)
    first, *others = found.plans["device_tokens_per_s"].to_list()
    assert all(first >= other for other in others)
    assert any(text.startswith("devices: 8 h200") for text in found.assumed)


def test_percentiles_are_of_all_lengths_and_share_the_devices():
    model = load_model(MODEL)
    lengths = lengths_of("test", model, table_of(MIX))
    found = find_deployment(MODEL, [DEVICE], lengths, asked(devices=2, modes=("aggregated",)))
    rows = found.requests
    assert rows["share"].to_list() == [0.5, 0.9, 0.95, 0.99, None]
    for name in ("ttft_s", "latency_s", "device_seconds", "cache_bytes"):
        values = rows[name].to_list()[:-1]
        assert values == sorted(values)
    best = found.best
    assert rows["device_seconds"][-1] == pytest.approx(best["devices"] / best["requests_per_s"])
    assert rows["ttft_s"][2] == pytest.approx(best["ttft_s"])
    inputs = formats_of(MODEL, precision_of(best, model), best["layout"])
    single = served(MODEL, DEVICE, MIX, best["batch_size"], inputs)
    assert rows["ttft_s"][-1] == pytest.approx(single["ttft_mean_s"])
    split = found_of(MIX, devices=6, modes=("disaggregated",))
    assert split.requests["ttft_s"][2] == pytest.approx(split.best["ttft_s"])
    plan = served_plan(best, {best["layout"]: read_layout(best["layout"])}, {})
    each = latencies(model, plan, timing_target(load_device(DEVICE)), lengths, ASSUMED)
    again = percentiles(each, lengths)
    assert again.equals(rows)


def test_classes_stand_for_a_trace_and_the_answer_says_so():
    model = load_model(MODEL)
    trace = {"prompt": [100 + 37 * i % 5000 for i in range(500)],
             "answer": [20 + 13 * i % 400 for i in range(500)]}  # fmt: skip
    lengths = lengths_of("trace.csv", model, trace)
    found = find_deployment(MODEL, [DEVICE], lengths, asked(devices=2))
    assert any("lengths are searched as" in text for text in found.assumed)
    assert found.requests["ttft_s"][2] == pytest.approx(found.best["ttft_s"], rel=0.05)


def test_formats_that_no_argument_says_are_noted():
    lengths = lengths_of("test", load_model(MODEL), {"prompt": [1000]})
    ways = DeployOptions(LatencyTargets(5, 0.1), 1, precisions=("w4a16",), most_batch=8)
    found = find_deployment(MODEL, [DEVICE], lengths, ways)
    assert all("load a checkpoint" in launch.notes[0] for launch in found.launches)


def test_python_says_the_same():
    request = {"prompt": 300, "answer": 400}
    ways = {"devices": 4, "ttft": 0.6, "tpot": 0.012, "precisions": PRECISIONS,
            "layouts": LAYOUTS, "most_batch": BATCH, "margin": 0.0}  # fmt: skip
    assert se.deploy(MODEL, DEVICE, request, **ways).equals(found_of(MIX[:1], devices=4).plans)
    with pytest.raises(se.NothingServesError) as error:
        se.deploy("llama-3.1-70b", DEVICE, devices=1, precisions=["checkpoint"])
    assert error.value.kind == "weights"
    trace = pl.DataFrame({"prompt": [300], "answer": [400]})
    front = se.deploy(MODEL, DEVICE, trace, front=True, **ways)
    assert front.equals(found_of(MIX[:1], devices=4).front)


def test_requests_that_are_pages_are_read():
    lengths = lengths_of("test", load_model("deepseek-ocr-3b"),
                         {"mode": ["gundam:2x3", "tiny"], "answer": [800, 200]})  # fmt: skip
    found = find_deployment("deepseek-ocr-3b", ["a100-40gb"], lengths,
                            DeployOptions(LatencyTargets(2, 0.05), 2, most_batch=64))  # fmt: skip
    assert found.best["device"] == "a100-40gb"
    assert found.best["requests_per_s"] > 5
