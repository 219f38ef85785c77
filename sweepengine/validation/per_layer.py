"""Compares the 21 rows of the published per-layer table with torch, for the default model."""

import csv
from collections.abc import Callable
from importlib import resources
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers.models.clip import modeling_clip as clip
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

from sweepengine.formulas.architecture import FLASH, Architecture
from sweepengine.formulas.deepseek_ocr import ocr_towers
from sweepengine.formulas.published import PUBLISHED_LAYERS, Heads, own_heads
from sweepengine.validation.counters import counted_flops, element_wise_flops, outer_product_flops
from sweepengine.validation.reference_configs import (
    clip_config,
    dense_and_moe,
    sam_config,
    text_config,
)
from sweepengine.validation.references import random_weights

TOKENS = 512
CLIP_TOKENS = 257
TRANSFORMER_BLOCKS = 2


class Row(NamedTuple):
    """One measured layer."""

    group: str
    layer: str
    reference_class: str
    measured_flops: int
    analytic_flops: int
    measured_elementwise: int = 0
    """CUDA-core FLOPs counted from element-wise operations, which torch's counter ignores."""
    analytic_elementwise: int = 0

    @property
    def relative_difference(self) -> float:
        """|analytic - measured| / measured; infinite where only the formula is above 0."""
        measured = self.measured_flops + self.measured_elementwise
        difference = abs(self.analytic_flops + self.analytic_elementwise - measured)
        if not difference:
            return 0.0
        return difference / measured if measured else float("inf")

    @property
    def status(self) -> str:
        """Whether formula and module agree to the FLOP, and on which count."""
        if self.measured_flops:
            return "equal" if self.measured_flops == self.analytic_flops else "different"
        same = self.analytic_flops == 0 and self.measured_elementwise == self.analytic_elementwise
        return "equal (element-wise count)" if same and self.measured_elementwise else "different"


def published_differences() -> dict[str, float]:
    """Relative difference of the published validation by layer, %."""
    text = resources.files("sweepengine.validation") / "published_per_layer.csv"
    rows = csv.DictReader(text.read_text(encoding="utf-8").splitlines())
    return {row["layer"]: float(row["relative_difference_percent"]) for row in rows}


def measure(arch: Architecture) -> list[Row]:
    """Measure every row of the published table (docs/published.md, "The per-layer table").

    Tensor FLOPs are compared: torch counts GEMMs and convolutions. For the two norms, which have
    none, CUDA-core FLOPs are compared with `counters.element_wise_flops`. CLIP transformer rows
    have 2 blocks, as published. LlamaFlashAttention2 has only its projections, because torch does
    not count the fused CPU kernel of the scores.
    """
    return [*_sam_rows(arch), *_clip_rows(arch), *_decoder_rows(arch)]


def _row(
    arch: Architecture,
    group: str,
    layer: str,
    module: nn.Module,
    call: Callable[[], object],
    shape: tuple[int | Heads, ...],
) -> Row:
    cost = PUBLISHED_LAYERS[layer](arch, *shape)
    return Row(group, layer, type(module).__name__, counted_flops(call), cost.tensor_flops)


def _norm_row(
    arch: Architecture, group: str, layer: str, module: nn.Module, values: Tensor, tokens: int
) -> Row:
    cost = PUBLISHED_LAYERS[layer](arch, tokens)
    return Row(
        group,
        layer,
        type(module).__name__,
        counted_flops(lambda: module(values)),
        cost.tensor_flops,
        element_wise_flops(module, values),
        cost.cuda_flops,
    )


def _sam_rows(arch: Architecture) -> list[Row]:
    config = sam_config(arch)
    window, edge, width = (
        arch.ocr.sam.window,
        arch.ocr.sam.position_edge,
        arch.ocr.sam.width,
    )
    side = edge * arch.ocr.image.patch_size
    windows = (-(-edge // window)) ** 2
    with torch.device("meta"):
        attention = modeling.DeepseekOcr2SamVisionAttention(config, window)
        mlp = modeling.DeepseekOcr2SamMLPBlock(config)
        patches = modeling.DeepseekOcr2SamPatchEmbeddings(config)
        block = modeling.DeepseekOcr2SamVisionLayer(config, 0)
        norm = modeling.DeepseekOcr2SamLayerNorm(
            arch.ocr.sam.neck_width, data_format="channels_first"
        )
        encoder = modeling.DeepseekOcr2SamVisionEncoder(config).eval()
        grid = torch.empty(1, edge, edge, width)
        pixels = torch.empty(1, arch.ocr.image.channels, side, side)
        split = torch.empty(windows, window, window, width)
        narrow = torch.empty(1, arch.ocr.sam.neck_width, edge, edge)
        cases: list[tuple[str, nn.Module, Callable[[], object], tuple[int, ...]]] = [
            ("Attention", attention, lambda: attention(split), (windows, window, FLASH)),
            ("MLPBlock", mlp, lambda: mlp(grid), (edge * edge,)),
            ("PatchEmbed", patches, lambda: patches(pixels), (side,)),
            ("Block", block, lambda: block(grid), (edge, 0, FLASH)),
            ("ImageEncoderViT", encoder, lambda: encoder(pixels), (side, FLASH)),
        ]
        rows = [_row(arch, "vision", *case) for case in cases]
    return [*rows, _norm_row(arch, "vision", "LayerNorm2d", norm, narrow, edge * edge)]


def _clip_rows(arch: Architecture) -> list[Row]:
    clip_part = arch.ocr.clip._replace(blocks=TRANSFORMER_BLOCKS)
    short = arch._replace(towers=ocr_towers(arch.ocr._replace(clip=clip_part)))
    config = clip_config(short)
    side, projected = arch.ocr.clip.image_size, 577
    with torch.device("meta"):
        embeddings = clip.CLIPVisionEmbeddings(config)
        attention, mlp = clip.CLIPAttention(config), clip.CLIPMLP(config)
        block, transformer = clip.CLIPEncoderLayer(config), clip.CLIPEncoder(config).eval()
        norm = nn.LayerNorm(arch.ocr.clip.width)
        projector = nn.Linear(arch.ocr.projector.input_width, arch.ocr.projector.output_width)
        pixels = torch.empty(1, arch.ocr.image.channels, side, side)
        tokens = torch.empty(1, CLIP_TOKENS, arch.ocr.clip.width)
        wide = torch.empty(1, projected, arch.ocr.projector.input_width)
        sized = (CLIP_TOKENS, FLASH)
        cases: list[tuple[str, nn.Module, Callable[[], object], tuple[int, ...]]] = [
            ("CLIPVisionEmbeddings_conv", embeddings, lambda: embeddings(pixels), (side,)),
            ("NoTPAttention", attention, lambda: attention(tokens, None), sized),
            ("NoTPFeedForward", mlp, lambda: mlp(tokens), (CLIP_TOKENS,)),
            ("NoTPTransformerBlock", block, lambda: block(tokens, None), sized),
            ("NoTPTransformer", transformer, lambda: transformer(inputs_embeds=tokens), sized),
            ("VitModel", transformer, lambda: transformer(inputs_embeds=norm(tokens)), sized),
            ("MlpProjector", projector, lambda: projector(wide), (projected,)),
        ]
        return [_row(short, "vision", *case) for case in cases]


def _decoder_rows(arch: Architecture) -> list[Row]:
    heads = own_heads(arch)
    config = text_config(arch, heads)
    kinds = config.mlp_layer_types
    layer_sparse, layer_dense = (
        modeling.DeepseekOcr2TextDecoderLayer(config, kinds.index(kind))
        for kind in ("sparse", "dense")
    )
    dense, _ = dense_and_moe(arch)
    for layer in (layer_sparse, layer_dense):
        random_weights(layer)
    fused = modeling.DeepseekOcr2TextAttention(text_config(arch, heads, "sdpa"), 0)
    rotary = modeling.DeepseekOcr2TextRotaryEmbedding(config)
    hidden = torch.randn(1, TOKENS, arch.backbone.hidden)
    positions = torch.arange(TOKENS)[None]
    angles = rotary(hidden, positions)
    mlp, moe, norm = layer_dense.mlp, layer_sparse.mlp, layer_dense.input_layernorm
    block = (TOKENS, TOKENS, heads)
    cases: list[tuple[str, str, nn.Module, Callable[[], object], tuple[int | Heads, ...]]] = [
        ("decoder", "DeepseekV2MLP", mlp, lambda: mlp(hidden), (TOKENS, dense.width)),
        ("decoder", "MoEGate", moe.gate, lambda: moe.gate(hidden), (TOKENS,)),
        ("decoder", "DeepseekV2MoE", moe, lambda: moe(hidden), (TOKENS,)),
        ("decoder", "DeepseekV2DecoderLayer_dense", layer_dense,
         lambda: layer_dense(hidden, position_embeddings=angles),
         (TOKENS, TOKENS, dense.width, heads)),
        ("decoder", "DeepseekV2DecoderLayer_moe", layer_sparse,
         lambda: layer_sparse(hidden, position_embeddings=angles), block),
        ("llama", "LlamaFlashAttention2", fused,
         lambda: fused(hidden, position_embeddings=angles), (TOKENS, 0, heads)),
    ]  # fmt: skip
    rows = [_row(arch, *case) for case in cases]
    analytic = PUBLISHED_LAYERS["LlamaRotaryEmbedding"](arch, TOKENS, heads).tensor_flops
    measured = outer_product_flops(lambda: rotary(hidden, positions))
    name = type(rotary).__name__
    return [
        *rows,
        _norm_row(arch, "decoder", "DeepseekV2RMSNorm", norm, hidden, TOKENS),
        Row("llama", "LlamaRotaryEmbedding", name, measured, analytic),
    ]
