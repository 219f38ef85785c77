"""Memory against logged starts of serving engines: bars, recorded errors, fits, the command."""

import json

import polars as pl
import pytest

from sweepengine.data.models import load_model
from sweepengine.show.memory_errors import as_markdown
from sweepengine.validation import memory_errors
from sweepengine.validation.engine_starts import (
    FILE,
    HALVES,
    as_frame,
    errors_by,
    kind_of,
    read_starts,
)
from sweepengine.validation.memory_constants import (
    SHIPPED_GRAPHS,
    SHIPPED_POOL,
    fitted,
    graph_ratios,
    loss,
    pool_ratios,
    with_constants,
)
from sweepengine.validation.memory_errors import measure
from sweepengine.validation.shipped_rows import shipped_rows

BARS = {"weights": (1.0, 4.0), "KV bytes": (1.0, 3.0), "tokens": (2.0, 10.0)}
"""Median and 90th percentile of errors, %, that a figure may have; tokens of large pools."""


@pytest.fixture(scope="module")
def rows():
    return read_starts()


@pytest.mark.parametrize("figure", BARS)
def test_figures_are_within_their_bars(rows, figure):
    frame = as_frame(rows).filter(pl.col("figure") == figure, pl.col("engine") == "vllm")
    if figure == "tokens":
        frame = frame.filter("large")
    (errors,) = errors_by(frame)
    assert errors["rows"] >= 15
    assert errors["median"] <= BARS[figure][0]
    assert errors["p90"] <= BARS[figure][1]


def test_rows_of_one_log_stand_in_one_half_and_halves_are_alike(rows):
    halves = as_frame(rows).group_by("source").agg(pl.n_unique("half"))
    assert set(halves["half"]) == {1}
    numbers = [sum(row.half == half for row in rows.pools) for half in HALVES]
    assert min(numbers) >= 5


def test_every_row_is_compared_or_the_reason_is_said(rows):
    """A start of vLLM 0.2.4 says tokens alone, which are not predicted for so old a version."""
    missing = {row["source"] for row in shipped_rows(FILE)} - {one.source for one in rows.compared}
    assert missing == {"https://github.com/vllm-project/vllm/pull/2031"}
    old = sum(row["version"] in ("0.2.4", "0.5.3", "0.6.4", "0.7") for row in shipped_rows(FILE))
    assert list(rows.reasons.values()) == [old]


@pytest.mark.parametrize(
    ("model", "kind"),
    [("llama-3.1-8b", "dense"), ("qwen3-30b-a3b", "MoE"), ("gpt-oss-20b", "windows"),
     ("kimi-k2", "latent"), ("qwen3.5-9b", "hybrid"), ("qwen3-vl-8b", "vision")],
)  # fmt: skip
def test_kinds_of_models(model, kind):
    assert kind_of(load_model(model)) == kind


def test_nothing_is_worse_than_recorded():
    assert measure().problems == []


def test_an_error_that_grows_by_more_than_a_point_is_a_problem(monkeypatch, command, tmp_path):
    recorded = json.loads(json.dumps(memory_errors.RECORDED))
    recorded["all"]["tokens"]["median"] -= 1.1
    recorded["all"]["pool"]["p90"] -= 0.9
    recorded["kind MoE"]["weights"]["rows"] += 1
    monkeypatch.setattr(memory_errors, "RECORDED", recorded)
    done = command("validate", "--memory", "--json", tmp_path / "found.json")
    assert done.returncode == 1
    problems = json.loads((tmp_path / "found.json").read_text())["problems"]
    assert [problem.split(":")[0] for problem in problems] == ["all, tokens", "kind MoE, weights"]
    assert "worse than recorded: kind MoE, weights: 4 rows, recorded 5" in done.stdout


def test_a_fit_finds_the_constants_that_made_its_rows(rows):
    """Tokens that other constants predict, in place of those measured."""
    made = SHIPPED_POOL._replace(forward_factor=2.0, sampler_bytes=30.0, fast_link_gib=1.5)
    pools = [row for row in rows.pools if row.engine == "vllm"]
    synthetic = [
        row._replace(tokens=round(row.tokens * ratio))
        for row, ratio in zip(pools, pool_ratios(pools, made), strict=True)
    ]
    assert loss(pool_ratios(synthetic, made)) < 1e-6 < loss(pool_ratios(synthetic, SHIPPED_POOL))
    found = fitted(lambda values: pool_ratios(synthetic, type(made)(*values)), SHIPPED_POOL)
    assert found == pytest.approx(list(made), rel=0.05)


def test_shipped_constants_change_nothing(rows):
    for row in rows.pools:
        of = row.start.resident
        if row.engine == "vllm":
            assert with_constants(of, SHIPPED_POOL) == of
    with_graphs = [row for row in rows.pools if row.graphs]
    doubled = SHIPPED_GRAPHS._replace(graph_layer_mib=2 * SHIPPED_GRAPHS.graph_layer_mib)
    assert all(graph_ratios(with_graphs, doubled) > graph_ratios(with_graphs, SHIPPED_GRAPHS))


def test_the_page_has_every_row():
    errors = measure()
    page = as_markdown(errors)
    assert "| qwen3-4b | tp1 | vllm 0.12 | tokens | tokens | 285,984 | 286,336 | +0.12 |" in page
    assert page.count("https://") == len(errors.rows.compared)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--memory", "--silicon"), "--memory: remove it, or --silicon"),
     (("--memory", "--model", "qwen3-8b"), "--memory: remove it, or --config and --model"),
     (("--page", "x.md"), "--page: expected --silicon or --memory")],
)  # fmt: skip
def test_flags_that_do_not_go_together_are_refused(command, arguments, message):
    done = command("validate", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_page_of_memory_has_the_recorded_errors(root):
    page = (root / "docs" / "memory.md").read_text(encoding="utf-8")
    large, small = (
        memory_errors.RECORDED[f"pools {name}"]["tokens"]
        for name in ("of 8 GiB or more", "smaller, or not logged")
    )
    of_all = memory_errors.RECORDED["all"]
    lines = {
        "weights, GiB": (of_all["weights"], ".1f", ".1f"),
        "KV cache, bytes a token": (of_all["KV bytes"], ".2f", ".2f"),
        "tokens of the pool, pools of 8 GiB and more": (large, ".1f", ".1f"),
        "tokens of the pool, smaller pools": (small, ".1f", ".1f"),
        "pool, GiB": (of_all["pool"], ".1f", ".1f"),
        "CUDA graphs, GiB": (of_all["graphs"], ".0f", ".0f"),
    }
    for name, (errors, median, p90) in lines.items():
        cells = (errors["rows"], f"{errors['median']:{median}} %", f"{errors['p90']:{p90}} %")
        assert f"| {name} | {' | '.join(map(str, cells))} |" in page
