import pytest

import sweepengine as se
from sweepengine.data.fits import Fit, Kernel
from sweepengine.data.kernels import shapes_of
from sweepengine.data.rates import load_rates, shipped_rates
from sweepengine.data.speeds import speeds_of, timing_target
from sweepengine.grid.points import checked_point

SHAPE, OTHER = (4096, 1536, 8, 128), (2048, 768, 8, 128)


def fit_of(*kernels):
    return Fit(version="1", rows=2, judged=1, median=1, p90=1, roofline_median=1, roofline_p90=1,
               kernels=kernels)  # fmt: skip


def kernel(name, **when):
    return Kernel(name=name, rates={"launch": 1.0}, **when)


def speeds(model, device, framework, **point):
    loaded = se.load_model(model)
    target = timing_target(se.load_device(device), framework)
    return speeds_of(loaded.architecture, checked_point(loaded, point), target)


def test_the_kernel_of_a_shape_runs_else_the_one_with_most_rows():
    fit = fit_of(kernel("usual"), kernel("special", shapes=(SHAPE,)))
    assert fit.kernel_for(SHAPE, False).name == "special"
    assert fit.kernel_for(OTHER, False).name == "usual"
    assert fit.kernel_for((), False).name == "usual"


def test_experts_over_devices_decide_where_a_kernel_says_so():
    fit = fit_of(kernel("spread", expert_parallel=True), kernel("alone", expert_parallel=False),
                 kernel("either", shapes=(OTHER,)))  # fmt: skip
    assert fit.kernel_for(SHAPE, True).name == "spread"
    assert fit.kernel_for(SHAPE, False).name == "alone"
    assert fit.kernel_for(OTHER, True).name == fit.kernel_for(OTHER, False).name == "either"


def test_a_kernel_of_one_set_of_rates_has_them_for_any_number_of_tokens():
    one, two = kernel("one"), Kernel(name="two", rates={"a": 1.0}, rates_many={"a": 2.0})
    assert one.all_rates == ({"launch": 1.0}, {"launch": 1.0})
    assert two.all_rates == ({"a": 1.0}, {"a": 2.0})


def test_shapes_of_a_model():
    qwen = shapes_of(se.load_model("qwen3-30b-a3b").architecture, True)
    assert (qwen.of("mixture"), qwen.expert_parallel) == (OTHER, True)
    assert (qwen.of("decode"), qwen.of("prefill"), qwen.of("gemm")) == ((128,), (128,), ())
    gemma = shapes_of(se.load_model("gemma-2-9b").architecture, False)
    assert (gemma.of("decode-window"), gemma.of("prefill-wide")) == ((256,), (256,))
    assert gemma.of("mixture") == gemma.of("decode") == ()


def test_vllm_runs_other_block_scaled_experts_where_they_are_spread():
    formats = {"weight_format": "fp8", "activation_format": "fp8"}
    alone = speeds("qwen3-30b-a3b", "h100-sxm", "vllm", **formats)
    spread = speeds("qwen3-30b-a3b", "h100-sxm", "vllm", expert_parallel=4, tensor_parallel=4,
                    **formats)  # fmt: skip
    by_name = {k.name: k for k in load_rates(shipped_rates()["h100-sxm", "vllm"])
               .fits["mixture"]["fp8"].kernels}  # fmt: skip
    assert len(by_name) == 2
    for found, part in ((alone, "triton"), (spread, "cutlass")):
        (rates,) = [kernel.all_rates for name, kernel in by_name.items() if part in name]
        assert (found.experts.launch, found.experts_many.launch) == tuple(
            each["launch"] for each in rates
        )
    assert alone.attention == spread.attention


@pytest.mark.parametrize(
    ("width", "kernel"), [(256, "triton"), (128, "fa3"), (64, "fa3"), (96, "fa3")]
)
def test_windows_of_wide_heads_run_in_another_kernel_under_sglang(width, kernel):
    fit = load_rates(shipped_rates()["h200", "sglang"]).fits["prefill-window"]["bf16"]
    assert fit.kernel_for((width,), False).name == kernel


def test_more_tokens_than_experts_take_the_second_set():
    found = [
        se.cost("qwen3-30b-a3b", device="h200", framework="sglang", batch_size=b,
                prompt_tokens=100, decode_steps=1)["tpot_seconds"]
        for b in (127, 128, 129)
    ]  # fmt: skip
    rates = speeds("qwen3-30b-a3b", "h200", "sglang")
    assert rates.experts != rates.experts_many
    assert abs(found[1] - found[0]) < abs(found[2] - found[1])
