"""The plain backend: one point in unbounded Python integers, without compilation or arrays.

Figures are cached by what they depend on, so further points of a workload or a model are faster.
"""

from functools import lru_cache, reduce
from typing import NamedTuple

from sweepengine.formulas import reductions
from sweepengine.formulas.architecture import Architecture, Span
from sweepengine.formulas.cost import total
from sweepengine.formulas.crops import crop_views, crops_of_image
from sweepengine.formulas.drafts import step_of
from sweepengine.formulas.figures import (
    NO_GROWTH,
    NO_PHASE,
    Figures,
    KeyGrowth,
    Phase,
    Weights,
    device_counts,
    larger,
    merged,
    merged_growth,
)
from sweepengine.formulas.formats import cache_bits, formats_of
from sweepengine.formulas.images import image_of_size
from sweepengine.formulas.layers import row_values
from sweepengine.formulas.layout import WHOLE, Layout, share_of
from sweepengine.formulas.passes import ends_part, layer_part, step_of_none
from sweepengine.formulas.phases import ends_phase, group_phase, group_step
from sweepengine.formulas.points import IMAGE_COLUMNS, Point, rows_of_images, tokens_of
from sweepengine.formulas.speculation import (
    keys_of_answer,
    most_keys_of_answer,
    steps_of_answer,
)
from sweepengine.formulas.tokens import ceil_div, seen_by
from sweepengine.formulas.towers import Towers
from sweepengine.formulas.views import NO_IMAGE, ImageViews
from sweepengine.formulas.vision import VisionPhase, of_images, vision_of
from sweepengine.grid import columns
from sweepengine.grid.columns import OUTPUTS, Column

MAX_CACHED_FIGURES = 1 << 14
"""Most cached figures of each kind."""


PATHS = {column.figure: column.figure.split(".") for column in OUTPUTS}
"""Record and field of each figure."""


class Steps(NamedTuple):
    """Figures of a decode step that do not depend on the context, for one device."""

    counts: Phase
    growth: tuple[KeyGrowth, ...]
    """For each of `Architecture.spans`."""
    weights: Weights
    expert_bytes: tuple[tuple[int, int], ...]
    """For each of `Architecture.routings`: bytes of one expert, and experts of the device."""


class Workload(NamedTuple):
    """Figures of one workload, which reductions take."""

    figures: Figures
    growth: tuple[KeyGrowth, ...]
    expert_bytes: tuple[tuple[int, int], ...]
    spans: tuple[Span, ...]


@lru_cache(MAX_CACHED_FIGURES)
def vision_figures(arch: Architecture, image: ImageViews, flash: int) -> VisionPhase:
    """Figures of one image; zero for a model without vision."""
    if arch.towers is None:
        return VisionPhase(NO_PHASE, 0, 0)
    return vision_of(arch.convention, arch.towers, arch.counts, image, flash)


@lru_cache(MAX_CACHED_FIGURES)
def step_figures(
    arch: Architecture,
    heads: int,
    key_value_heads: int,
    flash: int,
    absorbed: int = 0,
    weights: int = 0,
    cache: int = 0,
    layout: Layout = WHOLE,
    features: int = 0,
    tokens: int = 1,
) -> Steps:
    """Passes of decode steps of one sequence on one device.

    Parameters
    ----------
    arch : Architecture
    heads, key_value_heads : int
        0 for those of the model.
    flash, absorbed, weights, cache : int
        Codes of the columns `attention`, `latent`, `weight_format` and `cache_format`.
    layout : Layout
    features : int
        Rows of images whose keys cross attention meets.
    tokens : int
        New tokens of a pass.
    """
    sums, convention, counts = arch.convention.sums_activations, arch.convention, arch.counts
    size, spans = convention.dtype_bytes, arch.spans
    share = share_of(arch, heads, key_value_heads, layout)
    formats, bits = formats_of(arch, weights), cache_bits(arch, cache)
    ends = ends_part(share.backbone, share.layout, share.ends, tokens)
    step_counts = ends_phase(convention, counts.ends, ends, 1)
    at_ends = total(ends.operators, counts.ends)
    read, held = at_ends.weight_io * size, at_ends.weights * size
    filling = read
    growth = [NO_GROWTH] * len(spans)
    experts = [0] * len(arch.routings)
    none = step_of_none(flash, absorbed, features, tokens)
    for group, places in zip(share.groups, arch.places, strict=True):
        step = group_step(
            convention, counts.layer, group, share.backbone, layout, none, formats, bits
        )
        step_counts = merged(step_counts, step.counts, sums)
        read, held = read + step.read_bytes, held + step.held_bytes
        filling += step.prefill_read_bytes
        for place, more in ((places.keys, step.keys), (places.entries, step.entries)):
            if place >= 0:
                growth[place] = merged_growth(growth[place], more, sums)
        if places.routing >= 0:
            experts[places.routing] += step.expert_bytes
    on_device = [ceil_div(routed, layout.expert) for routed, _ in arch.routings]
    row = share.ends.table * row_values(share.backbone) * counts.ends[0].weight_io * size
    table = Weights(
        held_bytes=held,
        vision_read_bytes=0,
        read_bytes=read,
        prefill_read_bytes=filling,
        table_row_bytes=row,
        table_rows=share.backbone.vocabulary,
        position_row_bytes=min(share.backbone.positions, 1)
        * share.ends.table
        * share.backbone.hidden
        * counts.ends[0].weight_io
        * size,
    )
    return Steps(step_counts, tuple(growth), table, tuple(zip(experts, on_device, strict=True)))


@lru_cache(MAX_CACHED_FIGURES)
def prefill_figures(
    arch: Architecture,
    tokens: int,
    cached: int,
    heads: int,
    key_value_heads: int,
    flash: int,
    cache: int = 0,
    layout: Layout = WHOLE,
    features: int = 0,
) -> Phase:
    """Prefill of one sequence on one device.

    Parameters
    ----------
    arch : Architecture
    tokens, cached : int
        New tokens, and tokens before them in the KV cache.
    heads, key_value_heads : int
        0 for those of the model.
    flash, cache : int
        Codes of the columns `attention` and `cache_format`.
    layout : Layout
    features : int
        Rows of images that cross attention makes keys of.
    """
    convention, counts = arch.convention, arch.counts
    share, bits = share_of(arch, heads, key_value_heads, layout), cache_bits(arch, cache)
    ends = ends_part(share.backbone, share.layout, share.ends, tokens)
    prefill = ends_phase(convention, counts.ends, ends, 0)
    for group in share.groups:
        seen = seen_by(group.attention, tokens, cached, flash, 0, features)
        part = layer_part(group, share.backbone, layout, seen)
        phase = group_phase(convention, counts.layer, group, share.backbone, part, bits)
        prefill = merged(prefill, phase, convention.sums_activations)
    return prefill


def layout_of(point: Point) -> Layout:
    """The layout of a point."""
    return Layout(
        tensor=point.tensor_parallel,
        expert=point.expert_parallel,
        pipeline=point.pipeline_parallel,
        data=point.data_parallel,
        decode_context=point.decode_context_parallel,
    )


def image_of(arch: Architecture, point: Point) -> ImageViews:
    """Views of a point's image; none for a model without vision."""
    if arch.towers is None:
        return NO_IMAGE
    return image_of_sizes(arch.towers, *(getattr(point, name) for name in IMAGE_COLUMNS))


def image_of_sizes(
    towers: Towers,
    view_size: int,
    tile_size: int,
    crop_rows: int,
    crop_cols: int,
    height: int,
    width: int,
) -> ImageViews:
    """Views of an image; sizes are those of `formulas.points.IMAGE_COLUMNS`.

    Raises
    ------
    ImageSizeError
        When the processor of the model refuses an image of this size.
    """
    crops = towers.crops
    if crops is None:
        return image_of_size(towers, height, width)
    if height:
        crop_rows, crop_cols = crops_of_image(crops, tile_size, height, width)
    return crop_views(crops, view_size, tile_size, crop_rows, crop_cols)


def workload_of(arch: Architecture, point: Point, image: ImageViews | None = None) -> Workload:
    """Figures of a point's workload; `image` replaces that of the point, for upper bounds."""
    heads = (point.attention_heads, point.key_value_heads, point.attention)
    layout, cache = layout_of(point), point.cache_format
    image = image or image_of(arch, point)
    seen = of_images(vision_figures(arch, image, point.attention), point.images)
    tokens = tokens_of(point, image.tokens, image.features)
    rows = rows_of_images(arch, tokens.image, tokens.features)
    step = step_of(point)
    steps = step_figures(
        arch, *heads, point.latent, point.weight_format, cache, layout, rows, step.tokens
    )
    filled = prefill_figures(arch, tokens.prefill, tokens.cached, *heads, cache, layout, rows)
    weights = steps.weights
    positions = reductions.more_positions(arch.backbone.positions, tokens.prefill)
    weights = weights._replace(
        held_bytes=weights.held_bytes + seen.held_bytes,
        vision_read_bytes=seen.read_bytes,
        prefill_read_bytes=weights.prefill_read_bytes + positions * weights.position_row_bytes,
    )
    figures = Figures(
        tokens, seen.counts, filled, steps.counts, weights, device_counts(layout), step
    )
    return Workload(figures, steps.growth, steps.expert_bytes, arch.spans)


def column_value(
    column: Column, arch: Architecture, workload: Workload, answer: int, batch: int
) -> int | float:
    """Value of one column of counts, by its reduction.

    Parameters
    ----------
    column : Column
    arch : Architecture
    workload : Workload
        Of the point.
    answer, batch : int
        Tokens decoded, and sequences on all devices.
    """
    figures, convention, step = workload.figures, arch.convention, workload.figures.step
    reduction, (record, field) = column.reduction, PATHS[column.figure]
    value: int = getattr(getattr(figures, record), field)
    if reduction == columns.AS_IS:
        return value
    if reduction == columns.READ_ONCE:
        return float(value)
    local = ceil_div(batch, figures.devices.data_parallel)
    if reduction == columns.PER_SEQUENCE:
        return local * value
    context, spans = figures.tokens.context, workload.spans
    before = reductions.cached_before(convention, context)
    steps = steps_of_answer(answer, step.accepted)
    if reduction == columns.OVER_STEPS:
        summed = reductions.over_steps(steps, value)
        for more, span in zip(workload.growth, spans, strict=True):
            met = keys_of_answer(before, answer, span, step)
            summed += met * getattr(more.counts, field)
        return local * summed
    if reduction == columns.LAST_STEP:
        lines = [
            reductions.step_bytes(more.peak, most_keys_of_answer(before, answer, span, step))
            for more, span in zip(workload.growth, spans, strict=True)
        ]
        sums = convention.sums_activations
        grown = reduce(lambda a, b: larger(a, b, sums), lines)
        return local * (grown + value) * min(steps, 1)
    if reduction == columns.CACHE_AFTER:
        return local * value + local * sum(
            more.counts.cache_bytes * reductions.cached_after(convention, context, answer, span)
            for more, span in zip(workload.growth, spans, strict=True)
        )
    prefill = reduction == columns.PREFILL_READS
    tokens = local * (figures.tokens.prefill if prefill else step.tokens)
    weights = figures.weights
    read = reductions.read_once(value, weights.table_row_bytes, weights.table_rows, tokens)
    met = tokens * figures.devices.expert_groups
    for routing, (expert_bytes, held_experts) in zip(
        arch.routings, workload.expert_bytes, strict=True
    ):
        read += reductions.activated_experts(held_experts, *routing, met) * expert_bytes
    return read if prefill else steps * step.passes * read
