"""One point in plain Python: unbounded integers, nothing compiled, no array library.

Figures are kept by what they depend on, so that a next point of the same workload, or of the same
model, costs less.
"""

from functools import lru_cache, reduce

from sweepengine.formulas import ways
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.figures import (
    Figures,
    ends_figures,
    group_prefill,
    larger,
    vision_figures,
)
from sweepengine.formulas.formats import cache_bits, formats_of
from sweepengine.formulas.layout import WHOLE, Layout, ends_held, share_trunk
from sweepengine.formulas.points import Point
from sweepengine.formulas.steps import Keys, group_steps
from sweepengine.formulas.tokens import ImageTokens, ceil_div, image_tokens
from sweepengine.formulas.workloads import (
    NO_FIGURES,
    NO_KEYS,
    Workload,
    kinds,
    merged_figures,
    merged_keys,
    regrouped,
)
from sweepengine.grid import columns
from sweepengine.grid.columns import OUTPUTS, Column

KEPT = 1 << 14
"""Figures kept of each kind."""


@lru_cache(KEPT)
def vision_of(arch: Architecture, image: ImageTokens, flash: int) -> Figures:
    """What depends on the image alone."""
    if arch.towers is None:
        return NO_FIGURES
    return vision_figures(arch.towers, arch.counts, arch.convention, image, flash)


@lru_cache(KEPT)
def step_figures(
    arch: Architecture,
    heads: int,
    key_value_heads: int,
    flash: int,
    absorbed: int = 0,
    weights: int = 0,
    cache: int = 0,
    layout: Layout = WHOLE,
) -> Workload:
    """What does not depend on the context: steps through all groups of a device."""
    sums, convention, counts = arch.convention.sums_activations, arch.convention, arch.counts
    figures = NO_FIGURES
    reaches = arch.reaches
    keys: list[Keys] = [NO_KEYS] * len(reaches)
    experts = [0] * len(arch.routings)
    trunk = share_trunk(arch.trunk, layout.tensor)
    formats, bits = formats_of(arch, weights), cache_bits(arch, cache)
    groups = regrouped(arch, heads, key_value_heads, layout)
    for group, (attention, entries, routing) in zip(groups, kinds(arch), strict=True):
        found = group_steps(
            trunk, group, counts.layer, convention, layout, formats, bits, flash, absorbed
        )
        figures = merged_figures(figures, found.figures, sums)
        keys[attention] = merged_keys(keys[attention], found.keys, sums)
        if entries >= 0:
            keys[entries] = merged_keys(keys[entries], found.entries, sums)
        if routing >= 0:
            experts[routing] += found.expert_bytes
    held = [ceil_div(routed, layout.expert) for routed, _ in arch.routings]
    return Workload(figures, tuple(keys), tuple(zip(experts, held, strict=True)), reaches)


@lru_cache(KEPT)
def prefill_figures(
    arch: Architecture,
    text: int,
    image: int,
    cached: int,
    heads: int,
    key_value_heads: int,
    flash: int,
    cache: int = 0,
    layout: Layout = WHOLE,
) -> Figures:
    """What depends on the context: ends, and prefill through all groups of a device."""
    sums, convention, counts = arch.convention.sums_activations, arch.convention, arch.counts
    trunk, bits = share_trunk(arch.trunk, layout.tensor), cache_bits(arch, cache)
    held = ends_held(arch.groups, layout)
    found = ends_figures(trunk, counts.ends, convention, layout, *held, text, image, cached)
    for group in regrouped(arch, heads, key_value_heads, layout):
        filled = group_prefill(
            trunk, group, counts.layer, convention, layout, bits, text + image, cached, flash
        )
        found = merged_figures(found, filled, sums)
    return found


def layout_of(point: Point) -> Layout:
    """How a point's model lies on devices."""
    return Layout(
        point.tensor_parallel,
        point.expert_parallel,
        point.pipeline_parallel,
        point.data_parallel,
    )


def image_of(arch: Architecture, point: Point) -> ImageTokens:
    """Geometry of a point's image; no tokens for a model without vision."""
    if arch.towers is None:
        return ImageTokens(0, 0, 0, 0, 0)
    return image_tokens(
        arch.towers.image, point.view_size, point.tile_size, point.crop_rows, point.crop_cols
    )


def text_of(point: Point) -> int:
    """Text that prefill runs over: beside the image, or the prompt of a model without vision."""
    return point.text_tokens + point.prompt_tokens


def workload_of(arch: Architecture, point: Point, image: ImageTokens | None = None) -> Workload:
    """Figures of a point's workload; `image` instead of its own geometry, for bounds."""
    image = image or image_of(arch, point)
    heads = (point.attention_heads, point.key_value_heads, point.attention)
    layout, cache = layout_of(point), point.cache_format
    steps = step_figures(arch, *heads, point.latent, point.weight_format, cache, layout)
    tokens = image.view_tokens + image.tile_tokens
    parts = (
        vision_of(arch, image, point.attention),
        prefill_figures(arch, text_of(point), tokens, point.cached_tokens, *heads, cache, layout),
        steps.figures,
    )
    sums = arch.convention.sums_activations
    return steps._replace(figures=reduce(lambda a, b: merged_figures(a, b, sums), parts))


def column_value(
    column: Column, arch: Architecture, workload: Workload, steps: int, batch: int
) -> int | float:
    """Value of one column, by its way."""
    figures, convention = workload.figures, arch.convention
    way, figure = column.way, column.figure
    value: int = getattr(figures, figure)
    if way == columns.AS_IS:
        return value
    if way == columns.READ_ONCE:
        return float(value)
    local = ceil_div(batch, figures.data_parallel)
    if way == columns.PER_SEQUENCE:
        return local * value
    context = figures.context_tokens
    reaches = workload.reaches
    if way == columns.OVER_STEPS:
        found = ways.over_steps(steps, value)
        grows = figure in Keys._fields
        for keys, reach in zip(workload.keys, reaches, strict=True) if grows else ():
            found += ways.keys_met(convention, context, steps, reach) * getattr(keys, figure)
        return local * found
    if way == columns.LAST_STEP:
        lines = [
            ways.step_bytes(
                keys.attention_bytes,
                keys.attention_growth,
                keys.other_bytes,
                keys.other_growth,
                ways.last_keys(convention, context, steps, reach),
            )
            for keys, reach in zip(workload.keys, reaches, strict=True)
        ]
        sums = convention.sums_activations
        held = reduce(lambda a, b: larger(a, b, sums), lines)
        return local * (held + value) * min(steps, 1)
    if way == columns.CACHE_AFTER:
        return local * value + local * sum(
            keys.cache_bytes * ways.cached_after(convention, context, steps, reach)
            for keys, reach in zip(workload.keys, reaches, strict=True)
        )
    tokens = local * figures.prefill_tokens if way == columns.PREFILL_READS else local
    read = ways.read_once(value, figures.table_row_bytes, figures.table_rows, tokens)
    met = tokens * figures.expert_groups
    for routing, (expert_bytes, held_experts) in zip(
        arch.routings, workload.expert_bytes, strict=True
    ):
        read += ways.touched_experts(held_experts, *routing, met) * expert_bytes
    return read if way == columns.PREFILL_READS else steps * read


def point_columns(
    arch: Architecture, point: Point, image: ImageTokens | None = None
) -> dict[str, int | float]:
    """All output columns of one point.

    Parameters
    ----------
    image : ImageTokens, optional
        Instead of the point's own geometry, for bounds over many points.
    """
    workload = workload_of(arch, point, image)
    return {
        column.name: column_value(column, arch, workload, point.decode_steps, point.batch_size)
        for column in OUTPUTS
    }
