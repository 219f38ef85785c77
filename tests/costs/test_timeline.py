import json

import pytest

import sweepengine as se
from sweepengine.costs.roofline import on_device
from sweepengine.costs.timeline import timeline
from sweepengine.data.speeds import timing_target
from sweepengine.grid.points import checked_point

CASES = (
    ("deepseek-ocr-3b", {"crop_rows": 2, "crop_cols": 3, "batch_size": 4}),
    ("deepseek-ocr-2", {"crop_rows": 2, "crop_cols": 3}),
    ("qwen3-8b", {"prompt_tokens": 3000, "batch_size": 32}),
    ("gpt-oss-20b", {"prompt_tokens": 3000, "decode_steps": 500, "tensor_parallel": 2}),
    ("deepseek-v3", {"prompt_tokens": 500, "tensor_parallel": 8}),
    ("deepseek-v4-flash", {"prompt_tokens": 5000}),
    ("qwen3-32b", {"pipeline_parallel": 2, "tensor_parallel": 2}),
)


def found(model, point, device="h100-sxm", times=None):
    loaded = se.load_model(model)
    place = timing_target(se.load_device(device), "vllm", times)
    return timeline(loaded, checked_point(loaded, point), place)


@pytest.mark.parametrize(("model", "point"), CASES)
@pytest.mark.parametrize("times", ["silicon", "roofline"])
def test_operators_add_up_to_stages(model, point, times):
    line = found(model, point, times=times)
    cost = se.cost(model, times, device="h100-sxm", serving="static", **point)
    for stage in ("vision", "prefill", "decode"):
        mine = [operator for operator in line.operators if operator.stage == stage]
        if mine:
            whole = sum(operator.seconds for operator in mine)
            assert whole == pytest.approx(cost[f"{stage}_seconds"], rel=1e-9)
            assert sum(operator.of_stage for operator in mine) == pytest.approx(1)
    assert line.seconds.tpot == pytest.approx(cost["tpot_seconds"], rel=1e-11)


@pytest.mark.parametrize(("model", "point"), CASES)
@pytest.mark.parametrize("device", ["h100-sxm", "b200", "l40s", "a100-80gb"])
@pytest.mark.parametrize("framework", ["vllm", "sglang"])
def test_roofline_is_a_lower_bound_of_what_requests_see(model, point, device, framework):
    inputs = {"device": device, "framework": framework, **point}
    for more in ({}, {"serving": "static"}, {"batch_size": 64}):
        fitted, least = (se.cost(model, times, **inputs | more) for times in ("", "roofline"))
        for name in ("prefill_seconds", "ttft_seconds", "tpot_seconds"):
            assert least[name] <= fitted[name], (name, more)


def test_roofline_of_a_long_prompt_counts_no_masked_position(command):
    point = {"prompt_tokens": 131_072, "device": "h100-sxm"}
    least, fitted = (se.cost("llama-3.1-8b", times, **point) for times in ("roofline", ""))
    assert 6 < least["ttft_seconds"] < 7
    assert 8 < fitted["prefill_seconds"] < 9
    done = command("explain", "--model", "llama-3.1-8b", "--device", "h100-sxm",
                   "--prompt-tokens", 131_072, "--json")  # fmt: skip
    ((place),) = json.loads(done.stdout)["devices"]
    prefill = next(stage for stage in place["stages"] if stage["stage"] == "prefill")
    assert prefill["total_s"] == pytest.approx(least["prefill_seconds"], rel=1e-9)


def test_bounds_are_those_that_engineers_know():
    line = found("qwen3-32b", {"prompt_tokens": 4096, "batch_size": 8, "decode_steps": 500})
    by_name = {(o.stage, o.operator): o for o in line.operators}
    assert by_name["prefill", "MLP"].bound == "compute"
    assert by_name["decode", "MLP"].bound == "memory"
    assert 0.6 < by_name["decode", "MLP"].of_peak < 1
    assert by_name["decode", "norms"].bound == "fixed costs"
    split = found("qwen3-32b", {"prompt_tokens": 4096, "batch_size": 8, "tensor_parallel": 8})
    links = [o for o in split.operators if (o.stage, o.operator) == ("prefill", "collectives")]
    assert "links" in {operator.bound for operator in links}


def test_kernels_of_a_device_with_a_factor_are_bound_as_where_they_were_measured():
    point = {"batch_size": 59, "prompt_tokens": 4000, "decode_steps": 500}
    operators = found("llama-3.1-8b", point, "mi300x").operators
    bounds = {(o.stage, o.operator): o.bound for o in operators if o.group.startswith("layers")}
    assert bounds["prefill", "MLP"] == bounds["prefill", "attention"] == "compute"
    assert bounds["decode", "MLP"] == bounds["decode", "attention"] == "memory"
    assert bounds["decode", "norms"] == "fixed costs"


@pytest.mark.parametrize(("model", "point"), CASES)
def test_no_operator_is_far_above_the_peak(model, point):
    for operator in found(model, point).operators:
        assert operator.of_peak < 1.25, operator


def test_command_says_the_basis_beside_times(command):
    arguments = ("explain", "--model", "qwen3-8b", "--prompt-tokens", "1000", "--device", "b200")
    shown = command(*arguments)
    assert shown.returncode == 0
    assert "b200, vllm 0.24.0: operators +-" in shown.stdout
    assert "runs of dense models on vLLM, Blackwell" in shown.stdout
    static = command(*arguments, "--serving", "static")
    assert "no measured run like this: none of a static batch" in static.stdout
    assert "microseconds" in shown.stdout
    facts = json.loads(command(*arguments, "--serving", "continuous", "--json").stdout)
    (times,) = facts["times"]
    assert times["error_class"] in times["basis"]
    assert "runs of dense models on vLLM, Blackwell" in times["error_class"]
    assert times["error_runs"] >= 10
    assert times["tpot_low_seconds"] < times["tpot_seconds"] < times["tpot_high_seconds"]
    assert times["ttft_seconds"] > times["prefill_seconds"]
    continuous = ("--times", "roofline", "--serving", "continuous")
    roof = command(*arguments, *continuous).stdout
    assert "lower bound" in roof


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--device", "gaudi-3", "--times", "silicon"), "gaudi-3: has no rates"),
        (("--device", "h200", "--framework", "tgi"), "tgi"),
        (("--device", "h200", "--serving", "x"), "x"),
    ],
)
def test_bad_options_are_one_line(command, more, expected):
    done = command("explain", *more)
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "point"),
    [("llama-3.1-8b", {"pipeline_parallel": 2}), ("deepseek-ocr-3b-modelmeter", {})],
)
def test_operators_without_counts_are_bound_by_what_they_move(model, point):
    """Sends between pipeline stages, and what a model's accounting leaves out."""
    timed = found(model, point | {"decode_steps": 9}, times="roofline")
    assert {operator.bound for operator in timed.operators} <= {"compute", "memory", "links"}
    sends = [one for one in timed.operators if one.id.operator == "collectives"]
    assert [one.bound for one in sends] == ["links"] * 2 * len(point)
    on_device(se.load_model(model), checked_point(se.load_model(model), point), timed.place.device)


@pytest.mark.parametrize(("name", "value"), [("attention", "eager"), ("latent", "expanded")])
def test_choice_that_changes_counts_alone_is_named_beside_times(name, value):
    point = {"tensor_parallel": 8, name: value}
    timed = found("deepseek-v3", point, "h200")
    assert f"; {name} = {value} changes counts alone" in timed.basis
    assert timed.seconds == found("deepseek-v3", {"tensor_parallel": 8}, "h200").seconds
