"""Speculative decoding in grids, datasets and answers: one number everywhere, and refusals."""

import json

import polars as pl
import pytest

import sweepengine as se
from sweepengine.costs.explain import explain
from sweepengine.costs.timeline import timeline
from sweepengine.data.acceptance import ACCEPTANCE
from sweepengine.data.drafts import with_drafts
from sweepengine.data.errors import InputError
from sweepengine.data.speeds import timing_target
from sweepengine.grid.points import checked_point
from sweepengine.query.sources import open_source
from sweepengine.search.plans import PLAN

POINT = {"prompt_tokens": 2000, "decode_steps": 300, "batch_size": 16, "draft_tokens": 3}
COUNTS = ("tensor_flops", "cuda_flops", "kv_io_bytes", "weight_io_bytes", "link_bytes",
          "activation_io_bytes")  # fmt: skip


@pytest.mark.parametrize("draft", ["mtp", "eagle", "llama-3.1-8b"])
@pytest.mark.parametrize("layout", ["tp1", "tp2-dp2"])
def test_explain_adds_up_to_the_columns(draft, layout):
    point = POINT | {"draft": draft, "layout": layout}
    costs = se.cost("llama-3.1-70b", **point)
    model, _ = with_drafts(se.load_model("llama-3.1-70b"), [draft], "test")
    checked = checked_point(model, point)
    phases = {line.name: line for line in explain(model.architecture, checked).parts}
    for phase, line in phases.items():
        for count in COUNTS:
            assert getattr(line, count) == pytest.approx(costs[f"{phase}_{count}"], rel=1e-12)
        assert line.parts[-1].name in ("draft", "draft prefill")


@pytest.mark.parametrize("serving", ["static", "continuous"])
def test_operators_of_a_timeline_add_up_to_the_phases(serving):
    model = se.load_model("deepseek-v3")
    target = timing_target(se.load_device("h200"))
    point = checked_point(
        model._replace(devices=(target.device,)),
        POINT | {"layout": "tp8", "device": "h200", "serving": "static"},
    )
    times = timeline(model, point, target)
    spent = {}
    for one in times.operators:
        spent[one.stage] = spent.get(one.stage, 0.0) + one.seconds
    assert spent["decode"] + spent["draft"] == pytest.approx(times.seconds.decode)
    assert spent["prefill"] + spent["draft prefill"] == pytest.approx(times.seconds.prefill)
    assert times.steps == POINT["decode_steps"] / 2.5


def test_fit_says_what_a_point_says():
    frame = se.fit("llama-3.1-8b", "h100-sxm", {"prompt": 2000, "answer": 300},
                   draft="eagle", draft_tokens=3, accepted_tokens=2.2)  # fmt: skip
    row = frame.filter(pl.col("batch_size") == 8).row(0, named=True)
    point = POINT | {"batch_size": 8, "draft": "eagle", "accepted_tokens": 2.2}
    costs = se.cost("llama-3.1-8b", device="h100-sxm", serving="continuous", **point)
    assert row["tpot_s"] == pytest.approx(costs["tpot_seconds"])
    assert row["ttft_s"] == pytest.approx(costs["ttft_seconds"])
    assert row["step_s"] == pytest.approx(costs["step_seconds"])
    assert row["token_s"] == pytest.approx(costs["step_seconds"] / 2.2)
    assert row["weight_bytes"] == costs["weight_bytes"]
    assert row["largest_batch"] == costs["largest_batch"]
    assert row["sequence_bytes"] == costs["sequence_kv_bytes"]


def test_deploy_tries_numbers_of_drafted_tokens():
    asked = ("llama-3.1-8b", "h100-sxm", {"prompt": 1000, "answer": 500})
    options = {"precisions": ("checkpoint",), "devices": 2, "most_batch": 64}
    plain, drafted = se.deploy(*asked, **options), se.deploy(*asked, draft="eagle", **options)
    assert set(PLAN) <= set(drafted.columns)
    assert plain["draft"].to_list() == ["none"] * plain.height
    assert plain["draft_tokens"].to_list() == [0] * plain.height
    best, before = (frame.row(0, named=True) for frame in (drafted, plain))
    assert best["draft_tokens"] in (1, 2, 3)
    assert best["draft"] == "eagle"
    assert best["accepted_tokens"] == 1 + best["draft_tokens"] / 2
    assert best["requests_per_s"] > before["requests_per_s"]


@pytest.mark.parametrize(
    ("draft", "vllm", "sglang"),
    [
        ("mtp", '{"method":"mtp","num_speculative_tokens":2}', "--speculative-num-steps 2"),
        ("eagle", '{"method":"eagle","model":"EAGLE_HEAD","num_speculative_tokens":2}',
         "--speculative-draft-model-path EAGLE_HEAD"),
        ("llama-3.1-8b", '"model":"meta-llama/', "--speculative-algorithm STANDALONE"),
    ],
)  # fmt: skip
def test_commands_of_a_plan_have_its_draft(command, draft, vllm, sglang):
    asked = ("deploy", "llama-3.1-70b", "--device", "h200", "--precision", "checkpoint", "--batch",
             "8", "--layout", "tp4", "--tpot", "10", "--ttft", "10")  # fmt: skip
    printed = command(*asked, "--draft", draft, "--draft-tokens", "2").stdout
    assert f"2 drafted by {draft}" in printed
    lines = [line for line in printed.splitlines() if line.startswith(("vllm serve", "python -m"))]
    assert len(lines) == printed.count("\n# vllm, ") + printed.count("\n# sglang, ")
    assert all(vllm in line for line in lines if line.startswith("vllm"))
    assert all(sglang in line for line in lines if line.startswith("python"))
    assert "speculative" not in command(*asked).stdout


def test_dataset_of_models_that_draft_is_read_back(tmp_path):
    grid = tmp_path / "g.toml"
    grid.write_text(
        """name = "g"
model = "llama-3.1-70b"
[axes]
draft = ["llama-3.1-8b", "mtp"]
draft_tokens = [0, 2]
device = ["h200"]
layout = ["tp4"]
"""
    )
    se.run(grid, out=tmp_path / "d")
    source = open_source(tmp_path / "d")
    points = source.collected(source.points)
    assert points["draft"].to_list() == ["llama-3.1-8b"] * 2 + ["mtp"] * 2
    assert points.equals(se.scan(grid).collect())
    for row in points.iter_rows(named=True):
        cost = se.cost("llama-3.1-70b", draft=row["draft"], draft_tokens=row["draft_tokens"],
                       device="h200", layout="tp4")  # fmt: skip
        assert {name: row[name] for name in cost} == pytest.approx(cost)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"draft_tokens": 3, "accepted_tokens": 4.5}, "accepted_tokens = 4.5: expected 1..4"),
        ({"draft_tokens": 3, "accepted_tokens": 0.5}, "accepted_tokens = 0.5: expected 1..4"),
        ({"accepted_tokens": 2.0}, "accepted_tokens = 2: expected 1..1"),
        ({"draft_tokens": 65}, "draft_tokens = 65: expected an integer, 0..64"),
        ({"draft_tokens": 1, "draft": "lama-3.1-8b"}, 'draft = "lama-3.1-8b": expected "mtp"'),
        ({"draft_tokens": 1, "draft": "qwen3-4b"}, "has a vocabulary of 151,936 tokens"),
        ({"draft_tokens": 1, "draft": "llama-3.1-8b", "layout": "tp64"}, "does not divide 32"),
        ({"draft_tokens": 1, "layout": "tp16-dcp2"}, "decode_context_parallel"),
    ],
)
def test_points_that_cannot_be(given, text):
    with pytest.raises(InputError, match=r"^point: ") as refused:
        se.cost("llama-3.1-70b", **given)
    assert text in str(refused.value)
    assert "\n" not in str(refused.value)


def test_commands_say_acceptance(command):
    done = command("explain", "--model", "llama-3.1-8b", "--draft-tokens", "1", "--draft", "mtp")
    assert "draft mtp: accepted 1.5 of 2 tokens a step: assumed" in done.stdout
    assert "published: 1.85 to 1.9 (DeepSeek-V3)" in done.stdout
    given = ("fit", "llama-3.1-8b", "--device", "h100-sxm", "--draft-tokens", "2", "--json")
    done = command(*given, "--accepted-tokens", "1.7")
    said = json.loads(done.stdout)["assumed"]
    assert said == ["draft mtp: accepted 1.7 of 3 tokens a step: as given"]
    done = command("fit", "llama-3.1-8b", "--device", "h100-sxm", "--accepted-tokens", "1.7")
    assert done.stderr.strip() == "sweepengine: fit: --accepted-tokens: expected --draft-tokens too"


def test_published_acceptance_has_sources():
    for row in ACCEPTANCE:
        assert 1 <= row["accepted_tokens"] <= 1 + row["draft_tokens"]
        assert row["source"].startswith(("arXiv:", "https://"))
