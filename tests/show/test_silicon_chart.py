from types import SimpleNamespace

import pytest

from sweepengine.show.silicon_chart import EVIDENCE, OPERATORS, charts
from sweepengine.validation.judged import JudgedRun


def run(ratio, collection="wheel", judging=True):
    return JudgedRun(
        collection, "a page", "vllm", "h100-sxm", "llama-3.1-8b", "dense", "tp1", "steady", False,
        False, judging, 0.2, 0.2 * ratio, 0.01, 0.01 * ratio,
    )  # fmt: skip


@pytest.fixture
def drawn():
    runs = [run(1 + i / 100) for i in range(-50, 51)] + [run(9.0, "real", judging=False)]
    kinds = [
        {"kind": "gemm", "format": "bf16", "framework": framework, "median": 5.0,
         "roofline_median": 40.0}
        for framework in ("trtllm", "vllm")
    ]  # fmt: skip
    silicon = SimpleNamespace(runs=runs, operators_by_kind=lambda: kinds)
    return {name: chart.to_dict() for name, chart in charts(silicon).items()}


def test_evidence_holds_the_held_out_runs_and_the_bands_of_half_and_of_90_percent(drawn):
    chart = drawn[EVIDENCE]
    assert chart["title"]["text"].endswith("TPOT 25.0 % and TTFT 25.0 % off in the median")
    datasets = chart["datasets"].values()
    points = [row for rows in datasets for row in rows if "group" in row]
    assert len(points) == 2 * 101
    bands = {
        (round(row["predicted"] / row["measured"], 2), round(row["top"] / row["measured"], 2))
        for rows in datasets
        for row in rows
        if "top" in row
    }
    assert bands == {(0.55, 1.45), (0.75, 1.25)}


def test_operators_are_those_of_the_default_serving_engine_beside_the_data_sheet(drawn):
    (rows,) = drawn[OPERATORS]["datasets"].values()
    assert [(row["of"], row["error"]) for row in rows] == [
        ("measured rates", 5.0), ("data sheet", 40.0),
    ]  # fmt: skip
