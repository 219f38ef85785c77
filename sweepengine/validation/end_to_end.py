"""Compares whole phases, parameters and KV cache of a vision model with torch modules."""

import torch
from torch import nn
from transformers import DynamicCache
from transformers.models.deepseek_ocr2 import modeling_deepseek_ocr2 as modeling

from sweepengine.data.models import Model
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.points import Point
from sweepengine.formulas.published import own_heads
from sweepengine.grid.counted import point_columns
from sweepengine.grid.plain import step_figures
from sweepengine.validation.counters import Figure, counted_flops, parameters
from sweepengine.validation.reference_configs import text_config
from sweepengine.validation.references import DecoderReference, cache_bytes, vision_reference

CROPS = ((0, 0), (1, 2), (1, 3), (2, 3), (3, 3))
"""Tiles of the mode with tiles, rows and columns."""
MODE_CROPS = (2, 3)
DECODE_STEPS = 3
CACHE_DTYPE_BYTES = 4
"""The reference decoder runs in float32 on the CPU."""


def measure(model: Model) -> list[Figure]:
    """Measure vision, prefill and decode FLOPs, parameters and KV cache bytes."""
    return [
        *vision_checks(model),
        *mode_checks(model),
        *decoder_checks(model),
        *parameter_checks(model),
    ]


def vision_checks(model: Model) -> list[Figure]:
    """Vision FLOPs without tiles and with 2, 3, 6 and 9, and in a batch."""
    arch = model.architecture
    reference = vision_reference(arch)
    gundam = model.modes["gundam"]
    sizes = (gundam.view_size, gundam.tile_size or 640)
    cases = [(f"gundam {r}x{c}", *sizes, r, c, 1) for r, c in CROPS]
    cases.append(("gundam 1x2, batch 2", *sizes, 1, 2, 2))
    checks = []
    for name, view, tile, rows, cols, batch in cases:

        def both(view: int = view, tile: int = tile, n: int = rows * cols, b: int = batch) -> None:
            reference.encode(view, b)
            if n:
                reference.encode(tile, n * b)

        point = Point(view, tile, rows, cols, 10, 0, batch, *own_heads(arch))
        analytic = point_columns(arch, point)["vision_tensor_flops"]
        checks.append(Figure(f"vision, {name}", "FLOP", counted_flops(both), int(analytic)))
    return checks


def mode_checks(model: Model) -> list[Figure]:
    """Vision + prefill in every published mode, from pixels to logits.

    The reference composes image embeddings as the release does; prefill runs over as many tokens.
    """
    arch = model.architecture
    vision = vision_reference(arch)
    decoder = DecoderReference(arch, own_heads(arch), values=False)
    checks = []
    for name, mode in model.modes.items():
        rows, cols = MODE_CROPS if mode.tile_size else (0, 0)
        tile = mode.tile_size or 640
        sizes = (mode.view_size, tile, rows, cols)
        seen, tokens = vision.measure_image(*sizes)
        filled = decoder.flops(1, tokens + 10, DynamicCache(config=decoder.config))
        columns = point_columns(arch, Point(*sizes, 10, 0, 1, *own_heads(arch)))
        both = int(columns["vision_tensor_flops"] + columns["prefill_tensor_flops"])
        title = f"{name} {rows}x{cols}" if rows else name
        checks += [
            Figure(f"image tokens, {title}", "tokens", tokens, int(columns["image_tokens"])),
            Figure(f"vision, {title}", "FLOP", seen, int(columns["vision_tensor_flops"])),
            Figure(f"vision + prefill, {title}", "FLOP", seen + filled, both),
        ]
    return checks


def decoder_checks(model: Model) -> list[Figure]:
    """Prefill and decode FLOPs and the KV cache: the published 1x2, grouped heads, a batch.

    The batch runs on values, with eager experts, through one layer of each kind; the others run on
    the meta device through all layers.
    """
    whole = model.architecture
    short = whole._replace(groups=tuple(group._replace(layers=1) for group in whole.groups))
    default = own_heads(whole)
    small = (64, 64, 0, 0, 60)
    cases = [
        ("1x2", whole, (1024, 640, 1, 2, 10), default, 1),
        ("batch 2, a layer of each kind", short, small, default, 2),
    ]
    grouped = [(default[0], count, default[2]) for count in (5, 2, 1)]
    cases += [(f"{heads[1]} KV heads", whole, small, heads, 1) for heads in grouped]
    checks = []
    for name, arch, sizes, heads, batch in cases:
        reference = DecoderReference(arch, heads, values=batch > 1)
        point = Point(*sizes, DECODE_STEPS, batch, *heads)
        columns = point_columns(arch, point)
        cache = DynamicCache(config=reference.config)
        prefilled = reference.flops(batch, int(columns["context_tokens"]), cache)
        decoded = sum(reference.flops(batch, 1, cache) for _ in range(DECODE_STEPS))
        measured, tokens = cache_bytes(cache)
        size = measured * arch.convention.dtype_bytes // CACHE_DTYPE_BYTES
        per_token = sum(group.counts.cache_bytes for group in step_figures(arch, *heads).growth)
        checks += [
            Figure(f"prefill, {name}", "FLOP", prefilled, int(columns["prefill_tensor_flops"])),
            Figure(f"decode {DECODE_STEPS} steps, {name}", "FLOP", decoded,
                  int(columns["decode_tensor_flops"])),
            Figure(f"KV cache, {name}", "byte", size, int(columns["decode_kv_cache_bytes"])),
            Figure(f"KV cache per token, {name}", "byte", size // (batch * tokens), per_token),
        ]  # fmt: skip
    return checks


def parameter_checks(model: Model) -> list[Figure]:
    """Parameters of every part, and the bytes of all weights, counted on the modules."""
    arch = model.architecture
    reference = vision_reference(arch)
    with torch.device("meta"):
        decoder = modeling.DeepseekOcr2TextModel(text_config(arch, own_heads(arch)))
        head = nn.Linear(arch.backbone.hidden, arch.backbone.vocabulary, bias=False)
    language = parameters(decoder) + parameters(head)
    seen = reference.parts()
    total = sum(seen.values()) + language
    weight_bytes = total * torch.bfloat16.itemsize
    parts = parameter_parts(arch)
    counted = [
        *((part, weights, parts[part]) for part, weights in seen.items()),
        ("decoder and head", language, parts["decoder"] + parts["LM head"]),
        ("all", total, model.parameter_count),
    ]
    checks = [Figure(f"parameters, {part}", "values", *counts) for part, *counts in counted]
    return [*checks, Figure("weights in bf16", "byte", weight_bytes, model.weight_bytes)]
