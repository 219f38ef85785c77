"""Bytes of a KV cache of transformers."""

from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache

from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.attention import attended_values, cached_values
from sweepengine.formulas.cached import token_quarters
from sweepengine.formulas.figures import QUARTERS

VALUE_BYTES = 2


def cache_bytes(body: Any, cache: DynamicCache | EncoderDecoderCache) -> int:
    """Bytes of all distinct tensors in a KV cache, at two bytes per value.

    MiniMax keeps states beside the layers of its cache, RecurrentGemma in its modules (`body`).
    """
    modules = [
        [vars(module).get(name) for name in ("conv1d_state", "recurrent_states")]
        for module in body.modules()
    ]
    caches = [cache]
    if isinstance(cache, EncoderDecoderCache):
        caches = [cache.self_attention_cache, cache.cross_attention_cache]
    layers = [list(vars(layer).values()) for each in caches for layer in each.layers]
    values = 0
    for held in [*layers, *modules, getattr(cache, "linear_cache", [])]:
        tensors = {id(t): t for part in held for t in _tensors(part)}
        values += sum(tensor.numel() for tensor in tensors.values())
    return VALUE_BYTES * values


def _tensors(part: Any) -> list[torch.Tensor]:
    """The tensors of more than one dimension in an attribute: itself, or values of a dict."""
    parts = part.values() if isinstance(part, dict) else [part]
    return [value for value in parts if isinstance(value, torch.Tensor) and value.dim() > 1]


def kept_by_torch(arch: Architecture, kept: int, tokens: int, config: Any) -> int:
    """Bytes of a KV cache at two bytes a value, as transformers keeps it.

    It keeps keys of indexers in two bytes too, where serving engines take fp8, and keys and values
    of the newer Falcons once for each query head.

    Parameters
    ----------
    arch : Architecture
    kept : int
        Bytes that serving engines keep.
    tokens : int
        Tokens of all sequences.
    config : PreTrainedConfig
        Of the decoder.
    """
    size = arch.convention.dtype_bytes
    repeats = config.model_type == "falcon" and config.new_decoder_architecture
    more = 0
    for group in arch.groups:
        attention = group.attention
        values = cached_values(attention)
        if repeats:
            of_a_head = attended_values(attention) // attention.key_value_heads
            values += (attention.heads - attention.key_value_heads) * of_a_head
        quarters = token_quarters(attention, size * QUARTERS)
        more += group.layers * (values * size * QUARTERS - quarters)
    return (kept + tokens * more // QUARTERS) * VALUE_BYTES // size
