import itertools
import re
from importlib import resources
from pathlib import Path

import pytest

import sweepengine as se
from sweepengine.data.basis import basis, kinds_of
from sweepengine.data.error_classes import Case
from sweepengine.data.rates import (
    FORMS,
    fields_of,
    ideal,
    load_rates,
    operands,
    read_rates,
    resolved,
    scales_of,
    shipped_rates,
    weight_bytes,
)
from sweepengine.data.speeds import speeds_of, timing_target
from sweepengine.formulas.formats import WEIGHT_FORMATS
from sweepengine.formulas.operator_rates import BANDWIDTH, LINK, PEAK
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.points import checked_point

MEASURED = ("a100-80gb", "h100-sxm", "h200", "b200", "b300", "gb200", "gb300", "l40s",
            "rtx-pro-6000")  # fmt: skip
H100 = se.load_device("h100-sxm")


def speeds(device="h100-sxm", framework="vllm", times=None, model="qwen3-8b", **point):
    loaded = se.load_model(model)
    place = timing_target(se.load_device(device), framework, times)
    return speeds_of(loaded.architecture, checked_point(loaded, point), place)


def test_every_measured_device_ships_rates_of_every_framework():
    assert set(shipped_rates()) == {(d, f) for d in MEASURED for f in FRAMEWORKS}
    for (device, framework), path in shipped_rates().items():
        file = load_rates(path)
        assert (file.device, file.framework) == (device, framework)
        assert {"gemm", "decode", "prefill", "mixture"} <= set(file.fits)
        for kind, fits in file.fits.items():
            assert set(fits) & {"bf16", "fp8"}, (path, kind)
            for fit in fits.values():
                assert fit.judged < fit.rows
                assert fit.median < fit.roofline_median
                declared = fields_of(FORMS[kind])
                given = [rates for kernel in fit.kernels for rates in kernel.all_rates]
                for name, value in (item for rates in given for item in rates.items()):
                    assert value == 0 or declared[name].least <= value * 1.0001, (path, kind, name)
                    assert value <= declared[name].most * 1.0001, (path, kind, name)


def test_rates_are_shares_of_the_data_sheet():
    fit = load_rates(shipped_rates()["h100-sxm", "vllm"]).fits["gemm"]["bf16"].kernels[0]
    found = resolved(FORMS["gemm"], fit.rates, scales_of(H100, "bf16"), 2.0)
    assert found.flops == pytest.approx(fit.rates["flops"] * 989.4e6)
    assert found.bytes == pytest.approx(fit.rates["bytes"] * 3.35e6)
    assert found.launch == fit.rates["launch"]
    assert found.weight_bytes == 2.0
    fp8 = resolved(FORMS["gemm"], fit.rates, scales_of(H100, "fp8"), 1.0)
    assert fp8.flops == pytest.approx(2 * found.flops, rel=1e-3)


def test_formats_of_rates():
    assert operands("fp8") == ("fp8", "fp8")
    assert operands("mxfp4-fp8") == ("mxfp4", "fp8")
    assert weight_bytes("bf16") == 2
    assert weight_bytes("mxfp4") == (4 + 8 / 32) / 8
    assert weight_bytes("fp8") == pytest.approx(1 + 4 / 128**2)


def test_roofline_reaches_every_peak_and_launches_nothing():
    found = speeds(times="roofline")
    assert found.attention.flops == pytest.approx(989.4e6)
    assert found.decode.bytes == pytest.approx(3.35e6)
    assert (found.attention.launch, found.host.step_launch, found.host.head) == (0, 0, 0)
    assert set(ideal(FORMS["encoder"])) == set(fields_of(FORMS["encoder"]))


def test_no_kernel_works_or_reads_faster_than_the_data_sheet():
    """A ring's all-reduce may: a switch that adds up halves what it sends."""
    limits = {PEAK: 1, BANDWIDTH: 1, LINK: 2}
    for path in shipped_rates().values():
        for kind, fits in load_rates(path).fits.items():
            shares = {name: limits[rate.of] for name, rate in fields_of(FORMS[kind]).items()
                      if rate.of in limits}  # fmt: skip
            for kernel in (kernel for fit in fits.values() for kernel in fit.kernels):
                for rates in kernel.all_rates:
                    above = {name: rates[name] for name, most in shares.items()
                             if rates[name] > most}  # fmt: skip
                    assert above == {}, (path.stem, kind, kernel.name)


def test_a_rate_that_no_row_depends_on_keeps_its_start():
    """Tables of GB300 have all-reduces of up to four devices."""
    declared = fields_of(FORMS["nccl"])["more"]
    for framework in FRAMEWORKS:
        (kernel,) = load_rates(shipped_rates()["gb300", framework]).fits["nccl"]["bf16"].kernels
        assert kernel.rates["more"] == declared.start
        assert kernel.rates["four"] != declared.start


def test_rates_above_what_they_can_be_are_refused(tmp_path):
    text = shipped_rates()["h100-sxm", "vllm"].read_text()
    share = re.search(r"\bflops = ([0-9.]+)", text)
    (tmp_path / "own.toml").write_text(text.replace(share[0], "flops = 1.5", 1))
    named = re.escape("own.toml: fits: gemm.bf16.rates.flops: 1.5: expected at most 1")
    with pytest.raises(se.InputError, match=named):
        read_rates(tmp_path / "own.toml")


def test_int8_runs_in_bf16_where_its_peak_is_lower():
    """Blackwell Ultra multiplies INT8 at a fifteenth of bf16's rate."""
    arch = se.load_model("deepseek-v3").architecture
    for framework in ("vllm", "trtllm", "sglang"):
        int8 = {"weight_format": "int8", "activation_format": "int8"}
        quantised = speeds("gb300", framework, model="deepseek-v3", **int8)
        plain = speeds("gb300", framework, model="deepseek-v3", weight_format="bf16",
                       activation_format="bf16")  # fmt: skip
        for name in ("attention", "mlp", "experts", "experts_many"):
            taken, same = getattr(quantised, name), getattr(plain, name)
            assert taken.weight_bytes < same.weight_bytes, name
            assert taken._replace(weight_bytes=2) == same, name
    target, case = timing_target(se.load_device("gb300")), Case(WEIGHT_FORMATS.index("int8"))
    assert "GEMMs of int8 weights in bf16, as no peak for int8 is faster" in basis(
        arch, target, True, case
    )
    assert "weights in bf16, as" not in basis(arch, timing_target(H100), True, case)


def test_formats_without_a_peak_run_in_bf16_at_rates_of_weight_only_kernels():
    """vLLM runs nvfp4 weights on Hopper as it does int4's, not as fp8."""
    nvfp4 = {"weight_format": "nvfp4", "activation_format": "nvfp4"}
    found = speeds(model="qwen3-30b-a3b", **nvfp4)
    int4 = speeds(model="qwen3-30b-a3b", weight_format="int4", activation_format="bf16")
    assert found.experts._replace(weight_bytes=0) == int4.experts._replace(weight_bytes=0)
    assert found.attention.quantise == 0
    assert found.attention.flops == speeds().attention.flops


@pytest.mark.parametrize("device", MEASURED)
def test_no_format_decodes_far_slower_than_bf16(device):
    """Fewer bytes of weights, and at worst a kernel that was measured to be slower."""
    for framework, batch in itertools.product(FRAMEWORKS, (1, 32, 512)):
        point = {"device": device, "framework": framework, "serving": "static",
                 "layout": "tp2", "batch_size": batch, "decode_steps": 2}  # fmt: skip
        plain = se.cost("qwen3-30b-a3b", precision="bf16", **point)["tpot_seconds"]
        for name in ("int8", "fp8-row", "nvfp4", "w4a16"):
            step = se.cost("qwen3-30b-a3b", precision=name, **point)["tpot_seconds"]
            assert step < 1.35 * plain, (framework, batch, name)


def test_serving_finds_caches_cold():
    found = speeds()
    assert found.attention.warm == found.decode.warm == found.experts.warm == 0


def test_formats_choose_rates_and_bytes():
    plain, quantised = speeds(), speeds(weight_format="fp8-tensor", activation_format="fp8")
    assert quantised.attention.weight_bytes == 1
    assert quantised.attention.quantise > plain.attention.quantise == 0
    assert quantised.plain == plain.plain  # head and router stay
    weights = speeds(weight_format="int4", activation_format="bf16")
    assert weights.mlp.weight_bytes == pytest.approx(0.515625)
    assert weights.mlp.flops == plain.mlp.flops
    assert speeds(cache_format="fp8").cached == 1


def test_a_framework_that_fuses_quantisation_launches_as_in_bf16():
    fused = speeds(framework="trtllm", weight_format="fp8-tensor", activation_format="fp8")
    plain = speeds(framework="trtllm")
    assert fused.attention.quantise == 0
    assert fused.attention.launch == plain.attention.launch


def test_products_measured_behind_their_host_are_passed_over():
    file = load_rates(shipped_rates()["h100-sxm", "vllm"])
    assert file.fits["gemm"]["fp8"].kernels[0].rates["launch"] > 30
    found = speeds(weight_format="fp8", activation_format="fp8")
    assert found.attention.launch == file.fits["gemm"]["fp8-tensor"].kernels[0].rates["launch"]


def test_figures_of_a_point_replace_the_devices():
    faster = speeds(device_bandwidth_gbs=6700, device_tensor_tflops=1978.8)
    own = speeds()
    assert faster.decode.bytes == pytest.approx(2 * own.decode.bytes)
    assert faster.plain.flops == pytest.approx(2 * own.plain.flops)


def test_a_device_that_changes_is_resolved_anew():
    model = se.load_model("qwen3-8b")
    point = checked_point(model, {})
    for sms in (132, 66):
        device = H100._replace(multiprocessors=sms)
        found = speeds_of(model.architecture, point, timing_target(device))
        file = load_rates(shipped_rates()["h100-sxm", "vllm"])
        share = file.fits["decode"]["bf16"].kernels[0].rates["block"]
        assert found.decode.block == pytest.approx(share / sms)


def test_unmeasured_devices_borrow_from_a_sibling_and_say_so():
    arch = se.load_model("qwen3-32b").architecture
    a100 = timing_target(se.load_device("a100-40gb"))
    assert a100.borrowed == "a100-80gb"
    assert "rates borrowed from a100-80gb" in basis(arch, a100, served=False)
    assert timing_target(H100).borrowed == ""
    said = basis(arch, timing_target(H100), served=True)
    assert said.startswith("h100-sxm, vllm 0.24.0: operators +-")
    assert "runs of dense models on vLLM, Hopper" in said


def test_devices_without_rates_have_the_roofline_and_say_so():
    place = timing_target(se.load_device("gaudi-3"))
    assert place.times == "roofline"
    said = basis(se.load_model("qwen3-8b").architecture, place, served=True)
    assert said.startswith(
        "gaudi-3, data sheet: no measured run like this: times of its data sheet"
    )
    with pytest.raises(se.InputError, match=r'gaudi-3: has no rates: expected times = "roofline"'):
        timing_target(se.load_device("gaudi-3"), times="silicon")
    with pytest.raises(se.InputError, match=r'framework = "x": expected one of vllm'):
        timing_target(H100, "x")


def test_kinds_of_operators_follow_the_model():
    assert kinds_of(se.load_model("qwen3-8b").architecture) == ("gemm", "decode", "prefill")
    assert kinds_of(se.load_model("deepseek-v3").architecture) == (
        "gemm", "mixture", "latent-decode", "latent-prefill",
    )  # fmt: skip
    assert kinds_of(se.load_model("qwen3.5-9b").architecture) == (
        "gemm", "decode", "prefill", "delta-chunks", "state-step",
    )  # fmt: skip


def test_exchanges_of_prefills_take_measured_rates_or_a_part_of_the_links():
    measured = speeds("h200", "sglang", model="deepseek-v3")
    assert measured.exchange.launch > measured.exchange_step.launch == 20.0
    assumed = speeds("l40s", "sglang", model="deepseek-v3")
    assert assumed.exchange == assumed.exchange_step
    assert assumed.exchange == (20.0, pytest.approx(0.7 * assumed.wires.link))
    ideal = speeds("h200", times="roofline", model="deepseek-v3")
    assert ideal.exchange == ideal.exchange_step == (0.0, pytest.approx(ideal.wires.link))


BAD = {
    "no TOML": ("= 1", "not a TOML file"),
    "empty": ("", "schema_version: required key is missing"),
    "schema": ("schema_version = 9", "schema_version"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_one_line(grid_file, case):
    text, named = BAD[case]
    path = grid_file(text, "rates.toml")
    with pytest.raises(se.InputError) as caught:
        load_rates(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert named in str(caught.value)


def test_rates_that_are_missing_or_too_many_are_named(tmp_path):
    text = shipped_rates()["h100-sxm", "vllm"].read_text()
    for changed, named in (
        (text.replace("launch = ", "lunch = ", 1), "gemm.bf16.rates.l"),
        (text.replace("[fits.gemm.", "[fits.gem."), "gem: expected one of gemm"),
        (text.replace("median = ", "median = -", 1), "median"),
    ):
        path = tmp_path / "rates.toml"
        path.write_text(changed)
        load_rates.cache_clear()
        with pytest.raises(se.InputError, match=named):
            load_rates(path)


def test_kernels_of_a_slower_device_take_as_many_times_as_long():
    """Shares of the data sheet are divided, times multiplied; counts stay as they are."""
    device = se.load_device("mi300x")
    arch = se.load_model("qwen3-32b").architecture
    point = checked_point(se.load_model("qwen3-32b"), {})
    slow, fast = (
        speeds_of(arch, point, timing_target(one, "sglang"))
        for one in (
            device._replace(slower={"sglang": 2.0}),
            device._replace(slower={"sglang": 1.0}),
        )
    )
    assert slow.mlp.launch == pytest.approx(2 * fast.mlp.launch)
    assert slow.mlp.flops == pytest.approx(fast.mlp.flops / 2)
    assert slow.decode.bytes == pytest.approx(fast.decode.bytes / 2)
    assert slow.decode.latency_keys == fast.decode.latency_keys
    assert slow.host == fast.host


def test_a_device_like_a_slower_one_is_as_slow():
    assert (
        se.load_device("mi350x").slower_under("vllm") == se.load_device("mi355x").slower["sglang"]
    )
    assert se.load_device("l4").slower_under("vllm") == 1


@pytest.mark.parametrize("name", ["h100-sxm", "l4", "a100-80gb", "a800-80gb", "mi300x"])
@pytest.mark.parametrize("renamed", ["mine", "l40s", "b200"])
def test_a_device_file_under_another_name_is_the_same_device(tmp_path, name, renamed):
    text = (Path(str(resources.files("sweepengine.data"))) / "devices" / f"{name}.toml").read_text()
    path = tmp_path / f"{renamed}.toml"
    path.write_text(text.replace(f'name = "{name}"', f'name = "{renamed}"'))
    point = {"prompt_tokens": 3000, "batch_size": 8, "decode_steps": 100}
    shipped, own = (se.cost("llama-3.1-8b", device=each, **point) for each in (name, path))
    assert own == shipped


def test_the_basis_says_how_much_slower_a_device_was_measured():
    arch = se.load_model("qwen3-32b").architecture
    text = basis(arch, timing_target(se.load_device("mi300x"), "sglang"), served=True)
    slower = se.load_device("mi300x").slower["sglang"]
    assert f"kernels {slower:.2g} times as long, as its public runs under SGLang say" in text
    assert "points of error" not in text
    assert "no kernel of it was measured" in text
    assert "operators" not in text
