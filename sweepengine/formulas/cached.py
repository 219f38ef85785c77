"""Bytes of cached tokens as serving engines lay them out (docs/memory.md, "KV cache").

A cached value has as many bits as the format of the KV cache says, except beside an indexer: a
latent that it chooses from keeps its rotated part in 2 bytes and a scale for each 128 values, and
the indexer's own keys are in fp8 whatever the format (vLLM: `fp8_ds_mla`, 656 bytes of a latent of
512 + 64 values; `flashmla_sparse.py`, `indexer.py`).
"""

from sweepengine.formulas.architecture import Attention
from sweepengine.formulas.attention import attended_values, cached_values, chooses, entry_values
from sweepengine.formulas.cost import formula
from sweepengine.formulas.figures import QUARTERS
from sweepengine.formulas.tokens import ceil_div

SCALED_VALUES = 128
"""Values that one scale is for."""
SCALE_BYTES = 4
ROTATED_BYTES = 2
"""Of a rotated value of such a latent, bf16 in an 8-bit KV cache too."""


@formula
def index_bytes(width: int) -> int:
    """Bytes of an indexer's key of d values: fp8 and scales, `d + 4*ceil(d/128)`."""
    return width + SCALE_BYTES * ceil_div(width, SCALED_VALUES)


@formula
def attended_quarters(attention: Attention, cache: int) -> int:
    """Quarter bits of a token's keys and values in one layer, without an indexer's key.

    A latent that an indexer chooses from in 8 bits: `c + 4*ceil(c/128) + 2*r` bytes.
    """
    if chooses(attention) > 0 and cache == QUARTERS:
        scales = SCALE_BYTES * ceil_div(attention.latent, SCALED_VALUES)
        return QUARTERS * (attention.latent + scales + ROTATED_BYTES * attention.rotary_width)
    return attended_values(attention) * cache


@formula
def token_quarters(attention: Attention, cache: int) -> int:
    """Quarter bits that the KV cache of one layer holds of a token, an indexer's key among them."""
    if chooses(attention) > 0:
        latent = (1 - attention.borrowed_cache) * attended_quarters(attention, cache)
        return latent + QUARTERS * index_bytes(attention.index_width)
    return cached_values(attention) * cache


@formula
def share_quarters(attention: Attention, cache: int) -> int:
    """Quarter bits of a token on one device, of those that share its tokens: the mean."""
    return ceil_div(token_quarters(attention, cache), attention.cache_devices)


@formula
def read_quarters(attention: Attention, values: int, cache: int) -> int:
    """Quarter bits of cached values that a layer reads or writes, whole tokens where one is mixed.

    Parameters
    ----------
    attention : Attention
        Of the layer.
    values : int
        Cached values, as `attention_core` counts them.
    cache : int
        Quarter bits of a cached value.
    """
    if chooses(attention) > 0:
        index = QUARTERS * index_bytes(attention.index_width)
        tokens = values // (attended_values(attention) + attention.index_width)
        return tokens * (attended_quarters(attention, cache) + index)
    return values * cache


@formula
def growth_quarters(attention: Attention, cache: int) -> int:
    """Quarter bits that the KV cache of one layer grows by a token while no window is full.

    An entry counts for the tokens that it stands for, in equal parts.
    """
    entries = ceil_div(entry_values(attention), max(attention.stride, 1))
    return token_quarters(attention, cache) + entries * cache
