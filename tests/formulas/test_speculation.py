"""Passes of speculative decoding: counts are sums over passes, drafts are what they are made of."""

from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweepengine as se
from sweepengine.formulas.architecture import FLASH, Span
from sweepengine.formulas.cost import Cost, add, scaled
from sweepengine.formulas.drafts import draft_of, drafted
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.passes import pass_of, steps_of
from sweepengine.formulas.speculation import (
    DRAFTS,
    ONE_TOKEN,
    DecodeStep,
    drafting,
    floor_sum,
    keys_of_answer,
    most_keys_of_answer,
    steps_of_answer,
    verification,
)
from sweepengine.formulas.tokens import entries_of_pass, keys_of_pass
from sweepengine.grid.points import checked_point

MODELS = ("llama-3.1-8b", "deepseek-v3", "gemma-3-27b", "gpt-oss-20b")
"""Dense, latent with experts, and two with windows."""
MTP, EAGLE = range(len(DRAFTS))
CONTEXT, ANSWER = 120, 37


def passes_of(context, answer, step):
    """Tokens in the KV cache before each pass of an answer."""
    steps = ceil(1000 * answer / step.accepted)
    return [
        context + floor(i * step.accepted / 1000) + j
        for i in range(steps)
        for j in range(step.passes)
    ]


@given(st.integers(0, 60), st.integers(1, 50), st.integers(0, 200), st.integers(0, 200))
def test_sum_of_floors_is_that_of_its_terms(count, divisor, factor, start):
    expected = sum((factor * i + start) // divisor for i in range(count))
    assert floor_sum(count, divisor, factor, start) == expected


@given(
    st.integers(0, 300),
    st.integers(1, 60),
    st.integers(0, 5),
    st.integers(0, 5000),
    st.sampled_from([Span(0, 0, 1), Span(1, 0, 1), Span(128, 0, 1), Span(0, 4, 1), Span(0, 7, 2)]),
    st.booleans(),
)
def test_keys_are_the_sum_over_passes(context, answer, drafted, more, span, of_draft):
    accepted = 1000 + more % (1000 * drafted + 1)
    step = (drafting if of_draft else verification)(drafted, accepted)
    met = [
        entries_of_pass(step.tokens, found, span.stride)
        if span.stride
        else keys_of_pass(step.tokens, found, span.window)
        for found in passes_of(context, answer, step)
    ]
    assert keys_of_answer(context, answer, span, step) == sum(met)
    if met:
        assert most_keys_of_answer(context, answer, span, step) == max(met)


def test_a_step_without_drafts_is_one_token():
    assert verification(0, 0) == ONE_TOKEN == verification(0, 1000)
    assert verification(3, 0) == DecodeStep(4, 1, 2500)
    assert [steps_of_answer(answer, 2500) for answer in (0, 1, 2, 3, 5, 6)] == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("step", [DecodeStep(4, 1, 2345), DecodeStep(1, 3, 1700)])
def test_steps_are_the_sum_of_their_passes(name, step):
    arch = se.load_model(name).architecture
    share = share_of(arch, 0, 0)
    found = steps_of(share, arch.convention, CONTEXT, ANSWER, FLASH, 1, 0, step)
    each = [
        pass_of(share, step.tokens, cached, FLASH, 1) for cached in passes_of(CONTEXT, ANSWER, step)
    ]
    for position, part in enumerate(found):
        for field, cost in enumerate(part.operators):
            summed = scaled(each[0][position].operators[field], 0, 1)
            for one in each:
                operators = one[position].operators[field]
                summed = add(summed, scaled(operators, 1, 0))
            same = [name for name in Cost._fields if name != "activation_peak"]
            assert [getattr(cost, n) for n in same] == [getattr(summed, n) for n in same]


def test_a_pass_of_a_verification_step_activates_experts_of_all_its_tokens():
    # 4 tokens of 8 sequences read the weights that one token of 32 sequences does
    model, inputs = se.load_model("qwen3-30b-a3b"), {"prompt_tokens": 100}
    one = se.cost(model, batch_size=32, decode_steps=1, **inputs)
    several = se.cost(model, batch_size=8, decode_steps=4, draft="eagle", draft_tokens=3,
                      accepted_tokens=4, **inputs)  # fmt: skip
    backbone = model.architecture.backbone
    held = sum(parameter_parts(draft_of(model.architecture, EAGLE)).values())
    of_pass = 2 * (held + backbone.hidden * (backbone.vocabulary + 8))  # with head, and table rows
    expected = one["decode_weight_io_bytes"] + 3 * of_pass
    assert several["decode_weight_io_bytes"] == pytest.approx(expected, rel=1e-12)


def test_mtp_layer_of_deepseek_v3_is_that_of_its_report():
    arch = se.load_model("deepseek-v3").architecture
    hidden, own = 7168, draft_of(arch, MTP)
    (group,) = own.groups
    layers = parameter_parts(arch)["decoder"]
    one = layers - parameter_parts(arch._replace(groups=(*arch.groups[:-1],
        arch.groups[-1]._replace(layers=arch.groups[-1].layers - 1))))["decoder"]  # fmt: skip
    assert group == arch.groups[-1]._replace(layers=1)
    parameters = sum(parameter_parts(own).values())
    # a layer, the projection of two hidden vectors, two norms before it and one behind the layer
    assert parameters == one + 2 * hidden * hidden + 3 * hidden
    table = 2 * 129_280 * hidden
    assert (parameters + table) / 1e9 == pytest.approx(13.5, abs=0.1)  # its README: 14B with both


def test_eagle_head_of_llama_is_a_layer_of_it_without_first_norms():
    arch = se.load_model("llama-3.1-8b").architecture
    hidden, own = 4096, draft_of(arch, EAGLE)
    assert own.groups[0].attention == arch.groups[0].attention
    assert own.groups[0].feed_forward == arch.groups[0].feed_forward
    layer = 218_112_000  # a layer of Llama-3.1-8B
    assert sum(parameter_parts(own).values()) == layer + 2 * hidden * hidden + hidden


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize("name", MODELS)
def test_columns_hold_model_and_draft(name, draft):
    inputs = {"prompt_tokens": 90, "decode_steps": 20, "batch_size": 3}
    alone = se.cost(name, **inputs)
    both = se.cost(name, draft=draft, draft_tokens=2, accepted_tokens=1, **inputs)
    arch = se.load_model(name).architecture
    point = checked_point(se.load_model(name), inputs | {"draft": draft, "draft_tokens": 2})
    own, seen = drafted(arch, point)
    parts = pass_of(share_of(own, 0, 0), 90, 0, seen.attention, 0)
    filled = sum(part.layers * sum(c.tensor_flops for c in part.operators) for part in parts)
    assert both["prefill_tensor_flops"] == alone["prefill_tensor_flops"] + 3 * filled
    held = sum(parameter_parts(own).values())
    added = both["weight_bytes"] - alone["weight_bytes"]
    assert held < added <= 2 * held if name == "deepseek-v3" else added <= 2 * held
    assert both["context_tokens"] == alone["context_tokens"]
    assert both["decode_kv_cache_bytes"] > alone["decode_kv_cache_bytes"]


def test_a_model_that_drafts_decodes_on_its_own():
    inputs = {"prompt_tokens": 90, "decode_steps": 20, "batch_size": 3}
    target, small = "llama-3.1-70b", "llama-3.1-8b"
    both = se.cost(target, draft=small, draft_tokens=1, accepted_tokens=1, **inputs)
    alone, drafts = se.cost(target, **inputs), se.cost(small, **inputs)
    for column in ("prefill_tensor_flops", "prefill_link_bytes", "weight_bytes",
                   "prefill_kv_cache_bytes", "decode_kv_cache_bytes"):  # fmt: skip
        assert both[column] == alone[column] + drafts[column]
    # a pass of the draft a token, as if it decoded the answer itself
    mtp = se.cost(target, draft_tokens=1, accepted_tokens=1, **inputs)
    arch = se.load_model(target).architecture
    share, step = share_of(draft_of(arch, MTP), 0, 0), drafting(1, 1000)
    parts = steps_of(share, arch.convention, 90, 20, FLASH, 1, 0, step)
    own = sum(part.layers * sum(c.tensor_flops for c in part.operators) for part in parts)
    verified = mtp["decode_tensor_flops"] - 3 * own
    assert both["decode_tensor_flops"] == verified + drafts["decode_tensor_flops"]


def test_twice_as_many_accepted_tokens_halve_the_time_per_token():
    inputs = {"device": "h100-sxm", "draft_tokens": 3, "decode_steps": 400, "serving": "static"}
    one, two = (se.cost("qwen3-32b", accepted_tokens=a, **inputs) for a in (2, 4))
    assert one["tpot_seconds"] == pytest.approx(2 * two["tpot_seconds"], rel=1e-12)
    assert one["step_seconds"] == pytest.approx(two["step_seconds"], rel=1e-12)
    assert one["step_seconds"] == pytest.approx(2 * one["tpot_seconds"], rel=1e-12)


def test_a_step_takes_as_long_as_a_chunk_and_its_drafts():
    # without keys to speak of, a step of 4 tokens of 8 sequences is a step of 32 sequences
    inputs = {"device": "h100-sxm", "prompt_tokens": 1, "decode_steps": 1, "serving": "static"}
    small = {"draft_tokens": 3, "draft": "eagle", "accepted_tokens": 1}
    several = se.cost("llama-3.1-8b", batch_size=8, **small, **inputs)["step_seconds"]
    one = se.cost("llama-3.1-8b", batch_size=32, **inputs)["step_seconds"]
    short = se.cost("llama-3.1-8b", batch_size=8, **inputs)["step_seconds"]
    assert several > one
    assert several - one < 3 * short / 8  # 3 passes of a layer and a head, of 32 layers
