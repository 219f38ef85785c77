"""Times of one point in plain Python: prefill and steps, put together of the parts of passes."""

from functools import lru_cache
from typing import NamedTuple

from sweepengine.formulas.architecture import Architecture, Span
from sweepengine.formulas.attention_times import steps_us
from sweepengine.formulas.layer_times import summed
from sweepengine.formulas.layout import Layout, share_of
from sweepengine.formulas.passes import times_of
from sweepengine.formulas.points import Point, tokens_of
from sweepengine.formulas.reductions import cached_before
from sweepengine.formulas.seconds import Line
from sweepengine.formulas.serving import CONTINUOUS, Seconds, ServingEngine, seconds_of
from sweepengine.formulas.speeds import Speeds
from sweepengine.formulas.tokens import Pass, ceil_div
from sweepengine.formulas.vision_times import vision_us
from sweepengine.grid.plain import image_of, layout_of

MOST_PASSES = 1 << 12
"""Passes kept."""


class Step(NamedTuple):
    """A decode step of a batch: what does not depend on keys, and attention as lines in them."""

    fixed: float
    """us"""
    lines: tuple[tuple[Line, Span, int], ...]
    """With the span of keys of each, and how many layers have it."""

    def total(self, cached: int, steps: int) -> float:
        """Time of K steps behind C cached tokens, us."""
        attended = sum(
            layers * steps_us(line, cached, steps, span) for line, span, layers in self.lines
        )
        return steps * self.fixed + attended


@lru_cache(MOST_PASSES)
def prefill_us(
    arch: Architecture, heads: tuple[int, int], layout: Layout, one: Pass, speeds: Speeds
) -> float:
    """Prefill in one pass, us.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    heads : tuple of int
        Attention heads and key-value heads; 0: its own.
    layout : Layout
        How the model lies on devices.
    one : Pass
        Sequences of a data-parallel group, their new and their cached tokens.
    speeds : Speeds
        Rates of the device.
    """
    parts = times_of(share_of(arch, *heads, layout), one, speeds)
    return sum(part.layers * summed(part.operators) for part in parts)


@lru_cache(MOST_PASSES)
def step_of(
    arch: Architecture, heads: tuple[int, int], layout: Layout, sequences: float, speeds: Speeds
) -> Step:
    """A decode step of b sequences; parameters as those of `prefill_us`."""
    one = Pass(sequences=sequences, tokens=1, cached=0, decode=1)
    fixed, lines = 0.0, []
    for part in times_of(share_of(arch, *heads, layout), one, speeds):
        fixed += part.layers * summed(part.operators)
        lines += [(line, span, part.layers) for _, line, span in part.lines]
    return Step(fixed, tuple(lines))


def timed(arch: Architecture, point: Point, speeds: Speeds, engine: ServingEngine) -> Seconds:
    """Times of one point, as the kernel computes them.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    point : Point
        All inputs.
    speeds : Speeds
        Rates of its device, serving engine and formats.
    engine : ServingEngine
        What the serving engine adds.
    """
    layout, image = layout_of(point), image_of(arch, point)
    heads = (point.attention_heads, point.key_value_heads)
    batch = float(ceil_div(point.batch_size, layout.data))
    filled = 1.0 if point.serving == CONTINUOUS else batch
    vision = 0.0 if arch.towers is None else vision_us(arch.towers, image, filled, speeds)
    tokens = tokens_of(point, image.view_tokens + image.tile_tokens)
    one = Pass(sequences=filled, tokens=tokens.prefill, cached=point.cached_tokens, decode=0)
    prefill = layout.pipeline * prefill_us(arch, heads, layout, one, speeds)
    steps = point.decode_steps
    before = cached_before(arch.convention, tokens.context)
    step = step_of(arch, heads, layout, batch, speeds)
    decode = layout.pipeline * step.total(before, steps)
    return seconds_of(vision, prefill, decode, steps, batch, point.serving, engine)
