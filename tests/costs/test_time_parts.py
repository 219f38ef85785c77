"""TTFT and TPOT are the sums of their parts."""

import pytest

import sweepengine as se
from sweepengine.costs.time_parts import FIRST, OTHERS, PARTS, SCHEDULING, time_parts
from sweepengine.costs.timeline import timeline
from sweepengine.data.speeds import on_devices, timing_target
from sweepengine.grid.points import checked_point
from tests.costs.test_timeline import CASES


def parts_of(model, point, **more):
    """Parts of a point, and its columns."""
    loaded = on_devices(se.load_model(model), [point.get("device", "h100-sxm")])
    inputs = {"device": "h100-sxm", **point, **more}
    times = inputs.pop("times", None)
    at = checked_point(loaded, inputs)
    target = timing_target(loaded.devices[0], inputs.get("framework", "vllm"), times)
    found = time_parts(timeline(loaded, at, target))
    return found, se.cost(model, times or "", **inputs)


@pytest.mark.parametrize(("model", "point"), CASES)
@pytest.mark.parametrize("serving", ["static", "continuous"])
@pytest.mark.parametrize("framework", ["vllm", "trtllm", "sglang"])
@pytest.mark.parametrize("times", ["silicon", "roofline"])
def test_sums_equal_totals(model, point, serving, framework, times):
    found, cost = parts_of(model, point, serving=serving, framework=framework, times=times)
    assert sum(found.ttft.values()) == pytest.approx(cost["ttft_seconds"], rel=1e-9)
    assert sum(found.tpot.values()) == pytest.approx(cost["tpot_seconds"], rel=1e-9)
    assert set(found.names) <= set(PARTS)
    served = {OTHERS, SCHEDULING, FIRST} & set(found.names)
    assert bool(served) == (serving == "continuous")


def test_waiting_for_prefills_limits_a_large_batch_and_kernels_a_single_request():
    many, _ = parts_of("deepseek-ocr-3b", {"batch_size": 512})
    assert many.limits["TPOT"][0] == OTHERS
    one, _ = parts_of("llama-3.1-8b", {"prompt_tokens": 8000})
    assert one.limits == {
        "TTFT": ("kernels: compute", pytest.approx(0.64, abs=0.05)),
        "TPOT": ("kernels: memory", pytest.approx(0.8, abs=0.2)),
    }


def test_no_steps_have_no_parts():
    found, _ = parts_of("llama-3.1-8b", {"decode_steps": 0})
    assert found.tpot == {}
    assert list(found.limits) == ["TTFT"]
