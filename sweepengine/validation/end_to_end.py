"""Whole stages, parameters and caches of the default model against compositions of modules."""

from typing import NamedTuple

import torch
from transformers import DynamicCache
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

from sweepengine.architecture import Model
from sweepengine.geometry import vision_workload
from sweepengine.layers import vision as vis
from sweepengine.layers.residual import FLASH
from sweepengine.stages import Point, cache_bytes_per_token, point_columns, prefill
from sweepengine.validation.references import (
    DecoderReference,
    VisionReference,
    cache_bytes,
    counted_flops,
    parameters,
    text_config,
)

CROPS = ((0, 0), (1, 2), (1, 3), (2, 3), (3, 3))
DECODE_STEPS = 3
CACHE_DTYPE_BYTES = 4
"""The reference decoder runs in float32 on the CPU."""


class Check(NamedTuple):
    """One figure, measured and analytic."""

    what: str
    unit: str
    measured: int
    analytic: int

    @property
    def status(self) -> str:
        """Whether both are the same."""
        return "equal" if self.measured == self.analytic else "different"


def measure(model: Model) -> list[Check]:
    """Measure vision, prefill and decode stages, parameters and cache."""
    return [*vision_checks(model), *decoder_checks(model), *parameter_checks(model)]


def vision_checks(model: Model) -> list[Check]:
    """Vision FLOPs without tiles and with 2, 3, 6 and 9, in every published mode, in a batch."""
    arch = model.architecture
    reference = VisionReference(arch)
    cases = [(f"gundam {r}x{c}", 1024, 640, r, c, 1) for r, c in CROPS]
    cases.append(("gundam 1x2, batch 2", 1024, 640, 1, 2, 2))
    for name, mode in model.modes.items():
        rows, cols = (2, 3) if mode.tile_size else (0, 0)
        tile = mode.tile_size or 640
        cases.append((f"mode {name} {rows}x{cols}", mode.view_size, tile, rows, cols, 1))
    checks = []
    for name, view, tile, rows, cols, batch in cases:
        workload = vision_workload(arch, view, tile, rows, cols)

        def both(view: int = view, tile: int = tile, n: int = rows * cols, b: int = batch) -> None:
            reference.encode(view, b)
            if n:
                reference.encode(tile, n * b)

        point = Point(view, tile, rows, cols, 10, 0, batch, *_heads(model), FLASH)
        analytic = point_columns(arch, point, workload)["vision_tensor_flops"]
        checks.append(Check(f"vision, {name}", "FLOP", counted_flops(both), int(analytic)))
    return checks


def decoder_checks(model: Model) -> list[Check]:
    """Prefill and decode FLOPs and the cache's bytes: the published 1x2, grouped heads, a batch."""
    arch = model.architecture
    heads, own = _heads(model)
    small = (64, 64, 0, 0, 60)
    cases = [("1x2", (1024, 640, 1, 2, 10), own, 1), ("batch 2", small, own, 2)]
    cases += [(f"{kv} KV heads", small, kv, 1) for kv in (5, 2, 1)]
    checks = []
    for name, sizes, kv_heads, batch in cases:
        reference = DecoderReference(arch, heads, kv_heads)
        point = Point(*sizes, DECODE_STEPS, batch, heads, kv_heads, FLASH)
        columns = point_columns(arch, point)
        cache = DynamicCache(config=reference.config)
        prefilled = reference.flops(batch, int(columns["context_tokens"]), cache)
        decoded = sum(reference.flops(batch, 1, cache) for _ in range(DECODE_STEPS))
        held = cache_bytes(cache) * arch.accounting.dtype_bytes // CACHE_DTYPE_BYTES
        tokens = cache.get_seq_length()
        per_token = cache_bytes_per_token(arch, heads, kv_heads)
        checks += [
            Check(f"prefill, {name}", "FLOP", prefilled, int(columns["prefill_tensor_flops"])),
            Check(f"decode {DECODE_STEPS} steps, {name}", "FLOP", decoded,
                  int(columns["decode_tensor_flops"])),
            Check(f"KV cache, {name}", "byte", held, int(columns["decode_kv_cache_bytes"])),
            Check(f"KV cache a token, {name}", "byte", held // (batch * tokens), per_token),
        ]  # fmt: skip
    return checks


def parameter_checks(model: Model) -> list[Check]:
    """Parameters of SAM, projector, decoder and head, counted on the modules themselves."""
    arch = model.architecture
    reference = VisionReference(arch)
    with torch.device("meta"):
        decoder = modeling.DeepseekOcr2TextModel(text_config(arch, *_heads(model)))
    head = arch.decoder.hidden * arch.decoder.vocabulary
    encoder = vis.image_encoder_vit(arch, 1024, FLASH).weights
    projector = vis.mlp_projector(arch, 1).weights
    language = prefill(arch, 1, *_heads(model), FLASH).weights
    blocks = vis.notp_transformer(arch, 1, FLASH).weights
    return [
        Check("parameters, SAM", "values", parameters(reference.sam), encoder),
        Check("parameters, CLIP blocks", "values", parameters(reference.clip), blocks),
        Check("parameters, projector", "values", parameters(reference.projector), projector),
        Check("parameters, decoder and head", "values", parameters(decoder) + head, language),
    ]


def _heads(model: Model) -> tuple[int, int]:
    decoder = model.architecture.decoder
    return decoder.attention_heads, decoder.key_value_heads
