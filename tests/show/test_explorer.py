import base64
import gzip
import json
import re

import pytest

import sweepengine as se
from sweepengine.data.errors import InputError
from sweepengine.search.exploration import FEWEST, controls_of, explore
from sweepengine.search.limits_map import STOPS
from sweepengine.show.explorer import exported, view_of
from sweepengine.show.operators_chart import MOST_BARS, bars_of

OCR = {"crops": "2x3", "batch": "8", "answer": "1000"}


@pytest.mark.parametrize(
    ("model", "device", "asked"),
    [
        ("deepseek-ocr-3b", "h100-sxm", OCR),
        ("deepseek-ocr-3b", "rtx-4090", {**OCR, "attention": "eager", "heads": "10/1"}),
        ("llama-3.1-8b", "h200", {"layout": "tp2", "precision": "fp8-kv8", "cached": "512"}),
        ("gpt-oss-20b", "mi300x", {"times": "roofline", "serving": "continuous", "batch": "3"}),
    ],
)
def test_costs_of_a_view_are_those_of_cost_at_the_inputs_it_says(model, device, asked):
    found = explore(model, device, asked)
    assert found.cost == se.cost(model, found.times.place.times, **found.inputs)
    assert found.inputs["batch_size"] == int(asked.get("batch", 8))
    view = view_of(found)
    json.dumps(view)
    values = {one["name"]: one["value"] for one in view["figures"]}
    assert values["ttft"] == found.cost["ttft_seconds"]
    assert {row[0] for row in view["counts"]["rows"]} <= {"vision", "prefill", "decode"}
    assert sum(found.parts.ttft.values()) == pytest.approx(found.cost["ttft_seconds"], rel=1e-9)
    assert sum(found.parts.tpot.values()) == pytest.approx(found.cost["tpot_seconds"], rel=1e-9)
    assert [row[0] for row in view["parts"]["rows"]] == found.parts.names
    times = sum(one.seconds for one in found.times.operators if one.stage == "decode")
    if found.inputs["serving"] == "static":
        assert times == pytest.approx(found.cost["decode_seconds"], rel=0.25)


def test_layout_of_a_large_model_is_that_of_fewest_devices():
    found = explore("deepseek-v3", "h200", {})
    assert found.state["layout"] == FEWEST
    assert found.layout == se.fit("deepseek-v3", "h200")["layout"][0]
    assert found.memory["weights"] < found.memory["capacity"]


@pytest.mark.parametrize("device", ["h100-sxm", "l4"])
def test_a_view_has_the_verdict_and_the_times_of_fit(device):
    request = {"prompt": 4000, "answer": 500}
    card = se.fit("llama-3.1-8b", device, request)
    found = explore("llama-3.1-8b", device, {"batch": str(card["batch_size"].max())})
    (verdict,) = [one for one in view_of(found)["figures"] if one["name"] == "verdict"]
    assert found.card.verdict.yes is (device == "h100-sxm")
    said = {"h100-sxm": "yes, 99 at once", "l4": "no: TPOT 59.7 ms at 1"}
    assert verdict["text"] == said[device]
    row = found.card.answered
    again = explore("llama-3.1-8b", device, {"batch": str(row["batch_size"])})
    assert again.cost["ttft_seconds"] == pytest.approx(row["ttft_s"], rel=1e-12)
    assert again.cost["tpot_seconds"] == pytest.approx(row["tpot_s"], rel=1e-12)
    assert again.missed == (() if device == "h100-sxm" else ("TPOT",))
    assert again.logged.pool_tokens == again.cost["kv_pool_tokens"]


def test_controls_that_fit_does_not_have_leave_its_verdict_out():
    found = explore("llama-3.1-8b", "h100-sxm", {"attention": "eager"})
    assert found.card is None
    assert {one["name"] for one in view_of(found)["figures"]} >= {"meets", "ttft"}
    assert "verdict" not in {one["name"] for one in view_of(found)["figures"]}


def test_points_of_a_front_name_layout_and_format_where_these_change():
    front = view_of(explore("llama-3.1-8b", "h100-sxm", {}))["front"]
    laid = [row["laid"] for row in front]
    assert re.fullmatch(r"tp\d \S+", laid[0])
    changed = [i == 0 or laid[i] != laid[i - 1] for i in range(len(laid))]
    assert [bool(row["label"]) for row in front] == changed


def test_front_has_only_points_that_no_other_beats():
    rows = explore("qwen3-8b", "h100-sxm", {}).front.sort("user_tokens_per_s")
    assert rows.height > 5
    assert rows["device_tokens_per_s"].is_sorted(descending=True)
    assert (rows["ttft_s"] <= 2).all()
    assert (rows["memory_bytes"] <= rows["room_bytes"]).all()


def test_map_stands_at_the_layout_and_the_targets_of_the_controls():
    asked = {"layout": "tp2", "ttft": "0.2", "tpot": "5"}
    (panel,) = explore("llama-3.1-8b", "h100-sxm", asked).maps.panels
    stops = {STOPS[code] for code in set(panel.stops.ravel().tolist())}
    assert stops == set(STOPS)


def test_bars_are_the_longest_operators_and_the_rest_as_one():
    operators = explore("deepseek-ocr-3b", "h100-sxm", OCR).times.operators
    mine = [one for one in operators if one.stage == "decode"]
    bars = bars_of(mine, 1000)
    assert bars.height == MOST_BARS + 1
    assert bars["operator"][-1].endswith("others")
    assert bars["ms"].sum() == pytest.approx(sum(one.seconds for one in mine))
    assert bars["share"].sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"batch": "x"}, "batch = x: expected a number above 0"),
        ({"batch": "1.5"}, "batch = 1.5: expected an integer"),
        ({"batch": "1e9"}, "batch = 1e9: expected an integer"),
        ({"layout": "tp3"}, "layout = tp3: expected fewest devices, tp1"),
        ({"precision": "nope"}, "precision = nope: expected checkpoint"),
        ({"ttft": "nan"}, "ttft = nan: expected a number above 0"),
        ({"prompt": "0"}, "prompt = 0: expected a number above 0"),
    ],
)
def test_values_that_no_control_has_are_named(asked, said):
    with pytest.raises(InputError, match=re.escape(said)):
        explore("llama-3.1-8b", "h100-sxm", asked)


def test_controls_are_of_what_a_model_has():
    def names(model):
        return {one.name for one in controls_of(se.load_model(model))}

    assert names("deepseek-ocr-3b") - names("gpt-oss-20b") >= {"crops"}
    layouts = {
        model: next(one for one in controls_of(se.load_model(model)) if one.name == "layout")
        for model in ("llama-3.1-8b", "deepseek-v3")
    }
    assert "ep8" not in layouts["llama-3.1-8b"].choices
    assert "ep8" in layouts["deepseek-v3"].choices


def test_export_holds_the_view_of_every_choice():
    told = []
    offered = {"batch": ["1", "4"], "prompt": ["100"], "precision": ["bf16", "fp8"]}
    page = exported(["qwen3-8b"], ["l4"], offered, lambda *counts: told.append(counts))
    assert told == [(i + 1, 4) for i in range(4)]
    packed = re.search(r'id="views">([^<]*)<', page)[1]
    facts = json.loads(gzip.decompress(base64.b64decode(packed)))
    assert len(facts["views"]) == 4
    for key, view in facts["views"].items():
        state = dict(pair.split("=") for pair in key.split("&"))
        assert (state.pop("model"), state.pop("device")) == ("qwen3-8b", "l4")
        found = explore("qwen3-8b", "l4", state)
        assert view["cost"] == found.cost
        assert set(view["charts"].values()) <= set(facts["parts"])
    batches = next(one for one in facts["controls"]["qwen3-8b"] if one["name"] == "batch")
    assert batches["choices"] == ["1", "4"]


def test_export_of_too_many_choices_is_refused():
    batches = [str(i) for i in range(1, 6000)]
    with pytest.raises(InputError, match="5,999 views: expected at most 5,000"):
        exported(["qwen3-8b"], ["l4"], {"batch": batches}, lambda *_: None)
