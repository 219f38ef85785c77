"""The tables of a set of workloads, from compiled formulas where they are many."""

import numpy as np
from numpy.typing import NDArray

from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.figures import Figures
from sweepengine.formulas.points import IMAGE_COLUMNS, WORKLOAD_COLUMNS
from sweepengine.formulas.tokens import image_tokens
from sweepengine.grid.plain import prefill_figures, step_figures, vision_of
from sweepengine.grid.products import distinct

Integers = NDArray[np.int64]
FEW = 1_000
"""Figures that plain Python makes in the time that compiling their formulas would take."""
IMAGE = [WORKLOAD_COLUMNS.index(name) for name in (*IMAGE_COLUMNS, "attention")]
HEADS = [
    WORKLOAD_COLUMNS.index(name) for name in ("attention_heads", "key_value_heads", "attention")
]
STEPS = [*HEADS, WORKLOAD_COLUMNS.index("latent")]
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
    steps = [step_figures(arch, *heads) for heads in workloads[rows][:, STEPS].tolist()]
    figures += np.array([step.figures for step in steps], np.int64).T[:, codes]
    keys = np.array([step.keys for step in steps], np.int64).transpose(1, 2, 0)[:, :, codes]
    experts = np.array([step.expert_bytes for step in steps], np.int64).reshape(len(steps), -1)
    return figures, np.ascontiguousarray(keys), np.ascontiguousarray(experts.T[:, codes])


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
            prefill_figures(arch, *tokens, *heads)
            for tokens, heads in zip(prompts, workloads[:, HEADS].tolist(), strict=True)
        ]
        figures += np.array(found, np.int64).T
        return
    from sweepengine.engine.kernel import add_prefill

    heads = np.ascontiguousarray(workloads[:, HEADS])
    counts = arch.counts
    for i, group in enumerate(arch.groups):
        add_prefill(arch.trunk, group, counts.layer, counts.ends, arch.convention, texts, cached,
                    heads, figures, int(i == 0))  # fmt: skip
