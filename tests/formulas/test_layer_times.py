"""Times at one FLOP a microsecond are the counted FLOPs: no operator is mapped to a wrong shape."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.attention_times import step_lines
from sweepengine.formulas.blocks import block, join_cost
from sweepengine.formulas.gemms import convolved_width
from sweepengine.formulas.layer_times import end_times, layer_times
from sweepengine.formulas.layers import decoder_ends, decoder_layer, ends_on_device
from sweepengine.formulas.layout import WHOLE, EndsHeld, Layout, share_of
from sweepengine.formulas.operator_rates import PrefillRates
from sweepengine.formulas.recurrent import convolved_columns
from sweepengine.formulas.seconds import at_keys
from sweepengine.formulas.tokens import Pass
from sweepengine.formulas.views import View
from sweepengine.formulas.vision_times import blocks_us, join_us
from tests.points import layer_pass
from tests.speeds import COUNTING, rates

MODELS = ("deepseek-ocr-3b", "qwen3-8b", "qwen3-30b-a3b", "gpt-oss-20b", "deepseek-v3",
          "gemma-3-27b", "glm-4.5-air", "kimi-k2", "deepseek-v4-flash", "minimax-m3")  # fmt: skip
GEMMS = ("projections", "mlp", "router", "routed", "shared_gate", "compressor", "indexer")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layout", [WHOLE, Layout(2, 1, 1, 1), Layout(2, 2, 1, 1)])
@pytest.mark.parametrize("decode", [0, 1])
def test_gemms_of_a_layer_are_those_that_are_counted(model, layout, decode):
    arch = load_model(model).architecture
    if layout.expert > 1 and not arch.routings:
        layout = layout._replace(expert=1)
    share = share_of(arch, 0, 0, layout)
    one = Pass(sequences=64.0, tokens=1 if decode else 96, cached=0, decode=decode)
    for group in share.groups:
        keys = one.tokens  # those of latents that expand
        counted = decoder_layer(
            group, share.backbone, layer_pass(one.tokens, keys, cached=1, absorbed=decode)
        )
        unscored = decoder_layer(group, share.backbone, layer_pass(one.tokens, 0, cached=1))
        timed = layer_times(group, share.backbone, layout, one, COUNTING)
        for name in GEMMS:
            if name == "indexer":  # scores are a form of their own
                if not decode:
                    continue
                counted = unscored
            flops = one.sequences * getattr(counted, name).tensor_flops
            assert getattr(timed, name) == pytest.approx(flops, rel=1e-9), name
        # bytes of norms and of collectives are free here
        assert timed.norms == pytest.approx(0, abs=1e-200)
        assert timed.collectives == pytest.approx(0, abs=1e-200)


@pytest.mark.parametrize("model", ["qwen3-8b", "deepseek-v3", "gemma-3-27b", "gpt-oss-20b"])
def test_attention_of_a_step_is_what_is_counted(model):
    arch = load_model(model).architecture
    for group in arch.groups:
        keys = 100  # within every window
        none, some = (
            decoder_layer(group, arch.backbone, layer_pass(1, n, cached=1, absorbed=1))
            for n in (0, keys)
        )
        counted = 8 * (some.attention.tensor_flops - none.attention.tensor_flops)
        line = step_lines(group.attention, 8.0, COUNTING).attended
        assert at_keys(line, keys) - at_keys(line, 0) == pytest.approx(counted, rel=1e-9)


@pytest.mark.parametrize("model", ["qwen3-8b", "deepseek-v3", "qwen3-32b"])
def test_attention_of_a_prefill_is_half_of_the_square(model):
    arch = load_model(model).architecture
    group, tokens = arch.groups[-1], 1000
    counted = decoder_layer(group, arch.backbone, layer_pass(tokens, tokens)).attention
    speeds = COUNTING._replace(prefill=rates(PrefillRates, width_pad=0.0))
    one = Pass(sequences=1.0, tokens=tokens, cached=0, decode=0)
    timed = layer_times(group, arch.backbone, WHOLE, one, speeds)
    assert timed.attention == pytest.approx(counted.tensor_flops / 2, rel=1e-9)


def test_chunks_of_a_recurrent_mixer_are_those_that_are_counted():
    """A short convolution moves channels: its FLOPs take no time of their own."""
    arch = load_model("qwen3.5-9b").architecture
    group = next(group for group in arch.groups if group.recurrent.heads)
    mixer = group.recurrent
    for tokens, decode in ((100, 0), (128, 0), (1, 1)):
        seen = layer_pass(tokens, tokens, cached=decode)
        counted = decoder_layer(group, arch.backbone, seen).recurrent.tensor_flops
        columns = convolved_columns(mixer, tokens, decode)
        counted -= 2 * mixer.convolution * convolved_width(mixer) * columns
        one = Pass(sequences=3.0, tokens=tokens, cached=decode, decode=decode)
        timed = layer_times(group, arch.backbone, WHOLE, one, COUNTING)
        assert timed.recurrent == pytest.approx(3 * counted, rel=1e-9)


def test_head_is_of_the_last_position_alone():
    backbone = load_model("qwen3-8b").architecture.backbone
    one = Pass(sequences=4.0, tokens=500, cached=0, decode=0)
    timed = end_times(backbone, WHOLE, EndsHeld(1, 1, 1), one, COUNTING)
    assert timed.head == pytest.approx(4 * decoder_ends(backbone, 1).head.tensor_flops)
    none = end_times(backbone, WHOLE, EndsHeld(0, 0, 1), one, COUNTING)
    assert (none.head, none.embedding) == (0, 0)
    assert ends_on_device(backbone, 1, EndsHeld(0, 0, 1)).head.tensor_flops == 0


@pytest.mark.parametrize("side", [640, 1024])
def test_towers_are_those_that_are_counted(side):
    """SAM without its relative positions, which are a bias here and no GEMM."""
    towers = load_model("deepseek-ocr-3b").architecture.vision
    view = View(count=1, rows=side // 16, columns=side // 16)
    for blocks in towers.blocks:
        plain = blocks._replace(relative_flops=0)
        flops = 3 * plain.layers * sum(cost.tensor_flops for cost in block(plain, view, 1))
        assert blocks_us(plain, view, 3.0, COUNTING) == pytest.approx(flops, rel=1e-9)
    for join in towers.joins:
        flops = 3 * join_cost(join, view, 100).tensor_flops
        assert join_us(join, view, 3.0, 100, COUNTING) == pytest.approx(flops, rel=1e-9)
