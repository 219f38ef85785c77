from sweepengine.data.models import load_model
from sweepengine.grid.lengths import lengths_of
from sweepengine.search.deploy import find_deployment
from sweepengine.search.options import DeployOptions, LatencyTargets
from sweepengine.show.deployment_chart import deployment_chart


def layers_of(targets):
    model = load_model("llama-3.1-8b")
    lengths = lengths_of("test", model, {"prompt": [2000], "answer": [300]})
    options = DeployOptions(targets, 4, precisions=("checkpoint",), most_batch=16)
    found = find_deployment(model, ["h100-sxm"], lengths, options)
    chart = deployment_chart(found).to_dict()
    data = chart["datasets"]
    drawn = next(c for c in (chart, *chart.get("vconcat", ())) if "layer" in c)
    return found, [
        (layer["mark"]["type"], data[layer.get("data", drawn.get("data"))["name"]])
        for layer in drawn["layer"]
        if layer.get("data") or drawn.get("data")
    ], chart["title"]  # fmt: skip


def test_chart_has_a_front_a_mode_the_target_and_the_best_plan():
    found, layers, title = layers_of(LatencyTargets(2, 0.012))
    marks = [mark for mark, _ in layers]
    assert marks.count("line") == 1
    rows = next(rows for mark, rows in layers if mark == "line")
    for (mode,), front in found.front.partition_by("mode", as_dict=True).items():
        mine = [row for row in rows if row["device"] == f"h100-sxm, {mode}"]
        assert [r["user_tokens_per_s"] for r in mine] == front["user_tokens_per_s"].to_list()
    (target,) = next(rows for mark, rows in layers if mark == "rule")
    assert target["user_tokens_per_s"] == 1 / 0.012
    ring = [rows for mark, rows in layers if mark == "point"][-1]
    assert [row["device_tokens_per_s"] for row in ring] == [found.best["device_tokens_per_s"]]
    assert ring[0]["device"] in {row["device"] for row in rows}
    assert "TTFT 2 s, TPOT 12 ms" in str(title)


def test_chart_without_a_plan_marks_none():
    found, layers, title = layers_of(LatencyTargets(2, 0.0001))
    assert found.best is None
    assert [mark for mark, _ in layers].count("point") == 1
    assert "No plan for llama-3.1-8b meets" in str(title)
