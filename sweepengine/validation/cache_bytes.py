"""Bytes of a KV cache of transformers."""

from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache

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
