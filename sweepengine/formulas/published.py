"""The layers of the published tables, each stated as a composition of operators.

They are what `validate` compares with torch, and what people look for by name. Each takes the
architecture and its own sizes, and counts what the model's accounting counts.
"""

from collections.abc import Callable
from typing import NamedTuple

from sweepengine.formulas.architecture import FLASH, Architecture, Group
from sweepengine.formulas.attention import rotary, score_values, with_heads
from sweepengine.formulas.cost import (
    NOTHING,
    Cost,
    add,
    counted,
    total,
)
from sweepengine.formulas.gemms import mlp_gemms
from sweepengine.formulas.layers import (
    Ends,
    Layer,
    decoder_ends,
    decoder_layer,
)
from sweepengine.formulas.operators import mlp, rms_norm
from sweepengine.formulas.phases import attention_peak, feed_forward_peak
from sweepengine.formulas.published_vision import VISION_LAYERS
from sweepengine.formulas.tokens import LayerPass

Heads = tuple[int, int, int]
"""Attention heads, key-value heads, attention code."""


def own_heads(arch: Architecture, attention: int = FLASH) -> Heads:
    """Heads of a model's own."""
    own = arch.groups[-1].attention
    return own.heads, own.key_value_heads, attention


_TUPLES: dict[str, type[NamedTuple]] = {"layer": Layer, "ends": Ends}


def _only(arch: Architecture, kind: str, **operators: Cost) -> Cost:
    """Some operators of a kind together, as counted; their values are alive side by side."""
    fields = _TUPLES[kind]._fields
    found = NOTHING
    for name, cost in operators.items():
        found = add(found, counted(cost, getattr(arch.counts, kind)[fields.index(name)]))
    return found._replace(activation_peak=sum(c.activation_peak for c in operators.values()))


def _seen(tokens: int, keys: int, flash: int) -> LayerPass:
    return LayerPass(tokens=tokens, cached=0, keys=keys, entries=0, flash=flash, absorbed=0)


def _layer(arch: Architecture, group: Group, tokens: int, keys: int, flash: int) -> Layer:
    return decoder_layer(group, arch.backbone, _seen(tokens, keys, flash))


def deepseek_v2_mlp(arch: Architecture, tokens: int, width: int) -> Cost:
    """DeepseekV2MLP, a SwiGLU of inner `width`."""
    return _only(arch, "layer", mlp=mlp(tokens, mlp_gemms(width, arch.backbone.hidden, 3), 4, 0))


def moe_gate(arch: Architecture, tokens: int) -> Cost:
    """MoEGate, the router."""
    return _only(arch, "layer", router=_layer(arch, arch.groups[-1], tokens, 1, FLASH).router)


def routed_experts(arch: Architecture, tokens: int) -> Cost:
    """The routed experts alone."""
    return _only(arch, "layer", routed=_layer(arch, arch.groups[-1], tokens, 1, FLASH).routed)


def deepseek_v2_moe(arch: Architecture, tokens: int) -> Cost:
    """DeepseekV2MoE: router, routed experts, shared experts."""
    layer = _layer(arch, arch.groups[-1], tokens, 1, FLASH)
    stream = tokens * arch.backbone.hidden
    peak = feed_forward_peak(layer, stream, 0) - stream
    parts = {"router": layer.router, "routed": layer.routed, "mlp": layer.mlp}
    return _only(arch, "layer", **parts)._replace(activation_peak=peak)


def deepseek_v2_rms_norm(arch: Architecture, tokens: int) -> Cost:
    """DeepseekV2RMSNorm."""
    return _only(arch, "layer", norms=rms_norm(tokens, arch.backbone.hidden))


def _decoder_layer(arch: Architecture, group: Group, tokens: int, keys: int, heads: Heads) -> Cost:
    own = group._replace(attention=with_heads(group.attention, *heads[:2]))
    # Its rotary angles are a layer of their own in the published table.
    backbone = arch.backbone._replace(angle_products=0)
    layer = decoder_layer(own, backbone, _seen(tokens, keys, heads[2]))
    stream = tokens * arch.backbone.hidden
    scores = score_values(heads[0], tokens, keys, heads[2])
    peak = max(attention_peak(layer, stream), feed_forward_peak(layer, stream, scores))
    return total(layer, arch.counts.layer)._replace(activation_peak=peak)


def decoder_layer_dense(
    arch: Architecture, tokens: int, keys: int, width: int, heads: Heads
) -> Cost:
    """DeepseekV2DecoderLayer with one DeepseekV2MLP of inner `width`."""
    forward = arch.groups[-1].feed_forward._replace(
        width=width, experts=0, experts_per_token=0, expert_width=0, experts_held=0
    )
    group = arch.groups[-1]._replace(feed_forward=forward)
    return _decoder_layer(arch, group, tokens, keys, heads)


def decoder_layer_moe(arch: Architecture, tokens: int, keys: int, heads: Heads) -> Cost:
    """DeepseekV2DecoderLayer with a DeepseekV2MoE: the group of the last layer."""
    return _decoder_layer(arch, arch.groups[-1], tokens, keys, heads)


def llama_attention(arch: Architecture, tokens: int, keys: int, heads: Heads) -> Cost:
    """Attention of the decoder: projections, rotation, core; flash as `heads` says."""
    group = arch.groups[-1]
    own = group._replace(attention=with_heads(group.attention, *heads[:2]))
    backbone = arch.backbone._replace(angle_products=0)
    layer = decoder_layer(own, backbone, _seen(tokens, keys, heads[2]))
    parts = {name: getattr(layer, name) for name in ("projections", "rotary", "attention")}
    return _only(arch, "layer", **parts)


def llama_eager(arch: Architecture, tokens: int, keys: int, heads: Heads) -> Cost:
    """LlamaAttention: eager, the score matrix is written out."""
    return llama_attention(arch, tokens, keys, (*heads[:2], 0))


def llama_flash(arch: Architecture, tokens: int, keys: int, heads: Heads) -> Cost:
    """LlamaFlashAttention2: the same FLOPs, no score matrix."""
    return llama_attention(arch, tokens, keys, (*heads[:2], 1))


def llama_rotary_embedding(arch: Architecture, tokens: int, heads: Heads) -> Cost:
    """LlamaRotaryEmbedding: the angles alone, a matrix multiplication."""
    attention = with_heads(arch.groups[-1].attention, *heads[:2])
    return rotary(attention, tokens, arch.backbone.angle_products)._replace(cuda_flops=0)


def final_norm(arch: Architecture, tokens: int) -> Cost:
    """The RMSNorm before the head."""
    return _only(arch, "ends", final_norm=decoder_ends(arch.backbone, tokens).final_norm)


def token_embedding(arch: Architecture) -> Cost:
    """The token table."""
    return _only(arch, "ends", embedding=decoder_ends(arch.backbone, 1).embedding)


def lm_head(arch: Architecture, tokens: int) -> Cost:
    """LMHead."""
    return _only(arch, "ends", head=decoder_ends(arch.backbone, tokens).head)


PUBLISHED_LAYERS: dict[str, Callable[..., Cost]] = VISION_LAYERS | {
    "DeepseekV2MLP": deepseek_v2_mlp,
    "MoEGate": moe_gate,
    "DeepseekV2MoE": deepseek_v2_moe,
    "DeepseekV2RMSNorm": deepseek_v2_rms_norm,
    "DeepseekV2DecoderLayer_dense": decoder_layer_dense,
    "DeepseekV2DecoderLayer_moe": decoder_layer_moe,
    "LMHead": lm_head,
    "LlamaAttention": llama_eager,
    "LlamaFlashAttention2": llama_flash,
    "LlamaRotaryEmbedding": llama_rotary_embedding,
}
"""Published layer name to the function that costs it."""
