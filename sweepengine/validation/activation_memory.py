"""Compares the analytic peak of activations with the live storage of torch."""

from functools import partial
from typing import NamedTuple

import torch
from transformers import DynamicCache
from transformers.models.clip import modeling_clip as clip
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

from sweepengine.formulas import published, published_vision
from sweepengine.formulas.architecture import ATTENTIONS, EAGER, Architecture, Group
from sweepengine.formulas.blocks import block, peak_of_block
from sweepengine.formulas.deepseek_ocr import encoder_parts, ocr_towers
from sweepengine.formulas.ocr_parts import Encoder
from sweepengine.formulas.published import Heads
from sweepengine.formulas.reductions import step_bytes
from sweepengine.formulas.views import View
from sweepengine.grid.plain import prefill_figures, step_figures
from sweepengine.validation.counters import live_peak
from sweepengine.validation.reference_configs import (
    clip_config,
    dense_and_moe,
    sam_config,
    text_config,
    vision_config,
)
from sweepengine.validation.references import DecoderReference, random_weights

VALUE_BYTES = 4
"""The modules run in float32 on the CPU."""
VISION_TOLERANCE = 0.35
DECODER_TOLERANCE = 0.12
"""Largest allowed relative difference between formula and torch.

The formula holds input, intermediates and output of a layer at once, as a fused implementation
does. Eager torch frees some inputs early, and keeps temporaries of unfused operations: the
relative-position bias of SAM's scores, the sigmoid of QuickGELU, the swapped halves of rotary
embeddings, masks, and copies with other memory layouts.
"""
TOKENS = 200
EDGE = 16
IMPLEMENTATIONS = dict(zip(ATTENTIONS, ("eager", "sdpa"), strict=True))
"""Flash is measured as torch's fused attention."""


class Peak(NamedTuple):
    """Activation memory of one layer or phase."""

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
    """The model with small widths, which run fast on a CPU."""
    parts, (dense, moe) = arch.ocr, dense_and_moe(arch)
    attention = arch.groups[0].attention._replace(
        heads=4, key_value_heads=4, key_width=40, value_width=40, rotary_width=40
    )
    narrow = dense._replace(width=500)
    few = moe._replace(width=224, experts=8, experts_per_token=3, expert_width=112, experts_held=8)
    return arch._replace(
        towers=ocr_towers(parts._replace(
            sam=parts.sam._replace(
                width=96, heads=4, mlp_width=384, neck_width=32, downsample_width=64,
                output_width=128, position_edge=EDGE, window=5, blocks=3, global_blocks=1,
                eager_io_scores=8,
            ),
            clip=parts.clip._replace(
                width=128, heads=4, mlp_width=512, blocks=2, eager_io_scores=8
            ),
        )),
        backbone=arch.backbone._replace(hidden=160, vocabulary=900),
        groups=(Group(1, 2, attention, narrow), Group(2, 2, attention, few)),
    )  # fmt: skip


def measure(arch: Architecture) -> list[Peak]:
    """Measure blocks and phases of a model of reduced widths.

    SAM is measured with eager attention only: torch's fused attention takes its relative-position
    bias as a mask of the size of the scores, so there is no flash attention to compare with.
    Pixels are not counted.
    """
    torch.manual_seed(0)
    small = reduced(arch)
    return [
        *_sam_peaks(small),
        *_clip_peaks(small),
        *_encoder_peaks(small),
        *_decoder_peaks(small),
    ]


def _peak(what: str, kind: int, measured: int, analytic_values: int) -> Peak:
    vision = what.startswith(("SAM", "CLIP", "encoder"))
    tolerance = VISION_TOLERANCE if vision else DECODER_TOLERANCE
    return Peak(what, ATTENTIONS[kind], measured, VALUE_BYTES * analytic_values, tolerance)


def _sam_peaks(arch: Architecture) -> list[Peak]:
    config = sam_config(arch)
    grid = torch.randn(1, EDGE, EDGE, arch.ocr.sam.width)
    side = EDGE * arch.ocr.image.patch_size
    pixels = torch.randn(1, arch.ocr.image.channels, side, side)
    peaks = []
    for what, window in (("SAM block, global", 0), ("SAM block, windows", arch.ocr.sam.window)):
        layer = random_weights(modeling.DeepseekOcr2SamVisionLayer(config, window))
        measured = live_peak([layer], partial(layer, grid), grid)
        analytic = published_vision.block(arch, EDGE, window, EAGER).activation_peak
        peaks.append(_peak(what, EAGER, measured, analytic))
    encoder = random_weights(modeling.DeepseekOcr2SamVisionEncoder(config))
    measured = live_peak([encoder], lambda: encoder(pixels))
    analytic = published_vision.image_encoder_vit(arch, side, EAGER).activation_peak
    return [*peaks, _peak("SAM encoder", EAGER, measured, analytic)]


def _clip_peaks(arch: Architecture) -> list[Peak]:
    tokens = torch.randn(1, TOKENS, arch.ocr.clip.width)
    peaks = []
    for kind, name in enumerate(ATTENTIONS):
        config = clip_config(arch, IMPLEMENTATIONS[name])
        attention = random_weights(clip.CLIPAttention(config))
        layer = random_weights(clip.CLIPEncoderLayer(config))
        encoder = random_weights(clip.CLIPEncoder(config))
        for what, measured, cost in (
            ("CLIP attention",
             live_peak([attention], partial(attention, tokens, None), tokens),
             published_vision.notp_attention(arch, TOKENS, kind)),
            ("CLIP block", live_peak([layer], partial(layer, tokens, None), tokens),
             published_vision.notp_transformer_block(arch, TOKENS, kind)),
            ("CLIP transformer",
             live_peak([encoder], partial(encoder, inputs_embeds=tokens), tokens),
             published_vision.notp_transformer(arch, TOKENS, kind)),
        ):  # fmt: skip
            peaks.append(_peak(what, kind, measured, cost.activation_peak))
    return peaks


def _encoder_peaks(arch: Architecture) -> list[Peak]:
    """A layer of the query encoder of DeepSeek-OCR 2."""
    encoder = Encoder(width=128, heads=4, key_value_heads=2, mlp_width=512, layers=2)
    ((_, blocks),) = encoder_parts(arch.ocr.image, encoder).blocks
    sized, view = blocks._replace(rows=TOKENS), View(count=1, rows=1, columns=1)
    tokens = torch.randn(1, TOKENS, encoder.width)
    peaks = []
    for kind, name in enumerate(ATTENTIONS):
        config = vision_config(arch, encoder).encoder_config
        config._attn_implementation = IMPLEMENTATIONS[name]
        angles = modeling.DeepseekOcr2VisionRotaryEmbedding(config)(
            tokens, torch.arange(TOKENS)[None]
        )
        layer = random_weights(modeling.DeepseekOcr2VisionEncoderLayer(config, 0))
        run = partial(layer, tokens, position_embeddings=angles)
        analytic = peak_of_block(block(sized, view, kind), sized, view, kind)
        peaks.append(_peak("encoder layer", kind, live_peak([layer], run, tokens), analytic))
    return peaks


def _decoder_peaks(arch: Architecture) -> list[Peak]:
    """Decoder layers, with routed experts as grouped GEMMs as the formula assumes."""
    hidden = torch.randn(1, TOKENS, arch.backbone.hidden)
    all_heads = arch.groups[0].attention.heads
    width = arch.groups[0].feed_forward.width
    peaks = []
    for kv_heads in (all_heads, all_heads // 2):
        for kind, name in enumerate(ATTENTIONS):
            heads = (all_heads, kv_heads, kind)
            chosen = (heads, IMPLEMENTATIONS[name], "grouped_mm")
            config = text_config(arch, *chosen)
            angles = modeling.DeepseekOcr2TextRotaryEmbedding(config)(
                hidden, torch.arange(TOKENS)[None]
            )
            for index in range(2):
                layer = random_weights(modeling.DeepseekOcr2TextDecoderLayer(config, index))
                measured = live_peak(
                    [layer],
                    partial(layer, hidden, position_embeddings=angles),
                    hidden,
                )
                kind_of_layer = ("dense", "MoE")[index]
                sizes = (arch, TOKENS, TOKENS)
                cost = (
                    published.decoder_layer_moe(*sizes, heads)
                    if index
                    else published.decoder_layer_dense(*sizes, width, heads)
                )
                what = f"decoder layer, {kind_of_layer}, {kv_heads} KV heads"
                peaks.append(_peak(what, kind, measured, cost.activation_peak))
            if kv_heads == all_heads:
                peaks += _phase_peaks(arch, heads, DecoderReference(arch, *chosen))
    return peaks


def _phase_peaks(arch: Architecture, heads: Heads, reference: DecoderReference) -> list[Peak]:
    """Prefill, then a decode step, without the KV cache."""
    modules = [*reference.layers, reference.norm, reference.head, reference.rotary]
    cache = DynamicCache(config=reference.config)
    per_token = 2 * len(modules[:-3]) * arch.backbone.hidden * VALUE_BYTES
    filling = live_peak(modules, lambda: reference.run(1, TOKENS, cache)) - TOKENS * per_token
    stepping = live_peak(modules, lambda: reference.run(1, 1, cache)) - (TOKENS + 1) * per_token
    size = arch.convention.dtype_bytes
    filled = prefill_figures(arch, TOKENS, 0, *heads).activation_bytes // size
    step = step_bytes(step_figures(arch, *heads).growth[0].peak, TOKENS + 1) // size
    return [
        _peak("prefill", heads[2], filling, filled),
        _peak("decode step", heads[2], stepping, step),
    ]
