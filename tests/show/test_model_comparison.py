"""The report of several models: its files, its findings and what it refuses."""

import csv

import pytest

from sweepengine.query.sources import open_sources
from sweepengine.search.model_costs import compare_models
from sweepengine.show.model_comparison import (
    cheapest_first,
    flops_chart,
    unit_of,
    workload_text,
    write_model_comparison,
)
from tests.search.test_model_costs import PAGES, PROMPTS

PRICES = {"l40s": 0.9}


@pytest.fixture(autouse=True)
def few_files(monkeypatch):
    """Reports of these tests draw the chart once."""
    monkeypatch.setattr("sweepengine.show.model_comparison.KINDS", (".svg",))


@pytest.fixture
def report(grid_file, tmp_path):
    """The folder of a report with prices."""
    write_model_comparison(open_sources(grid_file(PAGES)), tmp_path / "out", PRICES)
    return tmp_path / "out"


def test_files_hold_every_model_and_page(report):
    assert {path.name for path in report.rglob("*.*")} == {
        "README.md", "index.html", "models.csv", "flops.svg", "written.txt",
    }  # fmt: skip
    rows = list(csv.DictReader((report / "models.csv").open(encoding="utf-8")))
    assert len(rows) == 6
    assert {row["request"] for row in rows} == {
        "a4@200dpi, an image of 2339x1654 pixels", "a4@144dpi, an image of 1684x1191 pixels",
    }  # fmt: skip
    mineru = next(row for row in rows if row["model"] == "mineru2.5")
    assert (mineru["tokens/page"], mineru["weights, GB"]) == ("2016", "2.31")
    paid = float(mineru["pages/USD, l40s"])
    assert paid == pytest.approx(float(mineru["pages/day, l40s"]) / 24 / 0.9, rel=0.01)


def test_page_says_what_it_assumes_and_where_prices_come_from(report):
    for name in ("README.md", "index.html"):
        text = (report / name).read_text(encoding="utf-8")
        assert "Every model answers with 1,000 tokens." in text
        assert "Accuracy is not modelled." in text
        assert "Times: l40s, vllm 0.24.0: operators +-" in text
        assert "Prices as given with --price: l40s 0.9 USD/hour." in text
    assert 'aria-label="A page costs got-ocr2' in text


def test_order_and_title_state_the_finding(grid_file):
    comparison = compare_models(open_sources(grid_file(PAGES)), PRICES)
    chart = flops_chart(comparison)
    fewest, most = 2.24, 24.5
    assert chart.title == (
        f"A page costs got-ocr2 {fewest} TFLOP, mineru2.5 {most}: {most / fewest:.0f} times as many"
    )
    ordered = cheapest_first(comparison, comparison.workloads[0])
    paid = [comparison.requests_per_usd(cost, "l40s") for cost in ordered]
    assert paid == sorted(paid, reverse=True)


def test_text_models_are_compared_by_request(grid_file, tmp_path):
    sources = open_sources(grid_file(PROMPTS))
    comparison = compare_models(sources)
    assert unit_of(comparison) == "request"
    assert workload_text(comparison.workloads[0]) == "prompt tokens 1,000"
    write_model_comparison(sources, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| llama-3.1-70b | 70.55 | 1,000 |" in text
    assert "| does not fit | none |" in text
    assert "No prices were given: --price DEVICE=USD adds requests/USD." in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("modes", "--price", "h100-sxm=2"), "--price: expected one grid of several models"),
        (("ocr-models", "--against", "deepseek-ocr-3b"),
         "--reference and --against: expected a grid of one model"),
        (("ocr-models", "--price", "h100-sxm=x"), "--price h100-sxm=x: expected DEVICE=USD"),
        (("ocr-models", "modes"), "expected points of one model, found 14"),
    ],
)  # fmt: skip
def test_options_of_the_other_kind_of_report_are_refused(command, tmp_path, arguments, expected):
    done = command("report", *arguments, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert expected in done.stderr
    assert not (tmp_path / "out").exists()
