"""Factors of families that were measured in serving."""

import pytest

import sweepengine as se
from sweepengine.data.basis import basis
from sweepengine.data.error_classes import Case
from sweepengine.data.family_factors import (
    FAMILY_FACTORS,
    NO_FACTORS,
    engine_of_point,
    factors_of,
    was_measured,
)
from sweepengine.data.serving_engines import ENGINES
from sweepengine.data.speeds import timing_target
from sweepengine.formulas.formats import WEIGHT_FORMATS
from sweepengine.formulas.layout import Layout
from sweepengine.grid.points import checked_point

MODEL = "llama-3.1-70b"
FP8 = WEIGHT_FORMATS.index("fp8-tensor")
POINT = {"device": "h200", "framework": "trtllm", "serving": "continuous", "batch_size": 32,
         "weight_format": "fp8-tensor", "activation_format": "fp8"}  # fmt: skip


@pytest.fixture(scope="module")
def family():
    """The row of the data for `POINT`."""
    parameters = se.load_model(MODEL).parameter_count
    return next(
        row
        for row in FAMILY_FACTORS["families"]
        if (row["engine"], row["parameters"], row["format"], row["generation"])
        == ("trtllm", parameters, "fp8-tensor", "hopper")
    )


def target(device="h200", times=None):
    return timing_target(se.load_device(device), "trtllm", times)


def test_a_layout_that_was_measured_has_its_own_factors(family):
    arch = se.load_model(MODEL).architecture
    for tensor, expert, data, tpot, ttft in family["layouts"]:
        layout = Layout(tensor, expert, 1, data)
        assert factors_of(arch, FP8, layout, target()) == (tpot, ttft)
    other = factors_of(arch, FP8, Layout(1, 1, 1, 64), target())
    assert other == (family["tpot"], family["ttft"])


def test_nothing_but_what_was_measured_has_factors():
    llama, other = (se.load_model(name).architecture for name in (MODEL, "gemma-3-27b"))
    layout = Layout(8, 1, 1, 1)
    assert factors_of(llama, FP8, layout, target("l40s")) == NO_FACTORS
    assert factors_of(llama, FP8, layout, target(times="model")) == NO_FACTORS
    assert factors_of(other, FP8, layout, target()) == NO_FACTORS
    assert factors_of(llama, WEIGHT_FORMATS.index("int4"), layout, target()) == NO_FACTORS


def test_a_device_that_borrows_rates_is_of_the_generation_of_the_other():
    arch = se.load_model(MODEL).architecture
    layout = Layout(8, 1, 1, 1)
    assert factors_of(arch, FP8, layout, target("h20")) == factors_of(arch, FP8, layout, target())


def test_times_of_the_model_leave_factors_out(family):
    point = POINT | {"tensor_parallel": 8}
    known = {layout[0]: layout[3:] for layout in family["layouts"]}
    silicon, model = (se.cost(MODEL, **point, times=times) for times in ("silicon", "model"))
    tpot, ttft = known[8]
    assert silicon["tpot_seconds"] == pytest.approx(tpot * model["tpot_seconds"])
    assert silicon["step_seconds"] == pytest.approx(tpot * model["step_seconds"])
    assert silicon["ttft_seconds"] == pytest.approx(ttft * model["ttft_seconds"])
    static = [se.cost(MODEL, **point | {"serving": "static"}, times=times)["tpot_seconds"]
              for times in ("silicon", "model")]  # fmt: skip
    assert static[0] == static[1]


@pytest.mark.parametrize("layout", [{"data_parallel": 2}, {"tensor_parallel": 2}])
def test_ranks_of_data_parallel_attention_wait_for_one_another(layout):
    point = POINT | {"framework": "trtllm", "times": "model", "prompt_tokens": 1000}
    cost, steady = se.cost(MODEL, **point | layout), ENGINES["trtllm"]["steady"]
    steps = steady["steps"] + (steady["ranks"] if "data_parallel" in layout else 0)
    waited = steps * cost["step_seconds"] + steady["prompt_ms"] * 1000 * 1e-6
    assert cost["ttft_seconds"] == pytest.approx(cost["prefill_seconds"] + waited)


def test_the_roofline_adds_nothing():
    model = se.load_model(MODEL)
    engine = engine_of_point(model.architecture, checked_point(model, {}), target(times="roofline"))
    assert (engine.overlap, engine.first, engine.tpot_factor) == (1, 0, 1)


def test_the_basis_says_which_error_holds():
    measured, other = (se.load_model(name).architecture for name in (MODEL, "gemma-3-27b"))
    assert was_measured(measured, FP8, target())
    assert not was_measured(measured, 0, target())
    assert not was_measured(other, FP8, target())
    without = "without a factor of their family"
    assert without not in basis(measured, target(), True, Case(FP8))
    assert without in basis(other, target(), True, Case(images=False))
    assert without in basis(measured, target(times="model"), True, Case(FP8))
