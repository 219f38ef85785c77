"""One small function for each layer, named as in the published tables."""

from collections.abc import Callable

from sweepengine.cost import Cost
from sweepengine.layers import decoder, vision

PUBLISHED_LAYERS: dict[str, Callable[..., Cost]] = {
    "PatchEmbed": vision.patch_embed,
    "Attention": vision.attention,
    "MLPBlock": vision.mlp_block,
    "Block": vision.block,
    "LayerNorm2d": vision.layer_norm_2d,
    "CLIPVisionEmbeddings": vision.clip_vision_embeddings,
    "CLIPVisionEmbeddings_conv": vision.clip_vision_embeddings_conv,
    "NoTPAttention": vision.notp_attention,
    "NoTPFeedForward": vision.notp_feed_forward,
    "NoTPTransformerBlock": vision.notp_transformer_block,
    "NoTPTransformer": vision.notp_transformer,
    "ImageEncoderViT": vision.image_encoder_vit,
    "VitModel": vision.vit_model,
    "MlpProjector": vision.mlp_projector,
    "DeepseekV2MLP": decoder.deepseek_v2_mlp,
    "MoEGate": decoder.moe_gate,
    "DeepseekV2MoE": decoder.deepseek_v2_moe,
    "DeepseekV2RMSNorm": decoder.deepseek_v2_rms_norm,
    "DeepseekV2DecoderLayer_dense": decoder.deepseek_v2_decoder_layer_dense,
    "DeepseekV2DecoderLayer_moe": decoder.deepseek_v2_decoder_layer_moe,
    "LMHead": decoder.lm_head,
    "LlamaAttention": decoder.llama_attention,
    "LlamaFlashAttention2": decoder.llama_flash_attention_2,
    "LlamaRotaryEmbedding": decoder.llama_rotary_embedding,
}
"""Published layer name to the function that costs it."""
