"""One question, one number: TTFT, TPOT, throughput and memory of every command and of Python."""

import json

import polars as pl
import pytest

import sweepengine as se
from sweepengine.costs.device_memory import memory_on
from sweepengine.formulas.points import DRAFT_COLUMNS
from sweepengine.grid.files import load_grid
from sweepengine.grid.lengths import lengths_of
from sweepengine.query.sources import open_source
from sweepengine.search import exploration
from sweepengine.search.design import find_designs
from sweepengine.search.limits_map import find_maps
from sweepengine.search.options import LatencyTargets, MapOptions, SloOptions, SpeculationOptions
from sweepengine.search.slo import find_answers
from sweepengine.show.explorer import view_of
from sweepengine.show.look import figure
from sweepengine.show.report_cards import cards_of, verdict_of
from sweepengine.show.slices import slice_of

EASY = LatencyTargets(1e6, 1e6)
SAME = {"rel": 1e-9}
TEXT, PAGE = {"prompt": 3000, "answer": 200}, {"crops": "2x3", "answer": 300}
IMAGE = {"image": "1024x768", "prompt": 60, "answer": 100}
PLAIN = {}
MTP = {"draft": "mtp", "draft_tokens": 1, "accepted_tokens": 1.85}
EAGLE = {"draft": "eagle", "draft_tokens": 3}
SMALL = {"draft": "llama-3.1-8b", "draft_tokens": 4, "accepted_tokens": 3.125}
LOADS = [
    ("llama-3.1-8b", "tp1", "checkpoint", 16, TEXT, PLAIN),
    ("llama-3.1-8b", "tp2", "fp8-kv8", 64, {"prompt": 200, "answer": 900}, PLAIN),
    ("llama-3.1-8b", "tp1", "fp8-kv8", 16, TEXT, EAGLE),
    ("llama-3.1-70b", "tp8", "checkpoint", 24, TEXT, SMALL),
    ("gpt-oss-20b", "tp1", "checkpoint", 8, {"prompt": 9000, "answer": 50}, PLAIN),
    ("qwen3-30b-a3b", "tp8-ep8", "checkpoint", 32, TEXT, PLAIN),
    ("deepseek-v3", "tp8", "checkpoint", 4, TEXT, PLAIN),
    ("deepseek-v3", "tp8-ep8", "checkpoint", 4, TEXT, MTP),
    ("deepseek-ocr-3b", "tp1", "checkpoint", 12, PAGE, PLAIN),
    ("deepseek-ocr-3b", "tp1", "checkpoint", 12, PAGE, MTP),
    ("qwen3-vl-8b", "tp1", "checkpoint", 2, IMAGE, PLAIN),
]
PLACES = [("h100-sxm", "vllm"), ("h100-sxm", "trtllm"), ("b200", "sglang"), ("l4", "vllm"),
          ("h200", "vllm"), ("mi300x", "vllm")]  # fmt: skip
POINTS = [(load, place) for load in LOADS for place in PLACES]


def named(request, model):
    """A request as grids and `cost` spell it."""
    prompt = "text_tokens" if model.has_vision else "prompt_tokens"
    spelled = {"prompt": prompt, "answer": "decode_steps"}
    return {spelled.get(name, name): value for name, value in request.items()}


def numbers(ttft, tpot, rate):
    return pytest.approx((ttft, tpot, rate), **SAME)


def titled(point):
    (name, layout, _, batch, _, draft), place = point
    return "-".join([name, layout, f"{batch}", *place, *filter(None, [draft.get("draft")])])


def drafting(inputs):
    """Those of some inputs that speculative decoding has."""
    return {name: inputs[name] for name in DRAFT_COLUMNS if name in inputs}


@pytest.fixture(params=POINTS, ids=titled)
def point(request):
    (name, layout, precision, batch, load, draft), (device, framework) = request.param
    model, kind = se.load_model(name), se.load_device(device)
    inputs = {"layout": layout, "precision": precision, "batch_size": batch} | named(load, model)
    inputs |= draft
    cost = se.cost(name, device=device, framework=framework, **inputs)
    whole = cost["ttft_seconds"] + cost["decode_seconds"]
    rate = batch * load["answer"] / whole / cost["devices"]
    wanted = numbers(cost["ttft_seconds"], cost["tpot_seconds"], rate)
    return model, kind, framework, load, inputs, cost, wanted


@pytest.fixture
def grid(tmp_path):
    def write(model, inputs, name="g.toml", head="", **axes):
        lines = [head, 'name = "g"', f'model = "{model.name}"', "[axes]"]
        lines += [f"{axis} = {json.dumps(value if isinstance(value, list) else [value])}"
                  for axis, value in (inputs | axes).items()]  # fmt: skip
        lines += ["[targets]", "ttft_s = 1e6", "tpot_s = 1e6"]
        (tmp_path / name).write_text("\n".join(lines))
        return tmp_path / name

    return write


def test_searches_and_frames_say_what_a_point_says(point, grid):
    model, kind, framework, load, inputs, cost, wanted = point
    layout, precision, batch = (inputs[name] for name in ("layout", "precision", "batch_size"))
    timed = {"device": kind.name, "framework": framework}

    (scanned,) = se.scan(grid(model, inputs | timed)).collect().to_dicts()
    tokens = batch * load["answer"] / scanned["devices"]
    rate = tokens / (scanned["ttft_seconds"] + scanned["decode_seconds"])
    assert (scanned["ttft_seconds"], scanned["tpot_seconds"], rate) == wanted
    for name in ("kv_pool_tokens", "fits", "largest_batch", "activation_bytes"):
        assert scanned[name] == cost[name], name

    rows = se.fit(model, kind, load, layout=layout, precision=precision, framework=framework,
                  users=batch, ttft=1e6, tpot=1e6, **drafting(inputs))  # fmt: skip
    if cost["fits"]:
        (row,) = rows.filter(pl.col("batch_size") == batch).to_dicts()
        assert (row["ttft_s"], row["tpot_s"], row["device_tokens_per_s"]) == wanted
        assert (row["fits"], row["meets"], row["kv_pool_tokens"]) == (
            True, True, cost["kv_pool_tokens"])  # fmt: skip
    else:
        assert batch not in rows.filter("fits")["batch_size"]

    source = open_source(grid(model, inputs, "plain.toml"))
    (answer,) = find_answers(source, [kind], EASY, SloOptions(framework=framework))
    assert answer.meeting == int(cost["fits"])
    if cost["fits"]:
        best = answer.best
        assert (best["ttft_s"], best["tpot_s"], best["device_tokens_per_s"]) == wanted
        assert best["largest_batch"] == cost["largest_batch"]
    if framework == "vllm":
        held = source.points.select(memory_on(source.loaded, kind, source.columns)).collect()
        figures = held.to_series().struct.unnest().row(0, named=True)
        assert figures["fits"] == cost["fits"]
        verdict = verdict_of(source, [kind])
        (row,) = cards_of(slice_of(source), verdict, kind)[0].rows
        limits, served = verdict.targets, (cost["ttft_seconds"], cost["tpot_seconds"])
        meets = cost["fits"] and served[0] <= limits.ttft_s and served[1] <= limits.tpot_s
        assert row[:2] == (kind.name, "yes" if meets else f"no; {cost['fits']:d} fit in memory")
        if meets:
            shown = [figure(value) for value in (rate, served[0] * 1000, served[1] * 1000)]
            assert [row[2], row[4].split()[0], row[5].split()[0]] == shown

    runs = pl.DataFrame({name: [value] for name, value in inputs.items()} | {
        "serving": ["continuous"], "ttft_ms": [1.0]})  # fmt: skip
    if "image" in load:
        runs = runs.with_columns(images=1)
    compared = se.compare(runs, kind, model, framework=framework)
    (run,) = compared.select("predicted_ttft_s", "predicted_tpot_s").rows()
    assert (*run, rate) == wanted


def test_explain_and_the_explorer_say_what_a_point_says(point, command, monkeypatch):
    model, kind, framework, load, inputs, cost, wanted = point
    words = [word for name, value in inputs.items()
             for word in (f"--{name.replace('_', '-')}", value)]  # fmt: skip
    done = command("explain", "--model", model.name, "--device", kind.name, "--framework",
                   framework, "--json", *words)  # fmt: skip
    facts = json.loads(done.stdout)
    (times,), (held,) = facts["times"], facts["devices"]
    rate = inputs["batch_size"] * load["answer"] / cost["devices"]
    rate /= times["ttft_seconds"] + times["decode_seconds"]
    assert (times["ttft_seconds"], times["tpot_seconds"], rate) == wanted
    assert sum(times["parts"]["ttft"].values()) == pytest.approx(times["ttft_seconds"], **SAME)
    assert sum(times["parts"]["tpot"].values()) == pytest.approx(times["tpot_seconds"], **SAME)
    memory = held["memory"]
    assert (memory["pool_tokens"], memory["fits"], memory["largest_batch"]) == tuple(
        cost[name] for name in ("kv_pool_tokens", "fits", "largest_batch")
    )

    if "image" in load or drafting(inputs):
        return  # the page offers other images, and no drafts
    monkeypatch.setattr(exploration, "MAP_CELLS", 100)
    monkeypatch.setattr(exploration, "FRONT_BATCHES", (1,))
    chosen = {"layout": inputs["layout"], "precision": inputs["precision"],
              "batch": str(inputs["batch_size"]), "framework": framework}  # fmt: skip
    chosen |= {name: str(value) for name, value in load.items()}
    if inputs["precision"] not in exploration.OFFERED_PRECISIONS:
        return
    found = exploration.explore(model, kind, chosen)
    seen = found.cost["ttft_seconds"], found.cost["tpot_seconds"], found.device_tokens_per_s
    assert seen == wanted
    assert found.cost["fits"] == cost["fits"]
    if (kind.name, framework) == PLACES[0]:  # its charts take a second to draw
        assert view_of(found)["memory"]["fits"] == cost["fits"]


def test_deploy_map_and_design_say_what_a_point_says(point, grid):
    model, kind, framework, load, inputs, cost, wanted = point
    layout, precision, batch = (inputs[name] for name in ("layout", "precision", "batch_size"))
    where = {"device": kind, "framework": framework, "layout": layout, "precision": precision}
    if cost["fits"]:
        plans = se.deploy(model, kind, load, layouts=[layout], precisions=[precision],
                          most_batch=batch, ttft=1e6, tpot=1e6, devices=cost["devices"],
                          modes=["aggregated"], frameworks=[framework],
                          **drafting(inputs))  # fmt: skip
        (plan,) = plans.to_dicts()
        settings = {name: plan[name] for name in ("chunk_tokens", "max_sequences")}
        settings |= drafting(inputs)
        own = se.cost(model, **where, **named(load, model), batch_size=plan["batch_size"],
                      **settings)  # fmt: skip
        tokens = plan["batch_size"] * load["answer"] / own["devices"]
        rate = tokens / (own["ttft_seconds"] + own["decode_seconds"])
        assert (plan["ttft_s"], plan["tpot_s"], plan["device_tokens_per_s"]) == numbers(
            own["ttft_seconds"], own["tpot_seconds"], rate)  # fmt: skip
        assert own["fits"]

    fixed = {name: value for name, value in load.items() if name != "answer"}
    options = MapOptions(EASY, "answer", 64, 4, 100, layout, precision, framework,
                         speculation=SpeculationOptions(**drafting(inputs)))  # fmt: skip
    lengths = lengths_of("t", model, {name: [value] for name, value in fixed.items()})
    ((panel),) = find_maps(model, [kind], lengths, options).panels
    if panel.best is not None:
        at = named(fixed | {"answer": panel.best["length"]}, model)
        own = se.cost(model, **where, **at, batch_size=panel.best["batch_size"], **drafting(inputs))
        assert (panel.best["ttft_s"], panel.best["tpot_s"]) == pytest.approx(
            (own["ttft_seconds"], own["tpot_seconds"]), **SAME)  # fmt: skip
        assert own["fits"]

    same = kind.bytes_per_s / 1e9
    path = grid(model, inputs, head='cost = "device_bandwidth_gbs"', device=kind.name,
                framework=framework, device_bandwidth_gbs=[same / 2, same])  # fmt: skip
    designs = find_designs(load_grid(path), EASY).designs
    row = designs.filter(pl.col("device_bandwidth_gbs") == same).row(0, named=True)
    if cost["fits"]:
        assert (row["ttft_s"], row["tpot_s"], row["device_tokens_per_s"]) == wanted
    else:
        assert row["device_tokens_per_s"] is None
