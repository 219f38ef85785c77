"""Prefill, a chunk, a decode step and a verification step are one pass of other numbers."""

from hypothesis import given
from hypothesis import strategies as st

from sweepengine.data.models import load_model
from sweepengine.formulas.cost import Cost
from sweepengine.formulas.gemms import (
    gemm_weights,
    into_attention,
    latent_up,
    mlp_gemms,
    out_of_attention,
)
from sweepengine.formulas.layout import WHOLE, Layout, share_of
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.passes import ENDS, pass_of, steps_of
from sweepengine.formulas.points import Point, tokens_of

NAMES = ("llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-20b", "gemma-3-27b",
         "deepseek-v4-flash", "minimax-m3", "kimi-k2")  # fmt: skip
MODELS = st.sampled_from(NAMES).map(lambda name: load_model(name).architecture)
FLASH = 1
BY_TOKEN = ("norms", "rotary", "router", "shared_gate", "mlp", "residuals", "streams")
"""Operators whose work is that of each token by itself."""
COUNTS = ("tensor_flops", "cuda_flops", "activation_io", "kv_io")


@given(MODELS, st.integers(1, 3000), st.integers(0, 30), st.sampled_from([0, 1]))
def test_steps_in_closed_form_are_passes_of_one_token_each(arch, context, steps, absorbed):
    share = share_of(arch, 0, 0)
    found = steps_of(share, arch.convention, context, steps, FLASH, absorbed)
    passes = [pass_of(share, 1, context + step, FLASH, absorbed) for step in range(steps)]
    for position, part in enumerate(found):
        for name, cost in part.operators._asdict().items():
            for count in COUNTS:
                summed = sum(
                    getattr(getattr(one[position].operators, name), count) for one in passes
                )
                assert getattr(cost, count) == summed, (position, name, count)


@given(MODELS, st.integers(1, 500), st.integers(1, 9))
def test_chunks_are_the_whole_but_for_what_attends(arch, tokens, chunks):
    share = share_of(arch, 0, 0)
    whole = pass_of(share, tokens * chunks, 0, FLASH, 0)
    parts = [pass_of(share, tokens, tokens * i, FLASH, 0) for i in range(chunks)]
    for position, part in enumerate(whole):
        operators = part.operators._asdict()
        for name in BY_TOKEN if part.group != ENDS else operators:
            for count in ("tensor_flops", "cuda_flops"):
                summed = sum(getattr(one[position].operators._asdict()[name], count)
                             for one in parts)  # fmt: skip
                assert getattr(operators[name], count) == summed, (name, count)
        assert part.traffic == parts[0][position].traffic  # of one device: none


@given(MODELS, st.integers(1, 9), st.integers(0, 3000))
def test_a_verification_step_reads_the_weights_of_one_step(arch, drafted, cached):
    """Its tokens cost as much as so many steps, its weights and its cache are read once."""
    share = share_of(arch, 0, 0)
    step, several = (pass_of(share, n, cached, FLASH, 1) for n in (1, 1 + drafted))
    for one, more in zip(step, several, strict=True):
        for name, cost in more.operators._asdict().items():
            alone: Cost = getattr(one.operators, name)
            assert (cost.weight_io, cost.expert_io) == (alone.weight_io, alone.expert_io)
            if name in BY_TOKEN:
                assert cost.tensor_flops == (1 + drafted) * alone.tensor_flops
            if name == "attention":
                assert alone.kv_io <= cost.kv_io <= alone.kv_io * (1 + drafted) + cost.kv_io // 2


@given(MODELS, st.sampled_from([WHOLE, Layout(2, 1, 1, 1), Layout(2, 2, 1, 1)]), st.integers(1, 99))
def test_flops_of_gemms_are_two_a_weight_and_token(arch, layout, tokens):
    layout = layout if arch.routings else layout._replace(expert=1)
    share = share_of(arch, 0, 0, layout)
    hidden = share.backbone.hidden
    for part in pass_of(share, tokens, 0, FLASH, 0):
        if part.group == ENDS:
            continue
        group = share.groups[part.group]
        own, forward = group.attention, group.feed_forward
        around = gemm_weights(into_attention(own, hidden)) + gemm_weights((latent_up(own),))
        around += gemm_weights(out_of_attention(own, hidden))
        assert part.operators.projections.tensor_flops == 2 * tokens * around
        mlp = gemm_weights(mlp_gemms(forward.width, hidden, forward.matrices))
        assert part.operators.mlp.tensor_flops == 2 * tokens * mlp


@given(MODELS)
def test_parameters_are_the_weights_of_a_pass(arch):
    parts = pass_of(share_of(arch, 0, 0), 1, 1, FLASH, 0)
    held = sum(part.layers * sum(cost.weights for cost in part.operators) for part in parts)
    assert held == sum(parameter_parts(arch).values())


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_tokens_of_a_point_add_up(image, text, cached):
    zeros = dict.fromkeys(Point._fields, 0)
    shared = text // 2
    given = {"text_tokens": text, "cached_tokens": cached, "images": 3, "shared_tokens": shared}
    found = tokens_of(Point(**zeros | given), image, image + 1)
    seen = 3 * image
    assert found == (
        seen, seen + 3, seen + text + cached, seen + text - shared, cached + shared
    )  # fmt: skip
