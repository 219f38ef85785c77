"""Seconds of one point in plain Python: prefill and steps put together of groups and ends."""

from functools import lru_cache
from typing import NamedTuple

from sweepengine.formulas.architecture import Architecture, Reach
from sweepengine.formulas.attention_times import step_lines, steps_us, time_reaches
from sweepengine.formulas.layer_times import end_times, group_prefill_us, group_step_us, summed
from sweepengine.formulas.layout import Layout, ends_held, share_trunk
from sweepengine.formulas.points import Point
from sweepengine.formulas.seconds import Line
from sweepengine.formulas.serving import CONTINUOUS, Engine, continuous_tpot, continuous_ttft
from sweepengine.formulas.speeds import Speeds
from sweepengine.formulas.tokens import ceil_div
from sweepengine.formulas.vision_times import vision_us
from sweepengine.formulas.ways import cached_before
from sweepengine.formulas.workloads import regrouped
from sweepengine.grid.plain import image_of, layout_of, text_of

KEPT = 1 << 12
A_SECOND = 1e6
"""Microseconds."""


class Step(NamedTuple):
    """A decode step of a batch: what does not depend on keys, and attention as lines in them."""

    fixed: float
    """us"""
    lines: tuple[tuple[Line, Reach, int], ...]
    """With the keys that each reaches and how many layers have it."""

    def total(self, cached: int, steps: int) -> float:
        """Time of K steps behind C cached tokens, us."""
        attended = sum(
            layers * steps_us(line, cached, steps, reach) for line, reach, layers in self.lines
        )
        return steps * self.fixed + attended


@lru_cache(KEPT)
def prefill_us(
    arch: Architecture,
    heads: tuple[int, int],
    layout: Layout,
    sequences: float,
    tokens: int,
    cached: int,
    speeds: Speeds,
) -> float:
    """Prefill of b sequences of T tokens on C cached ones, one pass; us."""
    trunk, held = share_trunk(arch.trunk, layout.tensor), ends_held(arch.groups, layout)
    found = summed(end_times(trunk, layout, sequences, tokens, *held, 0, speeds))
    for group in regrouped(arch, *heads, layout):
        found += group_prefill_us(group, trunk, layout, sequences, tokens, cached, speeds)
    return found


@lru_cache(KEPT)
def step_of(
    arch: Architecture, heads: tuple[int, int], layout: Layout, sequences: float, speeds: Speeds
) -> Step:
    """A decode step of b sequences."""
    trunk, held = share_trunk(arch.trunk, layout.tensor), ends_held(arch.groups, layout)
    fixed = summed(end_times(trunk, layout, sequences, 1, *held, 1, speeds))
    lines: list[tuple[Line, Reach, int]] = []
    for group in regrouped(arch, *heads, layout):
        fixed += group_step_us(group, trunk, layout, sequences, speeds)
        found = step_lines(group.attention, sequences, speeds)
        reaches = time_reaches(group.attention)
        lines += [
            (line, reach, group.layers)
            for line, reach in zip(found, reaches, strict=True)
            if any(line)
        ]
    return Step(fixed, tuple(lines))


class Timed(NamedTuple):
    """Seconds of one point."""

    vision_seconds: float
    prefill_seconds: float
    decode_seconds: float
    ttft_seconds: float
    tpot_seconds: float


def timed(arch: Architecture, point: Point, speeds: Speeds, engine: Engine) -> Timed:
    """Seconds of one point at a place, as the kernel computes them."""
    layout = layout_of(point)
    heads = (point.attention_heads, point.key_value_heads)
    batch = float(ceil_div(point.batch_size, layout.data))
    alone = point.serving == CONTINUOUS
    filled = 1.0 if alone else batch
    image = image_of(arch, point)
    vision = 0.0 if arch.towers is None else vision_us(arch.towers, image, filled, speeds)
    tokens = image.view_tokens + image.tile_tokens + text_of(point)
    prefill = layout.pipeline * prefill_us(
        arch, heads, layout, filled, tokens, point.cached_tokens, speeds
    )
    steps = point.decode_steps
    before = cached_before(arch.convention, tokens + point.cached_tokens)
    step = step_of(arch, heads, layout, batch, speeds)
    spent = layout.pipeline * step.total(before, steps)
    first, each = vision + prefill, spent / steps if steps else 0.0
    if alone:
        one = first
        first = continuous_ttft(each, one, one, batch, engine)
        each = continuous_tpot(each, one, batch, steps, engine)
        spent = each * steps
    return Timed(*(us / A_SECOND for us in (vision, prefill, spent, first, each)))
