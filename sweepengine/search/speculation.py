"""Speculative decoding in searches: the options as axes of a grid, and what is said of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.acceptance import acceptance_texts
from sweepengine.data.drafts import with_drafts
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model, choices_of
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import DRAFT_COLUMNS
from sweepengine.formulas.speculation import A_TOKEN
from sweepengine.grid.axes import AXES
from sweepengine.grid.grid import Grid
from sweepengine.grid.layout_checks import draft_problem
from sweepengine.grid.points import checked_point
from sweepengine.search.options import SpeculationOptions

ONE = (1,)
"""Tokens drafted a step where a draft is named alone."""


class Speculation(NamedTuple):
    """Speculative decoding of the points of a search."""

    axes: dict[str, Any]
    """Stored values by axis; empty where nothing is drafted."""
    notes: tuple[str, ...]
    """What is assumed, one line for each number of drafted tokens."""

    @property
    def drafted(self) -> list[int]:
        """Numbers of tokens that a step drafts."""
        return list(self.axes.get("draft_tokens", [0]))


def speculating(
    command: str, model: Model, options: SpeculationOptions, tried: Sequence[int] = ONE
) -> tuple[Model, Speculation]:
    """The model with its draft, and the axes of a search that options of speculation make.

    Parameters
    ----------
    command : str
        Its name in messages.
    model : Model
    options : SpeculationOptions
    tried : sequence of int
        Tokens drafted a step where the options name a draft alone.

    Raises
    ------
    InputError
        When a draft is unknown, or a number is not valid.
    """
    if options == SpeculationOptions():
        return model, Speculation({}, ())
    if options.draft_tokens is None:
        if options.accepted_tokens is not None:
            raise InputError(f"{command}: --accepted-tokens: expected --draft-tokens too")
        counts = list(tried)
    else:
        counts = [options.draft_tokens]
    given: dict[str, Any] = {}
    if options.draft is not None:
        model, (given["draft"],) = with_drafts(model, [options.draft], f"{command}: --draft")
    if options.accepted_tokens is not None:
        given["accepted_tokens"] = options.accepted_tokens
    points = [checked_point(model, given | {"draft_tokens": k}, command) for k in counts]
    axes = {name: [getattr(points[-1], name)] for name in DRAFT_COLUMNS}
    axes["draft_tokens"] = counts
    stored = ((p.draft_tokens, p.accepted_tokens, p.draft) for p in points)
    return model, Speculation(axes, acceptance_texts(model, stored))


def drafting_columns(grid: Grid, columns: Sequence[str]) -> list[pl.Expr]:
    """Inputs of speculative decoding of candidates; the draft is "none" where none drafts.

    Parameters
    ----------
    grid : Grid
        Of the candidates.
    columns : sequence of str
        Of the candidates, which have those inputs that vary.
    """
    point = grid.point
    drafted, accepted = pl.lit(point.draft_tokens), point.accepted_tokens / A_TOKEN
    if "draft_tokens" in columns:
        drafted = pl.col("draft_tokens")
    name = choices_of(grid.model, "draft")[point.draft]
    yielded = pl.lit(accepted) if accepted else 1 + drafted.cast(pl.Float64) / 2
    return [
        drafted.cast(pl.Int64).alias("draft_tokens"),
        yielded.alias("accepted_tokens"),
        pl.when(drafted > 0).then(pl.lit(name)).otherwise(pl.lit("none")).alias("draft"),
    ]


def drafting_layouts(
    model: Model, speculation: Speculation, layouts: Sequence[Layout]
) -> list[Layout]:
    """Those of some layouts that a draft can be laid out in.

    Parameters
    ----------
    model : Model
        With its draft.
    speculation : Speculation
    layouts : sequence of Layout
    """
    if not speculation.axes:
        return list(layouts)
    values = {name: max(speculation.axes[name]) for name in DRAFT_COLUMNS}
    names = AXES["layout"].columns
    return [
        layout
        for layout in layouts
        if not draft_problem(model, values | dict(zip(names, layout, strict=True)))
    ]
