"""Configurations of transformers for the modules of DeepSeek-OCR, from an `Architecture`."""

from transformers import CLIPVisionConfig
from transformers.models.deepseek_ocr2 import configuration_deepseek_ocr2 as configuration

from sweepengine.formulas.architecture import Architecture, FeedForward
from sweepengine.formulas.ocr_parts import Encoder
from sweepengine.formulas.published import Heads


def sam_config(arch: Architecture) -> configuration.DeepseekOcr2SamVisionConfig:
    """Configuration of the SAM encoder."""
    sam = arch.ocr.sam
    return configuration.DeepseekOcr2SamVisionConfig(
        hidden_size=sam.width,
        output_channels=sam.neck_width,
        num_hidden_layers=sam.blocks,
        num_attention_heads=sam.heads,
        num_channels=arch.ocr.image.channels,
        image_size=sam.position_edge * arch.ocr.image.patch_size,
        patch_size=arch.ocr.image.patch_size,
        window_size=sam.window,
        global_attn_indexes=list(range(sam.global_blocks)),
        mlp_dim=sam.mlp_width,
        downsample_channels=[sam.downsample_width, sam.output_width],
        attn_implementation="eager",
    )


def clip_config(arch: Architecture, attention: str = "eager") -> CLIPVisionConfig:
    """Configuration of the CLIP transformer."""
    return CLIPVisionConfig(
        hidden_size=arch.ocr.clip.width,
        intermediate_size=arch.ocr.clip.mlp_width,
        num_hidden_layers=arch.ocr.clip.blocks,
        num_attention_heads=arch.ocr.clip.heads,
        num_channels=arch.ocr.image.channels,
        image_size=arch.ocr.clip.image_size,
        patch_size=arch.ocr.clip.patch_size,
        hidden_act="quick_gelu",
        attn_implementation=attention,
    )


def text_config(
    arch: Architecture,
    heads: Heads,
    attention: str = "eager",
    experts: str = "eager",
) -> configuration.DeepseekOcr2TextConfig:
    """Configuration of the decoder.

    Parameters
    ----------
    arch : Architecture
    heads : tuple of int
        Attention heads, key-value heads, attention implementation.
    attention, experts : str
        Implementations of transformers.
    """
    kinds = [
        "sparse" if group.feed_forward.experts else "dense"
        for group in arch.groups
        for _ in range(group.layers)
    ]
    dense, moe = dense_and_moe(arch)
    return configuration.DeepseekOcr2TextConfig(
        vocab_size=arch.backbone.vocabulary,
        hidden_size=arch.backbone.hidden,
        intermediate_size=dense.width,
        num_hidden_layers=len(kinds),
        num_attention_heads=heads[0],
        num_key_value_heads=heads[1],
        n_routed_experts=moe.experts,
        num_experts_per_tok=moe.experts_per_token,
        moe_intermediate_size=moe.expert_width,
        n_shared_experts=moe.width // moe.expert_width,
        mlp_layer_types=kinds,
        max_position_embeddings=8192,
        attn_implementation=attention,
        experts_implementation=experts,
    )


def dense_and_moe(arch: Architecture) -> tuple[FeedForward, FeedForward]:
    """FFN of dense layers and of MoE layers; a stand-in for a kind that the model lacks."""
    ffns = [group.feed_forward for group in arch.groups]
    dense = next((ffn for ffn in ffns if not ffn.experts), ffns[0])
    moe = next((ffn for ffn in ffns if ffn.experts), None)
    return dense, moe or dense._replace(experts=2, experts_per_token=1, expert_width=dense.width)


def vision_config(arch: Architecture, encoder: Encoder) -> configuration.DeepseekOcr2VisionConfig:
    """Configuration of a model's SAM and of an encoder of queries."""
    return configuration.DeepseekOcr2VisionConfig(
        sam_config=sam_config(arch),
        encoder_config=configuration.DeepseekOcr2VisionEncoderConfig(
            hidden_size=encoder.width,
            intermediate_size=encoder.mlp_width,
            num_hidden_layers=encoder.layers,
            num_attention_heads=encoder.heads,
            num_key_value_heads=encoder.key_value_heads,
        ),
        attn_implementation="eager",
    )
