import json

import pytest

from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.data.speeds import timing_target
from sweepengine.grid.lengths import lengths_of
from sweepengine.search.deploy import find_deployment
from sweepengine.search.margins import LEAST_MARGIN, margin_of, tightened
from sweepengine.search.options import MODES, DeployOptions, LatencyTargets
from sweepengine.search.plans import precision_of
from sweepengine.search.ranking import BASES, RANKED, nodes_of_groups

MODEL = "llama-3.1-8b"
TARGETS = LatencyTargets(0.6, 0.012)
ONE = {"prompt": [2000], "answer": [300]}
MANY = {"prompt": [300, 9000], "answer": [100, 600], "weight": [3.0, 1.0]}


def found_of(kinds=("h100-sxm",), table=ONE, model=MODEL, **more):
    loaded = load_model(model)
    options = DeployOptions(TARGETS, most_batch=32)._replace(**more)
    return find_deployment(loaded, kinds, lengths_of("test", loaded, table), options)


def test_margin_keeps_plans_off_the_targets_and_the_load():
    assert margin_of(timing_target(load_device("h100-sxm")), "aggregated", DeployOptions()) == (
        LEAST_MARGIN, LEAST_MARGIN, LEAST_MARGIN,
    )  # fmt: skip
    best = found_of(rate=20.0, modes=("aggregated",)).best
    assert best["tpot_s"] * (1 + LEAST_MARGIN) <= TARGETS.tpot_s
    assert best["ttft_s"] * (1 + LEAST_MARGIN) <= TARGETS.ttft_s
    assert best["requests_per_s"] >= 20 * (1 + LEAST_MARGIN)
    close = found_of(rate=20.0, modes=("aggregated",), margin=0.0).best
    assert close["devices"] <= best["devices"]
    far = found_of(rate=20.0, modes=("aggregated",), margin=0.5).best
    assert far["requests_per_s"] >= 30
    assert far["tpot_s"] * 1.5 <= TARGETS.tpot_s


def test_margin_of_disaggregated_plans_is_their_recorded_error():
    timing = timing_target(load_device("h100-sxm"))
    margin = margin_of(timing, "disaggregated", DeployOptions())
    assert margin.ttft > margin.tpot > LEAST_MARGIN
    assert margin_of(timing, "disaggregated", DeployOptions(margin=0.2)) == (0.2, 0.2, 0.2)
    found = found_of(rate=20.0, modes=("disaggregated",))
    assert found.best["ttft_s"] * (1 + margin.ttft) <= TARGETS.ttft_s
    needs = tightened(DeployOptions(users=9, latency_s=3.0), margin)
    assert (needs.users, needs.latency_s) == (11, pytest.approx(3 / (1 + margin.tpot)))


@pytest.mark.parametrize("load", [{"rate": 20.0}, {"devices": 8}])
def test_of_ties_the_simplest_is_best(load):
    found = found_of(model="llama-3.1-70b", targets=LatencyTargets(2, 0.05), most_batch=256, **load)
    timing = timing_target(load_device("h100-sxm"))
    rows = found.plans.to_dicts()

    def figure(row):
        return 1 / row["devices"] if "rate" in load else row["requests_per_s"]

    def complexity(row):
        formats = (row["weight_format"] != "checkpoint") + (row["cache_format"] != "bf16")
        return row["mode"] != "aggregated", row["nodes"], formats

    most = max(rows, key=figure)
    errors = {row["mode"]: margin_of(timing, row["mode"], found.options).rate for row in rows}
    ties = [
        row
        for row in rows
        if figure(row) * (1 + max(errors[row["mode"]], errors[most["mode"]])) >= figure(most)
    ]
    (best,) = (row for row in rows if row["standing"] == "best")
    assert best == rows[0] == found.best
    assert complexity(best) == min(map(complexity, ties))
    assert [row["standing"] for row in rows if row in ties and row is not best] == ["tie"] * (
        len(ties) - 1
    )
    assert all(row["standing"] == "" for row in rows if row not in ties)


def test_devices_of_other_bases_are_ranked_apart():
    loose = LatencyTargets(2, 0.05)
    found = found_of(("gaudi-3", "rtx-4090", "h100-sxm"), devices=1, targets=loose)
    bases = found.plans["basis"].to_list()
    assert bases == sorted(bases, key=BASES.index)
    assert set(bases) == set(BASES)
    assert found.best["device"] == "h100-sxm"
    assert {launch.device.name for launch in found.launches} == {"h100-sxm"}
    best = found.plans.filter(standing="best")
    assert best["basis"].to_list() == list(BASES)
    alone = found_of(("gaudi-3",), devices=1)
    assert (alone.best["device"], alone.best["basis"]) == ("gaudi-3", BASES[2])
    assert set(RANKED) <= set(found.plans.columns)


def test_each_serving_engine_has_a_plan_with_its_own_settings():
    engines = ("vllm", "sglang", "trtllm")
    found = found_of(frameworks=engines, modes=("aggregated",), devices=1)
    assert next(launch.engine for launch in found.launches) == found.best["framework"]
    assert {launch.engine for launch in found.launches} == set(engines)
    for engine in engines:
        (alone,) = found_of(frameworks=(engine,), modes=("aggregated",), devices=1).launches
        (one,) = (launch for launch in found.launches if launch.engine == engine)
        assert one.command == alone.command
    assert json.dumps(found.as_dict())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("table", [ONE, MANY], ids=["alike", "mixed"])
def test_users_follow_littles_law(mode, table):
    asked = {"users": 40, "modes": (mode,), "margin": 0.0}
    if table is MANY:
        asked |= {"targets": LatencyTargets(3, 0.05)}
    found = found_of(table=table, **asked)
    best, mean = found.best, found.requests.row(-1, named=True)
    assert best["users"] >= 40 * (1 - 1e-9)
    assert best["users"] == pytest.approx(best["requests_per_s"] * mean["latency_s"], rel=0.02)
    more = found_of(table=table, **asked | {"users": 400}).best
    assert more["users"] >= 400 * (1 - 1e-9)
    assert more["devices"] > best["devices"]


def test_target_for_the_whole_answer_is_met_with_the_margin():
    free = found_of(devices=1, modes=("aggregated",))
    wanted = free.best["latency_s"] * 0.8
    found = found_of(devices=1, modes=("aggregated",), latency_s=wanted)
    assert found.best["latency_s"] * (1 + LEAST_MARGIN) <= wanted
    assert found.best["latency_s"] == pytest.approx(
        found.best["ttft_s"] + 300 * found.best["tpot_s"]
    )
    none = found_of(devices=1, modes=("aggregated",), latency_s=0.1)
    assert none.reason.kind == "latency"
    assert "a whole answer takes at least" in none.reason.text
    assert "the target is 0.1 s, 0.0909 s with the margin" in none.reason.text


def test_prefill_and_decode_workers_may_be_different_devices():
    asked = {"modes": ("disaggregated",), "margin": 0.0, "precisions": ("checkpoint",)}
    found = found_of(rate=20.0, decode_device="h200", prices={"h100-sxm": 2.0, "h200": 3.0},
                     **asked)  # fmt: skip
    best = found.best
    assert (best["prefill_device"], best["device"]) == ("h100-sxm", "h200")
    decode = best["devices"] - best["prefill_devices"]
    assert best["usd_per_hour"] == pytest.approx(2.0 * best["prefill_devices"] + 3.0 * decode)
    watts = {name: load_device(name).watts for name in ("h100-sxm", "h200")}
    assert best["joules_per_token"] == pytest.approx(
        (watts["h100-sxm"] * best["prefill_devices"] + watts["h200"] * decode)
        / best["tokens_per_s"]
    )
    assert found.requests["ttft_s"][2] == pytest.approx(best["ttft_s"])
    prefill, decoding = found.launches
    assert (prefill.device.name, decoding.device.name) == ("h100-sxm", "h200")
    assert prefill.settings["memory_share"] == decoding.settings["memory_share"]
    few = found_of(devices=4, decode_device="h200", **asked).best
    assert few["prefill_devices"] <= 4
    assert few["devices"] - few["prefill_devices"] <= 4


def test_formats_that_need_another_checkpoint_are_tried_on_request():
    model = load_model(MODEL)

    def tried(**more):
        plans = found_of(devices=1, modes=("aggregated",), **more).plans.to_dicts()
        return {precision_of(plan, model) for plan in plans}

    usual = {"checkpoint", "checkpoint-kv8", "fp8", "fp8-kv8"}
    assert tried() <= usual
    assert tried(precisions=("any",)) - usual == {"int4", "int4-kv8"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rate": 1.0, "users": 2}, "--users: remove it, or --rate: each states the load"),
        ({"precisions": ("any", "fp8")}, "--precision any: remove it, or the other precisions"),
        ({"decode_device": "h100-sxm"}, "--decode-device h100-sxm: expected another than --device"),
        ({"decode_device": "h200", "modes": ("aggregated",)}, "remove it, as no plan has decode"),
        (
            {"frameworks": ("trtllm",), "decode_device": "mi300x"},
            "--framework trtllm: mi300x is a device of AMD: expected one of NVIDIA",
        ),
        (
            {"frameworks": ("trtllm",), "layouts": ("tp2-ep4-dp2",)},
            "--layout tp2-ep4-dp2: trtllm splits attention over all devices of a stage or none",
        ),
        ({"margin": -0.1}, "--margin -0.1: expected 0..10"),
        ({"users": 0}, "--users 0: expected 1..1,000,000,000"),
        ({"latency_s": 0.0}, "--latency 0: expected seconds above 0"),
    ],
)
def test_options_that_contradict_are_named(more, said):
    with pytest.raises(InputError) as error:
        found_of(model="qwen3-30b-a3b", **more)
    assert said in str(error.value)


def test_groups_share_nodes_where_they_fit():
    assert nodes_of_groups(17, 34, 8) == 5
    assert nodes_of_groups(3, 12, 8) == 2
    assert nodes_of_groups(2, 32, 8) == 4
    assert nodes_of_groups(5, 15, 8) == 3
    assert nodes_of_groups(1, 1, 1) == 1
