"""Sizes of one, and parts that few models have, worked by hand from the docstrings' formulas."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.architecture import (
    KIMI_DELTA_ATTENTION,
    LIGHTNING_ATTENTION,
    MAMBA_2,
    Recurrent,
)
from sweepengine.formulas.attention import attention_core, projections, rotary
from sweepengine.formulas.cost import NOTHING, Cost
from sweepengine.formulas.formats import Format, matrix_bytes, padded_expert, padding, saved
from sweepengine.formulas.gemms import Gemm, laurel_gemms, layer_input_gemms, mlp_gemms
from sweepengine.formulas.layers import decoder_ends, head_layer, table_width
from sweepengine.formulas.layout import context_traffic
from sweepengine.formulas.operators import branch_sums, table
from sweepengine.formulas.recurrent import recurrent_layer
from sweepengine.formulas.serving import (
    CONTINUOUS,
    IDEAL_SERVING_ENGINE,
    Batch,
    Passes,
    seconds_of,
)
from sweepengine.formulas.speculation import (
    DecodeStep,
    keys_of_answer,
    keys_of_pass_in_steps,
    most_keys_of_answer,
)
from sweepengine.formulas.tokens import Span, keys_of_last_step, keys_of_steps
from tests.points import layer_pass

HIDDEN = 5
MAMBA = Recurrent(2, 1, 3, 4, 4, 1, MAMBA_2, 0, 0, 1)
"""160 projected, 14 channels with 4 taps; 244 weights."""
KIMI = Recurrent(2, 2, 3, 3, 4, 1, KIMI_DELTA_ATTENTION, 3, 0, 1)
"""196 projected, 18 channels with 4 taps; 279 weights."""
LIGHTNING = Recurrent(2, 2, 3, 3, 0, 1, LIGHTNING_ATTENTION, 0, 0, 1)
"""150 projected; 156 weights."""


@pytest.fixture
def attention():
    """4 heads of 3 channels, 2 of them rotated, on 2 key-value heads."""
    own = load_model("qwen3-8b").architecture.groups[0].attention
    return own._replace(heads=4, key_value_heads=2, key_width=3, value_width=3, rotary_width=2)


@pytest.fixture
def backbone():
    return load_model("qwen3-8b").architecture.backbone._replace(hidden=HIDDEN)


@pytest.mark.parametrize(
    ("recurrent", "tensor", "cuda", "weights"),
    [
        (MAMBA, 960 + 784 + 1_140, 0, 244),  # 3 x (3 + 4 + 24) + 16 x 12, four times
        (KIMI, 1_176 + 1_008 + 432, 108, 279),
        (LIGHTNING, 900 + 288, 54, 156),
    ],
)
def test_chunks_of_one_token(recurrent, tensor, cuda, weights):
    found = recurrent_layer(recurrent, HIDDEN, 3, 0)
    assert (found.tensor_flops, found.cuda_flops, found.weights) == (tensor, cuda, weights)


def test_gates_of_rank_one_are_projected_through_it():
    found = recurrent_layer(KIMI._replace(rank=1), HIDDEN, 3, 0)
    assert found.weights == 5 * (18 + 2 + 2) + 12 + 30 + 72 + 11


def test_matrices_beside_the_residual_stream_run_one_after_the_other(backbone):
    assert laurel_gemms(backbone._replace(laurel_rank=3)) == ((3, 5, 0), (5, 3, 0))
    assert layer_input_gemms(backbone._replace(input_width=3)) == ((3, 5, 0), (5, 3, 0))


def test_entries_of_one_token_are_all_tokens_whatever_the_window():
    span = Span(window=4, stride=1, series=1)
    assert keys_of_steps(2, 3, span) == 3 + 4 + 5
    assert keys_of_last_step(9, 3, span) == 12


def test_queries_of_a_rank_have_a_bias_and_those_projected_at_once_none(attention):
    latent = attention._replace(latent=4)

    def biases(query_rank):
        with_rank = latent._replace(query_rank=query_rank)
        with_bias = projections(with_rank._replace(input_bias=1), HIDDEN, 2, 8, 0)
        return with_bias.weights - projections(with_rank, HIDDEN, 2, 8, 0).weights

    assert biases(query_rank=2) == 2 + 4 + 2
    assert biases(query_rank=0) == 4 + 2


def test_latents_of_one_channel_are_latents(attention):
    latent = attention._replace(latent=1)
    scores = 4 * 2 * 8
    assert attention_core(latent, 2, 8, 0, 1, 1).tensor_flops == 2 * scores * (2 * 1 + 2)
    expanded, grouped = (attention_core(of, 2, 8, 0, 1, 0) for of in (latent, attention))
    assert expanded.tensor_flops == grouped.tensor_flops == 2 * scores * 6
    # keys and values of all heads, and 1 + 2 of a latent for 2 x 6 of two heads
    assert expanded.activation_io - grouped.activation_io == 8 * 4 * 6 + 2 * (3 - 12)
    assert rotary(latent, 9, 0).cuda_flops == 3 * 9 * (4 + 1) * 2
    assert rotary(attention, 9, 0).cuda_flops == 3 * 9 * (4 + 2) * 2


def test_differential_attention_subtracts_and_norms_what_is_mixed(attention):
    found = attention_core(attention._replace(difference=1), 2, 8, 0, 1, 0)
    assert found.tensor_flops == 2 * (2 * 4 * 2 * 8) * 6
    assert found.cuda_flops == 5 * (2 * 4 * 2 * 8) + 5 * (2 * 4 * 3)
    assert found.weights == 4 * 3


def test_a_gate_scales_each_value_that_a_branch_adds():
    assert branch_sums(10, 2, 3) == Cost(0, 2 * 10 + 3 * 10, 60, 3, 0, 0, 20, 0, 3)
    assert table(7) == Cost(0, 0, 0, 7, 0, 0, 0, 0, 7)


def test_a_layer_before_the_head_costs_what_was_worked_by_hand(backbone):
    before = backbone._replace(head_layer=1, head_layer_bias=1, norm_flops=3, norm_weights=1)
    # 25 + 5 + 5 weights; CUDA 4 a value of GELU and 3 of the norm, which moves 2 x 20
    assert head_layer(before, 4) == Cost(200, 140, 40 + 40, 35, 0, 0, 40, 80, 35)
    assert head_layer(before._replace(head_layer=0), 4) == NOTHING


def test_a_table_of_one_channel_is_narrow(backbone):
    assert table_width(backbone._replace(table_width=1)) == 1
    assert table_width(backbone._replace(table_width=0)) == HIDDEN


def test_devices_that_share_a_cache_send_what_was_worked_by_hand(attention):
    """Values, exchanged values and collectives of one layer."""
    one = attention._replace(heads=1, key_value_heads=1, value_width=4, cache_devices=2)
    step, chunk = (layer_pass(tokens, 10, cached=9) for tokens in (1, 2))
    assert context_traffic(one, step) == (3 + 4 + 2, 0, 3)
    assert context_traffic(one, chunk) == (5 * (3 + 4), 0, 1)
    latent = one._replace(latent=1)
    assert context_traffic(latent, step._replace(absorbed=1)) == (2 * 1 + 2 + 2, 0, 3)
    assert context_traffic(one._replace(cache_devices=1), step) == (0, 0, 0)
    assert context_traffic(one._replace(heads=0), step) == (0, 0, 0)
    assert context_traffic(one, step._replace(cached=0)) == (0, 0, 0)


def test_learned_positions_and_a_softcap_cost_what_was_worked_by_hand(backbone):
    small = backbone._replace(vocabulary=11, tied=0)
    # 9 tokens add a row of 5 each, of 7 that there are
    placed = decoder_ends(small._replace(positions=7), 9).embedding
    assert placed == Cost(0, 45, 2 * 45, 35, 0, 0, 0, 0, 11 * 5 + 7 * 5)
    head, capped = (decoder_ends(small._replace(logit_softcap=n), 9).head for n in (0, 1))
    assert capped == head._replace(cuda_flops=3 * 9 * 11)


def test_scales_that_share_with_no_other_have_one_each():
    blocks = Format(4, 1, 16, 8, 0, shared_scales=1)
    assert matrix_bytes(blocks, 2, 32) == 32 + 4 + 4 * 4
    assert matrix_bytes(blocks._replace(shared_scales=0), 2, 32) == 32 + 4


def test_one_bit_is_a_format():
    bit = Format(1, 0, 0, 0, 0, width_multiple=8)
    assert saved((Gemm(2, 8, 0),), bit, 2) == 2 * 16 - 2
    experts = load_model("qwen3-30b-a3b").architecture.groups[0].feed_forward
    narrow = experts._replace(expert_width=4, matrices=3)
    assert padding(narrow, 16, bit) == 3 * (16 - 8)


def test_experts_in_a_latent_of_one_channel_are_as_wide():
    experts = load_model("qwen3-30b-a3b").architecture.groups[0].feed_forward
    latent = experts._replace(expert_latent=1, expert_width=3, matrices=3)
    assert padded_expert(latent, HIDDEN, Format(4, 0, 0, 0, 0)) == mlp_gemms(3, 1, 3)


def test_an_answer_of_one_token_takes_a_step_of_the_serving_engine():
    engine = IDEAL_SERVING_ENGINE._replace(overlap=0.5, sequence=10.0)
    one = seconds_of(Passes(0.0, 0.0, 0.0, 100.0), Batch(4, 8, 1), CONTINUOUS, engine)
    assert one.tpot == pytest.approx((0.5 * 100 + 10 * 4) / 1e6)


def test_a_step_that_verifies_a_second_token_meets_its_keys_too():
    step = DecodeStep(tokens=2, passes=1, accepted=1000)
    assert keys_of_answer(10, 4, Span(0, 0, 0), step) == 12 + 13 + 14 + 15
    assert most_keys_of_answer(10, 4, Span(0, 0, 0), step) == 15
    assert keys_of_pass_in_steps(10, 4, Span(4, 1, 1), step) == 12 + 13 + 14 + 15


def test_a_second_pass_of_a_step_finds_a_token_more():
    step = DecodeStep(tokens=1, passes=2, accepted=1000)
    assert keys_of_answer(10, 4, Span(0, 0, 0), step) == 11 + 12 + 13 + 14 + 12 + 13 + 14 + 15
    assert most_keys_of_answer(10, 4, Span(0, 0, 0), step) == 15
