"""Speculative decoding in grids, datasets and answers: one number everywhere, and refusals."""

import json
import shlex

import polars as pl
import pytest
import yaml

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
from tests.search.started_programs import run_script

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


VLLM = {
    "mtp": '{"method":"mtp","num_speculative_tokens":2}',
    "eagle": '{"method":"eagle","model":"DRAFT_MODEL","num_speculative_tokens":2}',
    "llama-3.1-8b": '{"method":"draft_model","model":"meta-llama/Meta-Llama-3.1-8B",'
    '"num_speculative_tokens":2}',
}
STEPS = ("--speculative-num-steps", "2", "--speculative-eagle-topk", "1",
         "--speculative-num-draft-tokens", "3")  # fmt: skip
SGLANG = {
    "mtp": ("EAGLE", *STEPS),
    "eagle": ("EAGLE", "--speculative-draft-model-path", "DRAFT_MODEL", *STEPS),
    "llama-3.1-8b": ("STANDALONE", "--speculative-draft-model-path",
                     "meta-llama/Meta-Llama-3.1-8B", *STEPS),
}  # fmt: skip
TRTLLM = {
    "mtp": {"decoding_type": "MTP", "num_nextn_predict_layers": 2},
    "eagle": {"decoding_type": "Eagle3", "max_draft_len": 2, "speculative_model": "DRAFT_MODEL"},
    "llama-3.1-8b": {"decoding_type": "Draft_Target", "max_draft_len": 2,
                     "speculative_model": "meta-llama/Meta-Llama-3.1-8B"},
}  # fmt: skip


def drafting(command, draft, *more):
    """What `deploy` prints for a plan with so much as a draft given."""
    asked = ("deploy", "llama-3.1-70b", "--device", "h200", "--precision", "checkpoint", "--batch",
             "8", "--layout", "tp4", "--tpot", "10", "--ttft", "10")  # fmt: skip
    given = ("--draft", draft, "--draft-tokens", "2") if draft else ()
    return command(*asked, *given, *more).stdout


@pytest.mark.parametrize("draft", VLLM)
def test_commands_of_a_plan_have_its_draft(draft, command):
    frameworks = ("--framework", "vllm", "--framework", "sglang", "--framework", "trtllm")
    printed = drafting(command, draft, *frameworks)
    assert f"2 drafted by {draft}" in printed
    words = {line.split()[0]: shlex.split(line) for line in printed.splitlines()
             if line.startswith(("vllm serve", "python3 -m", "trtllm-serve"))}  # fmt: skip
    flags = words["vllm"]
    assert flags[flags.index("--speculative-config") + 1] == VLLM[draft]
    flags = words["python3"]
    at = flags.index("--speculative-algorithm") + 1
    assert tuple(flags[at : at + len(SGLANG[draft])]) == SGLANG[draft]
    assert not any("speculative" in word for word in words["trtllm-serve"])
    (config,) = (line for line in printed.splitlines() if line.startswith("# --config FILE"))
    assert json.loads(config.partition("holds ")[2]) == {"speculative_config": TRTLLM[draft]}
    assert "speculative" not in drafting(command, "", *frameworks)


@pytest.mark.parametrize("framework", ["vllm", "trtllm"])
def test_script_takes_the_place_of_a_head_from_the_environment(framework, command, tmp_path):
    script = tmp_path / "start.sh"
    drafting(command, "eagle", "--framework", framework, "--script", str(script))
    refused, started = run_script(script, tmp_path)
    assert refused.returncode != 0
    assert "DRAFT_MODEL: expected the folder or Hub id of an EAGLE head" in refused.stderr
    assert not started
    done, started = run_script(script, tmp_path, DRAFT_MODEL="/heads/my head")
    assert done.returncode == 0, done.stderr
    servers = [each for each in started if each.devices]
    assert len(servers) == 2
    for server in servers:
        if framework == "vllm":
            config = server.words[server.words.index("--speculative-config") + 1]
            assert json.loads(config)["model"] == "/heads/my head"
        else:
            config = yaml.safe_load(server.config)["speculative_config"]
            assert config["speculative_model"] == "/heads/my head"


def test_compose_file_takes_it_so_too_and_a_manifest_needs_it(command, tmp_path):
    compose = tmp_path / "compose.yml"
    drafting(command, "eagle", "--script", str(compose))
    variable = "${DRAFT_MODEL:?the folder or Hub id of an EAGLE head trained for llama-3.1-70b}"
    assert variable in compose.read_text()
    drafting(command, "llama-3.1-8b", "--manifest", str(tmp_path / "plan.yaml"))
    assert "meta-llama/Meta-Llama-3.1-8B" in (tmp_path / "plan.yaml").read_text()
    done = command("deploy", "llama-3.1-70b", "--device", "h200", "--precision", "checkpoint",
                   "--layout", "tp4", "--draft", "eagle", "--draft-tokens", "2", "--manifest",
                   str(tmp_path / "m.yaml"))  # fmt: skip
    assert "deploy: --manifest: DRAFT_MODEL: expected the folder" in done.stderr
    assert done.stderr.count("\n") == 1


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
