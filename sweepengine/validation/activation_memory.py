"""The analytic activation peak against the storage that torch really holds alive."""

from functools import partial
from typing import NamedTuple

import torch
from transformers import DynamicCache
from transformers.models.clip import modeling_clip as clip
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

from sweepengine.architecture import Architecture
from sweepengine.layers import decoder as dec
from sweepengine.layers import vision as vis
from sweepengine.layers.decoder import Heads
from sweepengine.layers.residual import ATTENTIONS, EAGER
from sweepengine.stages import decode_step, prefill
from sweepengine.validation.references import (
    DecoderReference,
    clip_config,
    live_peak,
    random_weights,
    sam_config,
    text_config,
)

VALUE_BYTES = 4
"""The modules run in float32 on the CPU."""
VISION_TOLERANCE = 0.35
DECODER_TOLERANCE = 0.12
"""Largest relative difference allowed between formula and torch.

They are not zero, because the formula holds a layer's input, intermediates and output at once, as a
fused implementation allocates them, while eager torch frees some inputs early and keeps
temporaries of operations it does not fuse: the relative-position bias beside SAM's scores, the
sigmoid of QuickGELU, the halves that rotary embeddings swap, masks and copies of layouts.
"""
TOKENS = 200
EDGE = 16
IMPLEMENTATIONS = dict(zip(ATTENTIONS, ("eager", "sdpa"), strict=True))
"""Flash is measured as torch's fused attention."""


class Peak(NamedTuple):
    """Activation memory of one layer or stage."""

    what: str
    attention: str
    measured_bytes: int
    analytic_bytes: int
    tolerance: float

    @property
    def relative_difference(self) -> float:
        """(analytic - measured) / measured."""
        return (self.analytic_bytes - self.measured_bytes) / self.measured_bytes

    @property
    def status(self) -> str:
        """Whether the difference is within the tolerance."""
        return "within" if abs(self.relative_difference) <= self.tolerance else "outside"


def reduced(arch: Architecture) -> Architecture:
    """The same model, narrow enough for a moment on a CPU."""
    return arch._replace(
        sam=arch.sam._replace(
            width=96, heads=4, mlp_width=384, neck_width=32, downsample_width=64,
            output_width=128, position_edge=EDGE, window=5, blocks=3, global_blocks=1,
        ),
        clip=arch.clip._replace(width=128, heads=4, mlp_width=512, blocks=2, eager_io_scores=8),
        decoder=arch.decoder._replace(
            hidden=160, layers=3, dense_width=500, experts=8, experts_per_token=3,
            expert_width=112, shared_width=224, vocabulary=900, attention_heads=4,
            key_value_heads=4,
        ),
    )  # fmt: skip


def measure(arch: Architecture) -> list[Peak]:
    """Measure blocks and stages of a model of reduced widths.

    SAM is measured with eager attention only: its relative-position bias is a score matrix
    itself, which torch's fused attention takes as a mask, so torch has no flash there to compare
    with. The image's pixels are the caller's and are not counted.
    """
    torch.manual_seed(0)
    small = reduced(arch)
    return [*_sam_peaks(small), *_clip_peaks(small), *_decoder_peaks(small)]


def _peak(what: str, kind: int, measured: int, analytic_values: int) -> Peak:
    vision = what.startswith(("SAM", "CLIP"))
    tolerance = VISION_TOLERANCE if vision else DECODER_TOLERANCE
    return Peak(what, ATTENTIONS[kind], measured, VALUE_BYTES * analytic_values, tolerance)


def _sam_peaks(arch: Architecture) -> list[Peak]:
    config = sam_config(arch)
    grid = torch.randn(1, EDGE, EDGE, arch.sam.width)
    side = EDGE * arch.image.patch_size
    pixels = torch.randn(1, arch.image.channels, side, side)
    peaks = []
    for what, window in (("SAM block, global", 0), ("SAM block, windows", arch.sam.window)):
        layer = random_weights(modeling.DeepseekOcr2SamVisionLayer(config, window))
        measured = live_peak([layer], partial(layer, grid), grid)
        analytic = vis.block(arch, EDGE, window, EAGER).activation_peak
        peaks.append(_peak(what, EAGER, measured, analytic))
    encoder = random_weights(modeling.DeepseekOcr2SamVisionEncoder(config))
    measured = live_peak([encoder], lambda: encoder(pixels))
    analytic = vis.image_encoder_vit(arch, side, EAGER).activation_peak
    return [*peaks, _peak("SAM encoder", EAGER, measured, analytic)]


def _clip_peaks(arch: Architecture) -> list[Peak]:
    tokens = torch.randn(1, TOKENS, arch.clip.width)
    peaks = []
    for kind, name in enumerate(ATTENTIONS):
        config = clip_config(arch, IMPLEMENTATIONS[name])
        attention = random_weights(clip.CLIPAttention(config))
        layer = random_weights(clip.CLIPEncoderLayer(config))
        encoder = random_weights(clip.CLIPEncoder(config))
        for what, measured, cost in (
            ("CLIP attention",
             live_peak([attention], partial(attention, tokens, None), tokens),
             vis.notp_attention(arch, TOKENS, kind)),
            ("CLIP block", live_peak([layer], partial(layer, tokens, None), tokens),
             vis.notp_transformer_block(arch, TOKENS, kind)),
            ("CLIP transformer",
             live_peak([encoder], partial(encoder, inputs_embeds=tokens), tokens),
             vis.notp_transformer(arch, TOKENS, kind)),
        ):  # fmt: skip
            peaks.append(_peak(what, kind, measured, cost.activation_peak))
    return peaks


def _decoder_peaks(arch: Architecture) -> list[Peak]:
    """Routed experts run as grouped matrix products, all at once, as the formula takes them."""
    hidden = torch.randn(1, TOKENS, arch.decoder.hidden)
    own = arch.decoder.attention_heads
    formulas = (dec.deepseek_v2_decoder_layer_dense, dec.deepseek_v2_decoder_layer_moe)
    peaks = []
    for kv_heads in (own, own // 2):
        for kind, name in enumerate(ATTENTIONS):
            heads = Heads(own, kv_heads, kind)
            chosen = (heads, IMPLEMENTATIONS[name], "grouped_mm")
            config = text_config(arch, *chosen)
            angles = modeling.DeepseekOcr2TextRotaryEmbedding(config)(
                hidden, torch.arange(TOKENS)[None]
            )
            for index, formula in enumerate(formulas):
                layer = random_weights(modeling.DeepseekOcr2TextDecoderLayer(config, index))
                measured = live_peak(
                    [layer],
                    partial(layer, hidden, position_embeddings=angles),
                    hidden,
                )
                kind_of_layer = ("dense", "mixture of experts")[index]
                cost = formula(arch, TOKENS, TOKENS, heads)
                what = f"decoder layer, {kind_of_layer}, {kv_heads} KV heads"
                peaks.append(_peak(what, kind, measured, cost.activation_peak))
            if kv_heads == own:
                peaks += _stage_peaks(arch, heads, DecoderReference(arch, *chosen))
    return peaks


def _stage_peaks(arch: Architecture, heads: Heads, reference: DecoderReference) -> list[Peak]:
    """Prefill, then a decode step; the cache counts as a cache, not as activations."""
    modules = [*reference.layers, reference.norm, reference.head, reference.rotary]
    cache = DynamicCache(config=reference.config)
    per_token = 2 * arch.decoder.layers * arch.decoder.hidden * VALUE_BYTES
    filling = live_peak(modules, lambda: reference.run(1, TOKENS, cache)) - TOKENS * per_token
    stepping = live_peak(modules, lambda: reference.run(1, 1, cache)) - (TOKENS + 1) * per_token
    filled = prefill(arch, TOKENS, heads)
    step = decode_step(arch, TOKENS + 1, heads)
    return [
        _peak("prefill", heads.attention, filling, filled.activation_peak),
        _peak("decode step", heads.attention, stepping, step.activation_peak),
    ]
