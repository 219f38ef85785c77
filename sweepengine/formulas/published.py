"""The layers of the published tables, each stated as a composition of operators.

They are what `validate` compares with torch, and what people look for by name. Each takes the
architecture and its own sizes, and counts what the model's accounting counts.
"""

from collections.abc import Callable
from typing import NamedTuple

from sweepengine.formulas.architecture import FLASH, Architecture, Group
from sweepengine.formulas.attention import rotary, score_values, with_heads
from sweepengine.formulas.clip import (
    ClipBlock,
    ClipEnds,
    clip_block,
    clip_block_peak,
    clip_ends,
    mlp_projector,
    patch_convolution,
)
from sweepengine.formulas.cost import NOTHING, Cost, add, counted, scaled, total
from sweepengine.formulas.gemms import mlp_gemms
from sweepengine.formulas.layers import (
    Ends,
    Layer,
    attention_peak,
    decoder_ends,
    decoder_layer,
    feed_forward_peak,
)
from sweepengine.formulas.operators import mlp, rms_norm
from sweepengine.formulas.sam import (
    SamBlock,
    SamEnds,
    layer_norm_2d,
    relative_positions,
    sam_attention,
    sam_block,
    sam_block_peak,
    sam_ends,
    sam_projections,
)
from sweepengine.formulas.tokens import LayerPass
from sweepengine.formulas.vision import Joins, view, view_peak

Heads = tuple[int, int, int]
"""Attention heads, key-value heads, attention code."""


def own_heads(arch: Architecture, attention: int = FLASH) -> Heads:
    """Heads of a model's own."""
    own = arch.groups[-1].attention
    return own.heads, own.key_value_heads, attention


_TUPLES: dict[str, type[NamedTuple]] = {
    "layer": Layer, "ends": Ends, "sam_ends": SamEnds, "sam_block": SamBlock,
    "clip_ends": ClipEnds, "clip_block": ClipBlock, "joins": Joins,
}  # fmt: skip


def _only(arch: Architecture, kind: str, **operators: Cost) -> Cost:
    """Some operators of a kind together, as counted; their values are alive side by side."""
    fields = _TUPLES[kind]._fields
    found = NOTHING
    for name, cost in operators.items():
        found = add(found, counted(cost, getattr(arch.counts, kind)[fields.index(name)]))
    return found._replace(activation_peak=sum(c.activation_peak for c in operators.values()))


def patch_embed(arch: Architecture, side: int) -> Cost:
    """PatchEmbed on a view of `side` pixels."""
    towers = arch.vision
    ends = sam_ends(towers.image, towers.sam, side)
    return _only(arch, "sam_ends", patches=ends.patches)


def attention(arch: Architecture, windows: int, edge: int, flash: int) -> Cost:
    """Attention of SAM over b windows: projections, relative positions, core."""
    sam = arch.vision.sam
    return _only(
        arch,
        "sam_block",
        projections=sam_projections(sam, windows * edge * edge),
        positions=relative_positions(sam, windows, edge),
        attention=sam_attention(sam, windows, edge, flash),
    )


def mlp_block(arch: Architecture, tokens: int) -> Cost:
    """MLPBlock of SAM."""
    sam = arch.vision.sam
    return _only(
        arch, "sam_block", mlp=mlp(tokens, mlp_gemms(sam.mlp_width, sam.width, 2), 4, sam.bias)
    )


def block(arch: Architecture, grid_edge: int, window_edge: int, flash: int) -> Cost:
    """Block of SAM: all its operators."""
    sam = arch.vision.sam
    layer = sam_block(sam, grid_edge, window_edge, flash)
    peak = sam_block_peak(layer, sam, grid_edge, window_edge, flash)
    return total(layer, arch.counts.sam_block)._replace(activation_peak=peak)


def neck_norm(arch: Architecture, tokens: int) -> Cost:
    """LayerNorm2d of SAM's neck."""
    return _only(arch, "sam_ends", neck_norms=layer_norm_2d(arch.vision.sam, tokens))


def image_encoder_vit(arch: Architecture, side: int, flash: int) -> Cost:
    """ImageEncoderViT: patches, blocks, neck, tables."""
    towers, counts = arch.vision, arch.counts
    sam, seen = towers.sam, view(towers, side, flash)
    whole = total(seen.global_blocks, counts.sam_block)
    windowed = total(seen.windowed_blocks, counts.sam_block)
    rest = sam.blocks - sam.global_blocks
    blocks = add(scaled(whole, sam.global_blocks, sam.global_blocks), scaled(windowed, rest, rest))
    cost = add(total(seen.sam_ends, counts.sam_ends), blocks)
    # The widest layer of a view whose CLIP has no blocks is SAM's.
    alone = towers._replace(clip=towers.clip._replace(blocks=0))
    return cost._replace(activation_peak=view_peak(alone, seen, side, flash))


def clip_vision_embeddings(arch: Architecture, tokens: int) -> Cost:
    """CLIPVisionEmbeddings on SAM's features."""
    towers = arch.vision
    ends = clip_ends(towers.image, towers.clip, tokens)
    return _only(arch, "clip_ends", embeddings=ends.embeddings)


def clip_vision_embeddings_conv(arch: Architecture, side: int) -> Cost:
    """The standalone embedding's patch convolution, which no pass runs."""
    towers = arch.vision
    return patch_convolution(towers.image, towers.clip, side)


def notp_attention(arch: Architecture, tokens: int, flash: int) -> Cost:
    """NoTPAttention of CLIP: projections and core."""
    layer = clip_block(arch.vision.clip, tokens, flash)
    return _only(arch, "clip_block", projections=layer.projections, attention=layer.attention)


def notp_feed_forward(arch: Architecture, tokens: int) -> Cost:
    """NoTPFeedForward of CLIP."""
    layer = clip_block(arch.vision.clip, tokens, FLASH)
    return _only(arch, "clip_block", mlp=layer.mlp)


def notp_transformer_block(arch: Architecture, tokens: int, flash: int) -> Cost:
    """NoTPTransformerBlock: all operators of a CLIP block."""
    clip = arch.vision.clip
    layer = clip_block(clip, tokens, flash)
    peak = clip_block_peak(layer, clip, tokens, flash)
    return total(layer, arch.counts.clip_block)._replace(activation_peak=peak)


def notp_transformer(arch: Architecture, tokens: int, flash: int) -> Cost:
    """NoTPTransformer: `clip.blocks` blocks."""
    blocks = arch.vision.clip.blocks
    return scaled(notp_transformer_block(arch, tokens, flash), blocks, blocks)


def clip_layer_norm(arch: Architecture, tokens: int) -> Cost:
    """The one LayerNorm of VitModel outside its blocks."""
    towers = arch.vision
    ends = clip_ends(towers.image, towers.clip, tokens)
    return _only(arch, "clip_ends", pre_norm=ends.pre_norm)


def vit_model(arch: Architecture, tokens: int, flash: int) -> Cost:
    """VitModel: embeddings, LayerNorm, transformer."""
    ends = add(clip_vision_embeddings(arch, tokens), clip_layer_norm(arch, tokens))
    return add(ends, notp_transformer(arch, tokens, flash))


def projector(arch: Architecture, tokens: int) -> Cost:
    """MlpProjector."""
    return _only(arch, "joins", projector=mlp_projector(arch.vision.projector, tokens))


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


PUBLISHED_LAYERS: dict[str, Callable[..., Cost]] = {
    "PatchEmbed": patch_embed,
    "Attention": attention,
    "MLPBlock": mlp_block,
    "Block": block,
    "LayerNorm2d": neck_norm,
    "CLIPVisionEmbeddings": clip_vision_embeddings,
    "CLIPVisionEmbeddings_conv": clip_vision_embeddings_conv,
    "NoTPAttention": notp_attention,
    "NoTPFeedForward": notp_feed_forward,
    "NoTPTransformerBlock": notp_transformer_block,
    "NoTPTransformer": notp_transformer,
    "ImageEncoderViT": image_encoder_vit,
    "VitModel": vit_model,
    "MlpProjector": projector,
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
