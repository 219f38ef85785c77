"""Times of one point in the plain backend: prefill and decode steps, summed over passes."""

from functools import lru_cache
from typing import NamedTuple

from sweepengine.data.errors import InputError
from sweepengine.formulas.architecture import Architecture, Span
from sweepengine.formulas.attention_times import steps_us
from sweepengine.formulas.drafts import drafted
from sweepengine.formulas.drafts import step_of as step_at
from sweepengine.formulas.layer_times import summed
from sweepengine.formulas.layout import Layout, all_layers_of
from sweepengine.formulas.passes import times_of
from sweepengine.formulas.points import Point, rows_of_images, tokens_of
from sweepengine.formulas.reductions import cached_before
from sweepengine.formulas.seconds import Line
from sweepengine.formulas.serving import (
    CONTINUOUS,
    Batch,
    Passes,
    Seconds,
    ServingEngine,
    chunk_requests,
    seconds_of,
)
from sweepengine.formulas.speculation import A_TOKEN
from sweepengine.formulas.speeds import Speeds
from sweepengine.formulas.tokens import Pass, ceil_div
from sweepengine.formulas.vision_times import vision_us
from sweepengine.grid.plain import image_of, layout_of

MAX_CACHED_PASSES = 1 << 12
OWN_HEADS = (0, 0)
"""Attention heads and key-value heads of the model itself."""
UNTIMED = "expected 1 with a device: times of such layouts are not predicted"
"""Why devices that share the tokens of a KV cache have no times."""


class Step(NamedTuple):
    """A decode step of a batch: a fixed time, and attention times linear in the number of keys."""

    fixed: float
    """Time that does not depend on keys, us."""
    lines: tuple[tuple[Line, Span, int], ...]
    """Attention times, each with its span of keys and number of layers."""

    def total(self, cached: int, steps: int) -> float:
        """Time of `steps` steps after `cached` cached tokens, us."""
        attended = sum(
            layers * steps_us(line, cached, steps, span) for line, span, layers in self.lines
        )
        return steps * self.fixed + attended


@lru_cache(MAX_CACHED_PASSES)
def prefill_us(
    arch: Architecture, heads: tuple[int, int], layout: Layout, tokens: Pass, speeds: Speeds
) -> float:
    """Time of a prefill in one pass, us.

    Parameters
    ----------
    arch : Architecture
    heads : tuple of int
        Attention heads and key-value heads; 0 for those of the model (`OWN_HEADS`).
    layout : Layout
    tokens : Pass
        Sequences of a data-parallel group, their new and their cached tokens.
    speeds : Speeds
        Rates of the device.
    """
    parts = times_of(all_layers_of(arch, *heads, layout), tokens, speeds)
    return sum(part.layers * summed(part.operators) for part in parts)


@lru_cache(MAX_CACHED_PASSES)
def step_of(
    arch: Architecture,
    heads: tuple[int, int],
    layout: Layout,
    sequences: float,
    speeds: Speeds,
    features: int = 0,
    tokens: int = 1,
) -> Step:
    """A pass of a decode step of b sequences; parameters as those of `prefill_us`.

    Parameters
    ----------
    arch, heads, layout, speeds
        As `prefill_us` takes them.
    sequences : float
        b.
    features : int
        Rows of images that cross attention of each sequence meets.
    tokens : int
        New tokens of each sequence.
    """
    new = Pass(sequences=sequences, tokens=tokens, cached=0, decode=1, features=features)
    fixed, lines = 0.0, []
    for part in times_of(all_layers_of(arch, *heads, layout), new, speeds):
        fixed += part.layers * summed(part.operators)
        lines += [(line, span, part.layers) for _, line, span in part.lines]
    return Step(fixed, tuple(lines))


def refuse_untimed(sharing: int) -> None:
    """Refuse times where so many devices share the tokens of a KV cache.

    Raises
    ------
    InputError
        When there are several.
    """
    if sharing > 1:
        raise InputError(f"decode_context_parallel = {sharing}: {UNTIMED}")


def timed(
    arch: Architecture,
    point: Point,
    speeds: Speeds,
    engine: ServingEngine,
    drafting: Speeds | None = None,
) -> Seconds:
    """Times of one point, as the kernel computes them.

    Parameters
    ----------
    arch : Architecture
    point : Point
    speeds : Speeds
        Rates of its device, serving engine and formats.
    engine : ServingEngine
        What the serving engine adds.
    drafting : Speeds, optional
        Rates of the draft of a point that drafts tokens.

    Raises
    ------
    InputError
        When devices share the tokens of a KV cache.
    """
    refuse_untimed(point.decode_context_parallel)
    layout, image = layout_of(point), image_of(arch, point)
    heads = (point.attention_heads, point.key_value_heads)
    batch = float(ceil_div(point.batch_size, layout.data))
    continuous = point.serving == CONTINUOUS
    prefilled = 1.0 if continuous else batch
    vision, images = 0.0, prefilled * point.images
    if arch.towers is not None:
        vision = vision_us(arch.towers, image, images, speeds)
    tokens = tokens_of(point, image.tokens, image.features)
    rows = rows_of_images(arch, tokens.image, tokens.features)

    def prefill_of(sequences: float) -> float:
        new = Pass(sequences, tokens.prefill, tokens.cached, decode=0, features=rows)
        return prefill_us(arch, heads, layout, new, speeds)

    prefill, together = prefill_of(prefilled), batch
    if continuous:
        together = chunk_requests(batch, tokens.prefill, engine.chunk)
    refill = batch / prefilled * vision + batch / together * prefill_of(together)
    steps = point.decode_steps
    before = cached_before(arch.convention, tokens.context)
    tokens_ahead, accepted = point.draft_tokens, step_at(point).accepted / A_TOKEN
    step = step_of(arch, heads, layout, batch, speeds, rows, 1 + tokens_ahead)
    decode = step.total(before + tokens_ahead, steps)
    if drafting is not None:
        own, seen = drafted(arch, point)
        own_heads, on = (seen.attention_heads, seen.key_value_heads), layout_of(seen)

        def draft_prefill(sequences: float) -> float:
            new = Pass(sequences, tokens.prefill, tokens.cached, decode=0)
            return prefill_us(own, own_heads, on, new, drafting)

        prefill += draft_prefill(prefilled)
        refill += batch / together * draft_prefill(together)
        one = step_of(own, own_heads, on, batch, drafting)
        decode += tokens_ahead * one.total(before + tokens_ahead, steps)
    passes = Passes(vision, prefill, refill, decode / accepted)
    running = Batch(batch, tokens.prefill, steps, accepted)
    return seconds_of(passes, running, point.serving, engine)
