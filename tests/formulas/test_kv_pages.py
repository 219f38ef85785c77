"""Pages of vLLM's KV cache: logs of its starts, worked examples, laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepengine.data.models import load_model
from sweepengine.formulas.architecture import GATED_DELTA_NET, Group, Recurrent
from sweepengine.formulas.formats import CACHE_FORMATS, cache_bits
from sweepengine.formulas.kv_pages import (
    Pool,
    logged_tokens,
    logged_tokens_by_group,
    pages_of,
    request_bytes,
    sequence_bytes,
)
from sweepengine.formulas.layout import Layout, share_of

GIB = 2**30


def pool_of(model, tensor=1, cache="bf16", split=1):
    """The pool of a device of a tensor group."""
    arch = load_model(model).architecture
    share = share_of(arch, 0, 0, Layout(tensor, 1, 1, 1))
    return pages_of(share.groups, cache_bits(arch, CACHE_FORMATS.index(cache)), 2, 0, split)


@pytest.mark.parametrize(
    ("pool", "gib", "tokens"),
    [
        # Full attention: github.com/qweewqq/EnergyLLM, vllm_server.log, vLLM 0.11.0.
        (pool_of("llama-3.1-8b"), 19.24, 157_584),
        # A window in every other layer: github.com/TW-10519/VLLM-ROUTER, vllm.log, vLLM 0.13.0.
        (pool_of("gpt-oss-20b"), 12.94, 282_624),
        # Latents: github.com/vllm-project/recipes, Kimi-K2-Think.md, vLLM 0.11, tp8, then dcp8.
        (pool_of("kimi-k2", 8), 46.8, 715_072),
        (pool_of("kimi-k2", 8, split=8), 46.8, 5_721_088),
    ],
)
def test_a_pool_holds_the_tokens_that_logs_up_to_version_0_20_state(pool, gib, tokens):
    low, high = (logged_tokens_by_group(pool, int((gib + d) * GIB)) for d in (-0.005, 0.005))
    assert low <= tokens <= high  # the log rounds GiB to two decimals
    assert high - low < 0.002 * tokens


LAYER = load_model("llama-3.1-8b").architecture.groups[0]


def attending(layers, heads, width, window=0):
    """Layers of grouped heads."""
    own = LAYER.attention._replace(
        key_value_heads=heads, key_width=width, value_width=width, window=window
    )
    return LAYER._replace(layers=layers, attention=own)


def recurring(layers, heads, key_heads, state_bytes):
    """Layers of a gated delta net with heads of 128 x 128."""
    mixer = Recurrent(heads, key_heads, 128, 128, 4, 64, GATED_DELTA_NET, 0, 0, 1, state_bytes)
    return Group(layers, 2, LAYER.attention._replace(heads=0, key_value_heads=0),
                 LAYER.feed_forward, mixer)  # fmt: skip


QWEN3_5_9B_TP4 = pages_of([recurring(24, 8, 4, 4), attending(8, 1, 256)], 64, 2)
GEMMA_4_26B = pages_of([attending(25, 8, 256, 1024), attending(5, 2, 512)], 64, 2)


def test_recurrent_layers_raise_the_page_as_logs_state():
    # "Setting attention block size to 528 tokens" of Qwen3.5-9B; 1,056 of Qwen3.5-35B-A3B
    # (github.com/vllm-project/vllm, issues); 1,072 of Qwen3-Next in fp8 at tp2, vLLM 0.13.0.
    larger = pages_of([recurring(30, 32, 16, 4), attending(10, 2, 256)], 64, 2)
    narrow = pages_of([recurring(36, 16, 8, 0), attending(12, 1, 256)], 32, 2)
    blocks = [pool.groups[1].block_tokens for pool in (QWEN3_5_9B_TP4, larger, narrow)]
    assert blocks == [528, 1056, 1072]
    # Qwen3.5-9B at tp4 in github.com/leadawon/LAMBO, vllm_qwen35_9b.log, vLLM 0.19.0: 15.36 GiB,
    # 502,656 tokens, 57.74 requests of 32,768.
    pool_bytes = int(15.355 * GIB)
    assert logged_tokens_by_group(QWEN3_5_9B_TP4, pool_bytes) == 502_656
    blocks = pool_bytes // QWEN3_5_9B_TP4.block_bytes * QWEN3_5_9B_TP4.block_bytes
    requests = blocks / request_bytes(QWEN3_5_9B_TP4, 32_768, 2048)
    assert round(requests, 2) == 57.74


def test_pages_of_two_widths_are_unified_and_later_logs_count_requests():
    # Gemma-4-26B-A4B in github.com/sostrowsk/dgx-spark-local-llm, gemma4-nvfp4.log, vLLM 0.25.1:
    # 84.68 GiB, 3,912,140 tokens, max_model_len 262,144, chunks of 2,496 tokens.
    assert [group.block_tokens for group in GEMMA_4_26B.groups] == [16, 32]
    low, high = (
        logged_tokens(GEMMA_4_26B, int((84.68 + d) * GIB), 262_144, 2_496) for d in (-0.005, 0.005)
    )
    assert low <= 3_912_140 <= high < 1.001 * low


def test_layers_with_entries_are_packed_as_a_log_states():
    # DeepSeek-V4-Flash of 262,144 tokens, 16,384 in flight: 29.5 kB a token in vLLM's log.
    pool = pool_of("deepseek-v4-flash", cache="fp8")
    assert pool.block_bytes == 21 * (37_440 + 8_640) + 20 * 1_728
    assert round(request_bytes(pool, 262_144, 16_384) / 262_144, -2) == 29_500
    assert [tuple(group) for group in pool.groups] == [
        (2, 64, 128, 0), (1, 256, 0, 0), (1, 4, 8, 0), (1, 8, 128, 0)
    ]  # fmt: skip


def test_a_latent_that_an_indexer_chooses_from_takes_the_bytes_of_its_kernels():
    # GLM-5.1 in fp8: 656 + 132 bytes a token and layer; GLM-5 in bf16: 1,152 + 132.
    chosen = LAYER.attention._replace(latent=512, rotary_width=64, index_heads=32, index_width=128)
    for cache, expected in ((32, 788), (64, 1_284)):
        pool = pages_of([LAYER._replace(layers=78, attention=chosen)], cache, 2)
        assert pool.block_bytes == 64 * 78 * expected


@pytest.mark.parametrize(("full", "windowed", "each"), [(10, 52, 10), (12, 13, 13), (12, 18, 12)])
def test_the_kind_with_fewest_layers_sets_a_group_unless_all_are_about_as_many(
    full, windowed, each
):
    pool = pages_of([attending(windowed, 8, 128, 1024), attending(full, 8, 128)], 64, 2)
    assert pool.block_bytes == each * 16 * 8 * 256 * 2
    assert [group.groups for group in pool.groups] == [-(-windowed // each), -(-full // each)]


def test_pages_that_do_not_divide_the_largest_are_padded():
    pool = pages_of([attending(8, 3, 128, 1024), attending(8, 8, 128)], 64, 2)
    assert pool.block_bytes == 8 * 16 * 8 * 256 * 2
    assert [group.block_tokens for group in pool.groups] == [16, 16]


POOLS = [QWEN3_5_9B_TP4, GEMMA_4_26B, pool_of("deepseek-v4-flash", cache="fp8"),
         pool_of("kimi-k2", 8, split=8), pool_of("llama-3.1-8b")]  # fmt: skip


@given(st.sampled_from(POOLS), st.integers(1, 300_000), st.integers(1, 300_000))
def test_sequences_take_whole_blocks_and_no_more_than_is_reserved(pool, tokens, more):
    taken = sequence_bytes(pool, tokens)
    assert taken % pool.block_bytes == 0
    assert 0 < taken <= request_bytes(pool, tokens, 1)
    assert taken <= sequence_bytes(pool, tokens + more)
    assert request_bytes(pool, tokens, more) <= request_bytes(pool, tokens, more, 2)


@given(st.sampled_from(POOLS), st.lists(st.integers(1, 300_000), min_size=1, max_size=9))
def test_arrays_give_what_numbers_give(pool, tokens):
    array, pool_bytes = np.array(tokens), 40 * GIB
    assert sequence_bytes(pool, array).tolist() == [sequence_bytes(pool, n) for n in tokens]
    assert request_bytes(pool, array, 8_192).tolist() == [
        request_bytes(pool, n, 8_192) for n in tokens
    ]
    assert logged_tokens(pool, pool_bytes, array, 8_192).tolist() == [
        logged_tokens(pool, pool_bytes, n, 8_192) for n in tokens
    ]


def test_a_model_without_a_kv_cache_takes_no_pool():
    none = LAYER._replace(attention=LAYER.attention._replace(heads=0, key_value_heads=0))
    assert pages_of([none], 64, 2) == Pool(0, (), 1)
    assert sequence_bytes(Pool(0, (), 1), 100) == 0


@pytest.mark.parametrize("name", ["deepseek-v4-pro", "gemma-3-27b", "gpt-oss-20b", "qwen3.5-9b"])
def test_a_pipeline_stage_without_layers_of_a_kind_has_no_pages_of_it(name):
    arch = load_model(name).architecture
    first, *others = arch.groups
    bf16 = cache_bits(arch, CACHE_FORMATS.index("bf16"))
    some = (first, *(group._replace(layers=0) for group in others))
    assert pages_of(some, bf16, 2) == pages_of((first,), bf16, 2)
