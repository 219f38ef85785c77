"""The tables of a set of workloads, from compiled formulas where they are many."""

import numpy as np
from numpy.typing import NDArray

from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.figures import Figures
from sweepengine.formulas.formats import cache_bits
from sweepengine.formulas.layout import Layout, ends_held
from sweepengine.formulas.points import IMAGE_COLUMNS, WORKLOAD_COLUMNS
from sweepengine.formulas.tokens import image_tokens
from sweepengine.grid.axes import AXES
from sweepengine.grid.plain import prefill_figures, step_figures, vision_of
from sweepengine.grid.products import distinct

Integers = NDArray[np.int64]
FEW = 1_000
"""Figures that plain Python makes in the time that compiling their formulas would take."""
IMAGE = [WORKLOAD_COLUMNS.index(name) for name in (*IMAGE_COLUMNS, "attention")]


def _places(*names: str) -> list[int]:
    return [WORKLOAD_COLUMNS.index(name) for name in names]


HEADS = _places("attention_heads", "key_value_heads", "attention")
LAYOUT = _places(*AXES["layout"].columns)
FORMATS = _places("latent", "weight_format", "cache_format")
STEPS = [*HEADS, *FORMATS, *LAYOUT]
FILLED = [*HEADS, FORMATS[-1], *LAYOUT]
"""What prefill depends on beside tokens."""
TEXT = [WORKLOAD_COLUMNS.index(name) for name in ("text_tokens", "prompt_tokens")]
CACHED = WORKLOAD_COLUMNS.index("cached_tokens")
IMAGE_TOKENS = Figures._fields.index("image_tokens")


def tabulate(arch: Architecture, workloads: Integers) -> tuple[Integers, Integers, Integers]:
    """Figures of workloads, shape (W, workload columns), as `kernel.Tables` holds them.

    Vision depends on image and attention alone, steps on heads and attention alone, so each is
    made once for those. Prefill is made for each workload.
    """
    count = len(workloads)
    figures = np.zeros((len(Figures._fields), count), np.int64)
    if arch.towers is not None:
        rows, codes = distinct([workloads[:, i] for i in IMAGE])
        figures[:] = _vision(arch, workloads[rows][:, IMAGE])[:, codes]
    _add_prefill(arch, workloads, figures)
    rows, codes = distinct([workloads[:, i] for i in STEPS])
    steps = [
        step_figures(arch, *chosen[:-4], Layout(*chosen[-4:]))
        for chosen in workloads[rows][:, STEPS].tolist()
    ]
    figures += np.array([step.figures for step in steps], np.int64).T[:, codes]
    keys = np.array([step.keys for step in steps], np.int64).transpose(1, 2, 0)[:, :, codes]
    experts = np.array([step.expert_bytes for step in steps], np.int64).reshape(len(steps), -1, 2)
    routed = np.ascontiguousarray(experts.transpose(1, 2, 0)[:, :, codes])
    return figures, np.ascontiguousarray(keys), routed


def _vision(arch: Architecture, images: Integers) -> Integers:
    """Vision figures, shape (fields of `Figures`, images)."""
    towers = arch.vision
    if len(images) <= FEW:
        found = [
            vision_of(arch, image_tokens(towers.image, *sizes), flash)
            for *sizes, flash in images.tolist()
        ]
        return np.array(found, np.int64).T
    from sweepengine.engine.kernel import add_vision

    table = np.zeros((len(Figures._fields), len(images)), np.int64)
    add_vision(towers, arch.counts, arch.convention, images, table)
    return table


def _add_prefill(arch: Architecture, workloads: Integers, figures: Integers) -> None:
    """Add ends and groups over the context; `figures` has the image's tokens already."""
    texts = workloads[:, TEXT].sum(axis=1)
    cached = np.ascontiguousarray(workloads[:, CACHED])
    if len(workloads) <= FEW:
        prompts = zip(texts.tolist(), figures[IMAGE_TOKENS].tolist(), cached.tolist(), strict=True)
        found = [
            prefill_figures(arch, *tokens, *chosen[:-4], Layout(*chosen[-4:]))
            for tokens, chosen in zip(prompts, workloads[:, FILLED].tolist(), strict=True)
        ]
        figures += np.array(found, np.int64).T
        return
    from sweepengine.engine.kernel import add_prefill

    chosen = np.ascontiguousarray(workloads[:, FILLED])
    rows, codes = distinct([chosen[:, len(HEADS) + i] for i in range(len(FILLED) - len(HEADS))])
    beside = [
        (cache_bits(arch, cache), *ends_held(arch.groups, Layout(*layout)))
        for cache, *layout in chosen[rows][:, len(HEADS) :].tolist()
    ]
    held = np.array(beside, np.int64)[codes]
    counts = arch.counts
    for i, group in enumerate(arch.groups):
        add_prefill(arch.trunk, group, counts.layer, counts.ends, arch.convention, texts, cached,
                    chosen, held, figures, int(i == 0))  # fmt: skip
