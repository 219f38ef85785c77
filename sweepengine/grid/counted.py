"""Columns of counts of one point, those of its draft included, in plain Python."""

from collections.abc import Sequence

from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.drafts import draft_of, drafted, drafting_of
from sweepengine.formulas.figures import NO_PHASE, Figures, device_counts, in_passes
from sweepengine.formulas.points import Point, Tokens
from sweepengine.formulas.reductions import more_positions
from sweepengine.formulas.views import ImageViews
from sweepengine.grid.columns import OUTPUTS, Column
from sweepengine.grid.plain import (
    Workload,
    column_value,
    layout_of,
    prefill_figures,
    step_figures,
    workload_of,
)


def draft_workload(arch: Architecture, point: Point, tokens: Tokens) -> Workload:
    """Figures of a point's draft.

    Parameters
    ----------
    arch : Architecture
        Of the model.
    point : Point
        That drafts tokens.
    tokens : Tokens
        Of the point.
    """
    own, seen = drafted(arch, point)
    heads = (seen.attention_heads, seen.key_value_heads, seen.attention)
    layout, cache, step = layout_of(seen), seen.cache_format, drafting_of(point)
    steps = step_figures(own, *heads, seen.latent, seen.weight_format, cache, layout)
    positions = more_positions(own.backbone.positions, tokens.prefill)
    weights = steps.weights
    weights = weights._replace(
        prefill_read_bytes=weights.prefill_read_bytes + positions * weights.position_row_bytes
    )
    filled = prefill_figures(own, tokens.prefill, tokens.cached, *heads, cache, layout)
    counts = in_passes(steps.counts, step.passes)
    figures = Figures(tokens, NO_PHASE, filled, counts, weights, device_counts(layout), step)
    return Workload(figures, steps.growth, steps.expert_bytes, own.spans)


def point_columns(
    arch: Architecture,
    point: Point,
    image: ImageViews | None = None,
    outputs: Sequence[Column] = OUTPUTS,
) -> dict[str, int | float]:
    """Columns of counts of one point, those of its draft included.

    Parameters
    ----------
    arch : Architecture
    point : Point
    image : ImageViews, optional
        Replaces that of the point, for upper bounds over many points.
    outputs : sequence of Column
    """
    workload = workload_of(arch, point, image)
    many = point.decode_steps, point.batch_size
    found = {column.name: column_value(column, arch, workload, *many) for column in outputs}
    if point.draft_tokens:
        own = draft_of(arch, point.draft)
        ahead = draft_workload(arch, point, workload.figures.tokens)
        for column in outputs:
            if column.drafted:
                of_draft = column_value(column, own, ahead, *many)
                found[column.name] = column.together(found[column.name], of_draft)
    return found
