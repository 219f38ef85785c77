"""Layers beside attention, their figures worked by hand from the docstrings' formulas."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.architecture import (
    GATED_DELTA_NET,
    KIMI_DELTA_ATTENTION,
    LIGHTNING_ATTENTION,
    MAMBA_1,
    MAMBA_2,
    NO_RECURRENT,
    RG_LRU,
    SHORT_CONVOLUTION,
    Recurrent,
)
from sweepengine.formulas.attention import (
    attention_core,
    cached_values,
    compressor,
    entry_values,
    indexer,
    inner_norms,
    projections,
    rotary,
)
from sweepengine.formulas.cached import growth_quarters
from sweepengine.formulas.cost import Cost
from sweepengine.formulas.experts import routed_experts, shared_gate
from sweepengine.formulas.gemms import (
    indexer_query,
    into_attention,
    out_of_attention,
    recurrent_gemms,
)
from sweepengine.formulas.layers import (
    decoder_ends,
    decoder_layer,
    hyper_connection,
)
from sweepengine.formulas.operators import router
from sweepengine.formulas.recurrent import recurrent_layer, state_values
from tests.points import layer_pass

HIDDEN = 5


def projected(attention):
    """Values a token that the hidden state is projected to, gates left out."""
    into = into_attention(attention, HIDDEN)
    return into.query.rows + into.key.rows + into.value.rows + into.latent.rows


DELTA = Recurrent(heads=2, key_heads=1, key_width=3, value_width=4, convolution=4, chunk=64,
                  kind=GATED_DELTA_NET, rank=0, bias=0, inner_norm=1)  # fmt: skip
"""14 channels of convolution; 5 x (14 + 16 + 4) = 170 projected; tables 14*4 + 2*2 + 4."""
MAMBA = DELTA._replace(chunk=8, kind=MAMBA_2)
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


SELECTIVE = Recurrent(6, 0, 2, 1, 4, 0, MAMBA_1, 3, 0, 0)
"""5*12 + 6*7 + 6*3 + 6*5 = 150 projected; 6*4 taps; tables 6*2 + 3*6."""
CONVOLUTION = Recurrent(5, 0, 0, 1, 3, 0, SHORT_CONVOLUTION, 0, 0, 1)
"""5*15 + 25 = 100 projected; 5*3 taps."""
KIMI = Recurrent(2, 2, 3, 3, 4, 4, KIMI_DELTA_ATTENTION, 3, 0, 1)
"""5*(18 + 2 + 6) + 12*3 + 6*5 = 196 projected, whole gates 190; 18*4 taps; tables 6 + 2 + 3."""
LIGHTNING = Recurrent(2, 2, 3, 3, 0, 4, LIGHTNING_ATTENTION, 0, 0, 1)
"""5*24 + 6*5 = 150 projected; tables 6."""
UNIT = Recurrent(2, 0, 1, 3, 4, 0, RG_LRU, 0, 1, 1)
"""5*12 + 12*3 + 6*5 = 126 projected, 12 + 5 biases; 6*4 taps; tables 4*6."""


@pytest.mark.parametrize(
    ("recurrent", "tokens", "cached", "tensor", "cuda", "moved", "weights", "state"),
    [
        (SELECTIVE, 10, 0, 3_000 + 624 + 240, 720, 410, 204, 36),
        (SELECTIVE, 1, 9, 300 + 96 + 24, 72, 41, 204, 36),
        (SELECTIVE._replace(inner_norm=1, bias=1), 1, 9, 420, 72, 41, 204 + 7 + 12 + 5, 36),
        (CONVOLUTION, 10, 0, 2_000 + 360, 100, 300, 115, 15),
        (CONVOLUTION._replace(bias=1), 10, 0, 2_000 + 360, 100, 300, 115 + 25, 15),
        (KIMI, 5, 0, 1_960 + 1_152 + 2_016, 1_152, 260, 279, 90),  # two chunks, 8 columns
        (KIMI._replace(rank=0), 1, 9, 380 + 288, 126, 46, 273, 90),
        (LIGHTNING, 10, 0, 3_000 + 1_584, 54, 400, 156, 18),  # blocks of 4, 4 and 2
        (LIGHTNING, 3, 9, 900 + 216, 54, 120, 156, 18),
        (UNIT, 10, 0, 2_520 + 624, 120, 400, 191, 24),
        (UNIT, 10, 9, 2_520 + 624, 120, 400, 191, 24),
        (UNIT, 1, 9, 252, 12 + 48, 40, 191, 24),
    ],
)
def test_other_mixers_cost_what_was_worked_by_hand(
    recurrent, tokens, cached, tensor, cuda, moved, weights, state
):
    expected = Cost(tensor, cuda, moved, weights, 0, 2 * state, moved, moved, weights)
    assert recurrent_layer(recurrent, HIDDEN, tokens, cached) == expected
    assert state_values(recurrent) == state


def test_mixed_values_without_a_norm_have_fewer_weights():
    plain = recurrent_layer(MAMBA._replace(inner_norm=0), HIDDEN, 10, 0)
    assert plain.weights == recurrent_layer(MAMBA, HIDDEN, 10, 0).weights - 8


def test_layers_without_a_recurrent_mixer_cost_nothing():
    assert recurrent_layer(NO_RECURRENT, HIDDEN, 10, 3) == Cost(0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_indexer_costs_what_was_worked_by_hand():
    grouped = load_model("qwen3-8b").architecture.groups[0].attention
    assert indexer(grouped, HIDDEN, 4, 9, 0) == Cost(0, 0, 0, 0, 0, 0, 0, 0, 0)
    sparse = grouped._replace(query_rank=7, index_heads=2, index_width=3)
    # 7*2*3 + 5*3 + 5*2 = 67 projected; a score a head and key, 3 + 1 wide; 6 + 6 + 2 values moved
    assert indexer(sparse, HIDDEN, 4, 9, 0) == Cost(536 + 576, 0, 56, 73, 0, 0, 56, 56, 73)


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
    normed = inner_norms(own._replace(value_norm=1), 4, 3, 1)
    assert normed.weights == inner_norms(own, 4, 3, 1).weights
    assert normed.cuda_flops - inner_norms(own, 4, 3, 1).cuda_flops == 3 * 4 * 6
    alone = own._replace(query_norm=0, key_norm=0, value_norm=1)
    assert inner_norms(alone, 4, 3, 1) == Cost(0, 72, 48, 0, 0, 0, 48, 48, 0)


def test_router_that_norms_costs_what_was_worked_by_hand():
    plain, normed = (router(4, HIDDEN, 7, 2, 6, 0, norms, 0) for norms in (0, 1))
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


NONE = Cost(0, 0, 0, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("mixer", [DELTA, MAMBA, SELECTIVE, CONVOLUTION, KIMI, LIGHTNING, UNIT])
def test_matrices_of_a_recurrent_layer_run_one_after_the_other(mixer):
    assert not any(gemm.fused for gemm in recurrent_gemms(mixer, HIDDEN))


def test_queries_of_an_indexer_come_from_a_rank_of_one_too(entries):
    assert indexer_query(entries._replace(query_rank=1), HIDDEN) == (12, 1, 0)
    assert indexer_query(entries._replace(query_rank=0), HIDDEN) == (12, HIDDEN, 0)


@pytest.fixture
def entries():
    """A window of 8, and an entry each 4 tokens of which an indexer picks."""
    own = load_model("qwen3-8b").architecture.groups[0].attention
    return own._replace(
        heads=4, key_value_heads=1, key_width=3, value_width=3, rotary_width=2, window=8,
        query_rank=7, query_norm=0, key_norm=3, query_unit=1, shared_cache=1, output_rank=2,
        output_groups=2, stride=4, series=2, index_heads=2, index_width=6,
    )  # fmt: skip


def test_indexer_whose_heads_are_not_weighted_costs_what_was_worked_by_hand():
    own = load_model("qwen3-8b").architecture.groups[0].attention
    blocks = own._replace(index_heads=2, index_width=3, index_weighted=0)
    # 5*2*3 + 5*3 = 45 projected out of the hidden state; a score a head and key, 3 wide
    found = indexer(blocks, HIDDEN, 4, 9, 0)
    assert found == Cost(360 + 432, 0, 56, 51, 0, 0, 56, 56, 51)


def test_entries_are_made_of_values_and_gates(entries):
    assert compressor(entries._replace(stride=0), 3, HIDDEN, 9) == NONE
    # 2 series of 3: 5 x 12 projected, a bias of 4 x 6, a norm of 3; CUDA 8 x 9 x 6
    both = compressor(entries, 3, HIDDEN, 9)
    assert both == Cost(1_080, 432, 9 * 17, 87, 0, 0, 9 * 17, 9 * 17, 87)
    # of one series half, but for the norm
    one = compressor(entries._replace(series=1), 3, HIDDEN, 9)
    assert one == Cost(540, 216, 9 * 11, 45, 0, 0, 9 * 11, 9 * 11, 45)


def test_indexer_of_entries_makes_their_keys_itself(entries):
    own = compressor(entries, 6, HIDDEN, 9)
    # 7*2*6 + 5*2 = 94 projected; 9 x 50 scores of 2 heads, summed element-wise
    found = indexer(entries, HIDDEN, 9, 1_000, 50)
    assert found.weights == 94 + own.weights
    assert found.tensor_flops == 2 * 9 * 94 + 2 * 9 * 50 * 2 * 6 + own.tensor_flops
    assert found.cuda_flops == 2 * 9 * 50 * 2 + own.cuda_flops
    assert found.activation_io == 9 * (12 + 12 + 2) + own.activation_io


def test_attention_meets_entries_beside_its_window(entries):
    assert (cached_values(entries), entry_values(entries)) == (3, 3 + 6)
    assert growth_quarters(entries, 1) == 3 + 3  # 9 an entry, 4 tokens each
    assert entry_values(entries._replace(stride=0)) == 0
    assert entry_values(entries._replace(index_heads=0)) == 3
    assert cached_values(entries._replace(stride=0)) == 3 + 6
    found = attention_core(entries, 2, 8, 50, 0, 0)
    assert found.tensor_flops == 2 * 4 * 2 * 58 * 6
    assert found.cuda_flops == 5 * 4 * 2 * 58
    assert found.kv_io == 8 * 3 + 50 * 9
    assert found.activation_io == 2 * (12 + 3 + 7) + 2 * 4 * 2 * 58


def test_queries_of_a_rank_and_outputs_of_groups_are_projected_twice(entries):
    assert projected(entries) == 7 + 3
    # down 5 x 10, up 7 x 12, out 12 x 2 in groups and 2*2 x 5
    found = projections(entries, HIDDEN, 4, 8, 0)
    assert found.weights == 50 + 84 + 24 + 20
    assert found.tensor_flops == 2 * 4 * found.weights
    # one group of rank 2 takes all 12 mixed values
    assert out_of_attention(entries._replace(output_groups=1), HIDDEN).grouped == (2, 12, 0)


def test_keys_that_are_values_are_rotated_back(entries):
    assert rotary(entries, 9, 0).cuda_flops == 3 * 9 * (4 + 4 + 1) * 2
    assert rotary(entries._replace(shared_cache=0), 9, 0).cuda_flops == 3 * 9 * (4 + 1) * 2


def test_norm_of_queries_may_have_no_weights(entries):
    found = inner_norms(entries, 9, 3, 1)
    assert found == Cost(0, 3 * 198, 396, 3 + 7, 0, 0, 396, 396, 10)
    less = inner_norms(entries._replace(query_unit=0), 9, 3, 1)
    assert found.cuda_flops - less.cuda_flops == 3 * 9 * 12


@pytest.mark.parametrize(
    ("streams", "rounds", "expected"),
    [
        (0, 0, NONE),
        # 8 mixes out of 10 values each, 80 + 8 + 3 weights; 2*9*(80 + 20); CUDA 9*(80 + 4*(12+5))
        (2, 3, Cost(1_800, 1_332, 360, 91, 0, 0, 360, 360, 91)),
    ],
)
def test_hyper_connection_costs_what_was_worked_by_hand(streams, rounds, expected):
    backbone = load_model("qwen3-8b").architecture.backbone
    mixed = backbone._replace(hidden=HIDDEN, streams=streams, stream_rounds=rounds)
    assert hyper_connection(mixed, 9) == expected
    # they collapse before the head: 2 x 10 weights, a bias each, a scale
    collapsed = decoder_ends(mixed, 9).collapse
    assert collapsed.weights == (23 if streams else 0)
    assert collapsed.tensor_flops == (360 if streams else 0)
    assert (collapsed.cuda_flops, collapsed.activation_io) == ((450, 135) if streams else (0, 0))


def test_streams_are_mixed_around_both_branches_instead_of_added_to():
    arch = load_model("qwen3-8b").architecture
    group, backbone = arch.groups[0], arch.backbone._replace(streams=2, stream_rounds=3)
    layer = decoder_layer(group, backbone, layer_pass(9, 9))
    once = hyper_connection(backbone, 9)
    assert layer.residuals.cuda_flops == 0
    assert layer.streams.weights == 2 * once.weights
    assert layer.streams.tensor_flops == 2 * once.tensor_flops
    unmixed = group._replace(attention=group.attention._replace(heads=0))
    alone = decoder_layer(unmixed, backbone, layer_pass(9, 9))
    assert alone.streams.weights == once.weights
