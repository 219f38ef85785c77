"""Bytes of cached tokens beside an indexer, and of those that devices share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweepengine as se
from sweepengine.data.models import load_model
from sweepengine.formulas.attention import cached_values
from sweepengine.formulas.cached import (
    attended_quarters,
    growth_quarters,
    index_bytes,
    read_quarters,
    share_quarters,
    token_quarters,
)
from sweepengine.formulas.kv_pages import pages_of

PLAIN = load_model("llama-3.1-8b").architecture.groups[0]
CHOSEN = PLAIN.attention._replace(latent=512, rotary_width=64, index_heads=32, index_width=128)


@pytest.mark.parametrize(("width", "expected"), [(1, 5), (128, 132), (129, 137), (256, 264)])
def test_an_indexers_key_has_a_scale_for_each_128_values(width, expected):
    assert index_bytes(width) == expected


@pytest.mark.parametrize(("latent", "expected"), [(512, 656), (513, 661), (128, 260)])
def test_a_chosen_latent_in_eight_bits_keeps_its_rotated_part_in_bf16(latent, expected):
    assert attended_quarters(CHOSEN._replace(latent=latent), 32) == 32 * expected


@pytest.mark.parametrize(("cache", "expected"), [(64, 1_284), (32, 788), (18, 324 + 132)])
def test_an_indexers_key_stays_in_fp8_whatever_the_format(cache, expected):
    assert token_quarters(CHOSEN, cache) == 32 * expected
    assert growth_quarters(CHOSEN, cache) == 32 * expected
    borrowed = CHOSEN._replace(borrowed_cache=1)
    assert token_quarters(borrowed, cache) == 32 * 132
    assert read_quarters(CHOSEN, 7 * cached_values(CHOSEN), cache) == 7 * 32 * expected


@given(st.sampled_from([18, 32, 64]), st.integers(1, 99))
def test_other_tokens_are_their_values_in_the_format(cache, tokens):
    values = cached_values(PLAIN.attention)
    assert token_quarters(PLAIN.attention, cache) == values * cache
    assert read_quarters(PLAIN.attention, tokens * values, cache) == tokens * values * cache
    shared = PLAIN.attention._replace(cache_devices=8)
    assert share_quarters(shared, cache) == values * cache // 8
    assert share_quarters(PLAIN.attention, cache) == values * cache


def test_entries_have_a_scale_for_each_64_values():
    entries = load_model("deepseek-v4-flash").architecture.groups[0]
    wide = entries.attention._replace(stride=128, key_width=195, rotary_width=0)
    pool = pages_of([entries._replace(attention=wide)], 32, 2)
    assert pool.block_bytes == entries.layers * 23 * 576  # 64 x (195 + 4) bytes, rounded up


def test_points_hold_the_bytes_of_vllms_kernels():
    # GLM-5.1: 788 bytes a token and layer in fp8; GLM-5: 1,284 in bf16. DeepSeek-V3 has no indexer.
    chosen = load_model("deepseek-v3")
    arch = chosen.architecture
    groups = tuple(
        group._replace(
            attention=group.attention._replace(index_heads=64, index_width=128, index_keys=2048)
        )
        for group in arch.groups
    )
    model = chosen._replace(architecture=arch._replace(groups=groups))
    for cache, expected in (("fp8", 788), ("bf16", 1_284)):
        cost = se.cost(model, prompt_tokens=10, decode_steps=2, cache_format=cache)
        assert cost["prefill_kv_cache_bytes"] == cost["prefill_kv_io_bytes"] == 61 * 10 * expected
        assert cost["decode_kv_cache_bytes"] == 61 * 12 * expected
        assert cost["decode_kv_io_bytes"] == 61 * (11 + 12) * expected
