"""Layers beside attention, their figures worked by hand from the docstrings' formulas."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.architecture import NO_RECURRENT, Recurrent
from sweepengine.formulas.cost import Cost
from sweepengine.formulas.decoder import (
    cached_values,
    indexer,
    inner_norms,
    projected,
    projections,
    routed_experts,
    shared_gate,
)
from sweepengine.formulas.operators import router
from sweepengine.formulas.recurrent import recurrent_layer

HIDDEN = 5
DELTA = Recurrent(heads=2, key_heads=1, key_width=3, value_width=4, convolution=4, chunk=64,
                  mamba=0)  # fmt: skip
"""14 channels of convolution; 5 x (14 + 16 + 4) = 170 projected; tables 14*4 + 2*2 + 4."""
MAMBA = DELTA._replace(chunk=8, mamba=1)
"""5 x (14 + 16 + 2) = 160 projected; tables 14*5 + 3*2 + 2*4."""
STATE = 2 * (2 * 3 * 4 + 14 * 4)
"""Read and written: heads' states and the convolution's last columns."""


def cost(tensor, cuda, moved, weights):
    return Cost(tensor, cuda, moved, weights, 0, STATE, moved, moved, weights)


@pytest.mark.parametrize(
    ("recurrent", "tokens", "cached", "expected"),
    [
        (DELTA, 70, 0, cost(23_800 + 8_176 + 346_112, 0, 2_800, 234)),  # two chunks, 73 columns
        (DELTA, 3, 9, cost(1_020 + 1_120 + 173_056, 0, 120, 234)),  # one chunk, 10 columns
        (DELTA, 1, 0, cost(340 + 784 + 173_056, 0, 40, 234)),  # padded to 7 columns
        (DELTA, 1, 9, cost(340 + 224, 168, 40, 234)),
        (DELTA, 1, 1, cost(340 + 224, 168, 40, 234)),
        (DELTA._replace(chunk=1), 3, 0, cost(1_020 + 784 + 552, 0, 120, 234)),
        (MAMBA, 10, 0, cost(3_200 + 1_456 + 5_552, 0, 400, 244)),
        (MAMBA, 1, 9, cost(320 + 224 + 48, 0, 40, 244)),
    ],
)
def test_passes_cost_what_was_worked_by_hand(recurrent, tokens, cached, expected):
    assert recurrent_layer(recurrent, HIDDEN, tokens, cached) == expected


def test_layers_without_a_recurrent_mixer_cost_nothing():
    assert recurrent_layer(NO_RECURRENT, HIDDEN, 10, 3) == Cost(0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_indexer_costs_what_was_worked_by_hand():
    grouped = load_model("qwen3-8b").architecture.groups[0].attention
    assert indexer(grouped, HIDDEN, 4, 9) == Cost(0, 0, 0, 0, 0, 0, 0, 0, 0)
    sparse = grouped._replace(query_rank=7, index_heads=2, index_width=3)
    # 7*2*3 + 5*3 + 5*2 = 67 projected; a score a head and key, 3 + 1 wide; 6 + 6 + 2 values moved
    assert indexer(sparse, HIDDEN, 4, 9) == Cost(536 + 576, 0, 56, 73, 0, 0, 56, 56, 73)


def test_keys_that_serve_as_values_are_projected_once():
    own = load_model("qwen3-8b").architecture.groups[0].attention
    own = own._replace(heads=4, key_value_heads=2, key_width=3, value_width=3)
    shared = own._replace(keys_as_values=1)
    assert projections(own, HIDDEN, 4, 4, 0).weights == HIDDEN * (12 + 6 + 6 + 12)
    assert projections(shared, HIDDEN, 4, 4, 0).weights == HIDDEN * (12 + 6 + 12)
    assert projections(shared, HIDDEN, 4, 4, 0).tensor_flops == 2 * 4 * HIDDEN * (12 + 6 + 12)


def test_norm_of_values_has_no_weights():
    own = load_model("qwen3-8b").architecture.groups[0].attention
    own = own._replace(key_value_heads=2, value_width=3)
    normed = inner_norms(own._replace(value_norm=1), 4)
    assert normed.weights == inner_norms(own, 4).weights
    assert normed.cuda_flops - inner_norms(own, 4).cuda_flops == 3 * 4 * 6
    alone = own._replace(query_norm=0, key_norm=0, value_norm=1)
    assert inner_norms(alone, 4) == Cost(0, 72, 48, 0, 0, 0, 48, 48, 0)


def test_router_that_norms_costs_what_was_worked_by_hand():
    plain, normed = (router(4, HIDDEN, 7, 2, 6, 0, norms) for norms in (0, 1))
    assert plain == Cost(280, 168, 56, 35, 0, 0, 56, 36, 35)
    # 4 x (5*5 + 2) more on CUDA cores, 2*4*5 more moved, 5 + 7 scales
    assert normed == Cost(280, 168 + 108, 56 + 40, 47, 0, 0, 56 + 40, 36, 47)


@pytest.mark.parametrize(("gates", "cuda"), [(0, 0), (1, 4 * (12 + 12)), (3, 4 * (36 + 12))])
def test_gates_are_a_sigmoid_each_and_one_product_a_mixed_value(gates, cuda):
    own = load_model("qwen3-8b").architecture.groups[0].attention
    own = own._replace(heads=4, key_value_heads=2, key_width=3, value_width=3)
    gated = projections(own._replace(output_gate=gates), HIDDEN, 4, 4, 0)
    assert gated.cuda_flops == cuda
    assert gated.weights == HIDDEN * (12 + 6 + 6 + 12 + 4 * gates)


def test_latents_and_ranks_of_one_channel_are_not_none():
    own = load_model("qwen3-8b").architecture.groups[0].attention
    own = own._replace(heads=4, key_value_heads=2, key_width=3, value_width=3, rotary_width=2)
    assert (cached_values(own), projected(own)) == (12, 12 + 12)
    latent = own._replace(latent=1)
    assert (cached_values(latent), projected(latent)) == (1 + 2, 12 + 1 + 2)
    assert projected(latent._replace(query_rank=1)) == 1 + 1 + 2


@pytest.mark.parametrize(
    ("latent", "tensor_flops", "weights"),
    [(0, 720, 7 * 45), (1, 144 + 80, 7 * 9 + 10), (2, 288 + 160, 7 * 18 + 20)],
)
def test_experts_may_work_in_a_latent(latent, tensor_flops, weights):
    dense = load_model("qwen3-8b").architecture.groups[0].feed_forward
    experts = dense._replace(experts=7, experts_held=7, experts_per_token=2, expert_width=3)
    cost = routed_experts(experts._replace(expert_latent=latent), HIDDEN, 4)
    assert (cost.tensor_flops, cost.weights) == (tensor_flops, weights)


def test_gate_of_shared_experts_costs_what_was_worked_by_hand():
    dense = load_model("qwen3-8b").architecture.groups[0].feed_forward
    gate = shared_gate(dense._replace(shared_gate=1), HIDDEN, 4)
    assert gate == Cost(40, 32, 44, 5, 0, 0, 0, 0, 5)
    assert shared_gate(dense, HIDDEN, 4) == Cost(0, 0, 0, 0, 0, 0, 0, 0, 0)
