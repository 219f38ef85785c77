"""Times at one FLOP a microsecond are the counted FLOPs: no operator is mapped to a wrong shape."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.attention_times import step_lines
from sweepengine.formulas.decoder import decoder_ends, decoder_layer
from sweepengine.formulas.figures import held_ends
from sweepengine.formulas.layer_times import end_times, layer_times
from sweepengine.formulas.layout import Layout, share_group, share_trunk
from sweepengine.formulas.operator_rates import (
    Decode,
    Encoder,
    Gemm,
    LatentDecode,
    LatentPrefill,
    Mixture,
    Prefill,
    Reduce,
)
from sweepengine.formulas.seconds import at_keys
from sweepengine.formulas.speeds import Host, Speeds, Wires
from sweepengine.formulas.vision import view
from sweepengine.formulas.vision_times import view_times

FREE = 1e300
"""Byte/us of what is to cost nothing."""


def rates(form, **figures):
    """Rates that count FLOPs alone."""
    plain = dict.fromkeys(form._fields, 0.0)
    plain |= {name: FREE for name in ("bytes", "two", "four", "more") if name in plain}
    plain |= {"flops": 1.0} if "flops" in plain else {}
    plain |= {name: 1.0 for name in ("warm_bytes", "wide", "wider") if name in plain}
    return form(**(plain | figures))


COUNTING = Speeds(
    rates(Gemm), rates(Gemm), rates(Gemm), rates(Decode), rates(Decode), rates(Decode),
    rates(Prefill), rates(Prefill), rates(Prefill), rates(Encoder), rates(Mixture),
    rates(LatentDecode), rates(LatentPrefill), rates(Reduce), rates(Reduce),
    Host(0.0, 0.0, 0.0, FREE, 1.0), Wires(8, FREE, FREE, 0.0, 0.0), 2.0,
)  # fmt: skip
MODELS = ("deepseek-ocr-3b", "qwen3-8b", "qwen3-30b-a3b", "gpt-oss-20b", "deepseek-v3",
          "gemma-3-27b", "glm-4.5-air", "kimi-k2", "deepseek-v4-flash", "minimax-m3")  # fmt: skip
PRODUCTS = ("projections", "mlp", "router", "routed", "shared_gate", "compressor")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layout", [Layout(1, 1, 1, 1), Layout(2, 1, 1, 1), Layout(2, 2, 1, 1)])
@pytest.mark.parametrize("steps", [0, 1])
def test_products_of_a_layer_are_those_that_are_counted(model, layout, steps):
    arch = load_model(model).architecture
    if layout.expert > 1 and not arch.routings:
        layout = layout._replace(expert=1)
    trunk, sequences = share_trunk(arch.trunk, layout.tensor), 64
    tokens = 1 if steps else 96
    for group in arch.groups:
        mine = share_group(group, layout)
        counted = decoder_layer(mine, trunk, tokens, tokens, 0, 1, steps, 1)
        timed = layer_times(mine, trunk, layout, float(sequences), tokens, 0, steps, COUNTING)
        for name in PRODUCTS:
            flops = sequences * getattr(counted, name).tensor_flops
            assert getattr(timed, name) == pytest.approx(flops, rel=1e-9), name
        # bytes of norms and of collectives are free here
        assert timed.norms == pytest.approx(0, abs=1e-200)
        assert timed.collectives == pytest.approx(0, abs=1e-200)


@pytest.mark.parametrize("model", ["qwen3-8b", "deepseek-v3", "gemma-3-27b", "gpt-oss-20b"])
def test_attention_of_a_step_is_what_is_counted(model):
    arch = load_model(model).architecture
    for group in arch.groups:
        keys = 100  # within every window
        none, some = (decoder_layer(group, arch.trunk, 1, n, 0, 1, 1, 1) for n in (0, keys))
        counted = 8 * (some.attention.tensor_flops - none.attention.tensor_flops)
        line = step_lines(group.attention, 8.0, COUNTING).attended
        assert at_keys(line, keys) - at_keys(line, 0) == pytest.approx(counted, rel=1e-9)


@pytest.mark.parametrize("model", ["qwen3-8b", "deepseek-v3", "qwen3-32b"])
def test_attention_of_a_prefill_is_half_of_the_square(model):
    arch = load_model(model).architecture
    group, tokens = arch.groups[-1], 1000
    counted = decoder_layer(group, arch.trunk, tokens, tokens, 0, 1, 0, 0).attention.tensor_flops
    speeds = COUNTING._replace(prefill=rates(Prefill, width_pad=0.0))
    timed = layer_times(group, arch.trunk, Layout(1, 1, 1, 1), 1.0, tokens, 0, 0, speeds)
    assert timed.attention == pytest.approx(counted / 2, rel=1e-9)


def test_head_is_of_the_last_position_alone():
    trunk = load_model("qwen3-8b").architecture.trunk
    timed = end_times(trunk, Layout(1, 1, 1, 1), 4.0, 500, 1, 1, 1, 0, COUNTING)
    assert timed.head == pytest.approx(4 * decoder_ends(trunk, 1).head.tensor_flops)
    none = end_times(trunk, Layout(1, 1, 1, 1), 4.0, 500, 0, 0, 1, 0, COUNTING)
    assert (none.head, none.embedding) == (0, 0)
    assert held_ends(trunk, 1, 0, 0, 1).head.tensor_flops == 0


@pytest.mark.parametrize("side", [640, 1024])
def test_towers_are_those_that_are_counted(side):
    """SAM without its relative positions, which are a bias here and no product."""
    towers = load_model("deepseek-ocr-3b").architecture.vision
    plain = towers._replace(sam=towers.sam._replace(relative_position_flops=0))
    counted = view(plain, side, 1)
    timed = view_times(plain, side, 3.0, COUNTING)

    def flops(block):
        return 3 * sum(operator.tensor_flops for operator in block)

    assert timed.sam_ends == pytest.approx(flops(counted.sam_ends), rel=1e-9)
    assert timed.clip_blocks == pytest.approx(24 * flops(counted.clip_blocks), rel=1e-9)
    assert timed.global_blocks == pytest.approx(4 * flops(counted.global_blocks), rel=1e-9)
    windowed = 8 * flops(counted.windowed_blocks)
    assert timed.windowed_blocks == pytest.approx(windowed, rel=1e-9)
