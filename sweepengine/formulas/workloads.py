"""Figures of a workload, put together of the figures of its parts."""

from operator import add
from typing import NamedTuple

from sweepengine.formulas.architecture import Architecture, Group, Reach
from sweepengine.formulas.attention import with_heads
from sweepengine.formulas.figures import SUMMED_FIGURES, Figures, larger
from sweepengine.formulas.layout import WHOLE, Layout, share_group
from sweepengine.formulas.steps import SUMMED_KEYS, Keys

NO_FIGURES = Figures(*[0] * len(Figures._fields))
NO_KEYS = Keys(*[0] * len(Keys._fields))


class Workload(NamedTuple):
    """Figures of one workload, for the ways."""

    figures: Figures
    keys: tuple[Keys, ...]
    """For each of `Architecture.reaches`."""
    expert_bytes: tuple[tuple[int, int], ...]
    """For each of `Architecture.routings`: of one expert, and how many the device holds."""
    reaches: tuple[Reach, ...]
    """`Architecture.reaches`."""


def merged_figures(one: Figures, other: Figures, sums: int) -> Figures:
    """Figures of two parts together."""
    return Figures(
        *map(add, one[:SUMMED_FIGURES], other[:SUMMED_FIGURES]),
        *(
            larger(*two, sums)
            for two in zip(one[SUMMED_FIGURES:], other[SUMMED_FIGURES:], strict=True)
        ),
    )


def merged_keys(one: Keys, other: Keys, sums: int) -> Keys:
    """Keys of two groups of one kind of attention together."""
    return Keys(
        *map(add, one[:SUMMED_KEYS], other[:SUMMED_KEYS]),
        *(larger(*two, sums) for two in zip(one[SUMMED_KEYS:], other[SUMMED_KEYS:], strict=True)),
    )


def regrouped(
    arch: Architecture, heads: int, key_value_heads: int, layout: Layout = WHOLE
) -> tuple[Group, ...]:
    """A device's groups of a model with other heads; 0: its own."""
    return tuple(
        share_group(
            group._replace(attention=with_heads(group.attention, heads, key_value_heads)), layout
        )
        for group in arch.groups
    )


def kinds(arch: Architecture) -> list[tuple[int, int, int]]:
    """For each group, the positions among reaches of its keys and entries, and of its routing.

    -1: no entries, no experts.
    """
    attentions = arch.attentions
    compressed = [attention for attention in attentions if attention.stride]
    found = []
    for group in arch.groups:
        forward, attention = group.feed_forward, group.attention
        entries = len(attentions) + compressed.index(attention) if attention.stride else -1
        routing = (forward.experts, forward.experts_per_token)
        chosen = arch.routings.index(routing) if forward.experts else -1
        found.append((attentions.index(attention), entries, chosen))
    return found
