"""The lines of vision in the tree of costs: a walk over views, groups of blocks and joins."""

from collections.abc import Callable
from typing import Any

from sweepengine.costs.cost_lines import (
    CostLine,
    Formulas,
    OperatorId,
    cost_line,
    has_cost,
    sum_lines,
)
from sweepengine.costs.titles import TITLES, operator_title, view_titles
from sweepengine.formulas import blocks, operators
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.blocks import block, join_cost
from sweepengine.formulas.cost import NOTHING, Cost, add, counted, scaled
from sweepengine.formulas.passes import ENDS
from sweepengine.formulas.views import ImageViews, View

BLOCK_FORMULAS: Formulas = {
    "norms": blocks.block_norms,
    "projections": blocks.block_projections,
    "rotary": blocks.block_rotary,
    "positions": blocks.relative_positions,
    "attention": blocks.block_attention,
    "convolutions": blocks.depthwise,
    "mlp": operators.mlp,
    "residuals": operators.residual_add,
}
"""The formula that states each operator of a block."""
TILES = 1
"""Position of tiles among views."""


def vision_lines(arch: Architecture, image: ImageViews, flash: int, batch: int) -> CostLine:
    """Return the line of vision: views by kind of layers, then the joins to the decoder."""
    shown, titles = [], view_titles(arch.towers)
    for position, view in enumerate((image.views, image.tiles)):
        seen = _view_lines(arch, image, position, view, flash, batch)
        if seen:
            shown.append(sum_lines(titles[position], view.count, seen))
    joined = _join_lines(arch, "", image.views, image.joined, batch, 1)
    return sum_lines("vision", 1, [*shown, *joined])


def _view_lines(
    arch: Architecture, image: ImageViews, position: int, view: View, flash: int, batch: int
) -> list[CostLine]:
    """Return the lines of all kinds of layers over views of one size."""
    towers, size = arch.vision, arch.convention.dtype_bytes
    read = 0 if position == TILES else 1
    found = []
    kinds = {name.kind: name.part for name in (*towers.join_names, *towers.block_names)}
    parts = list(dict.fromkeys(kinds.values()))
    for kind in sorted(filter(None, kinds), key=lambda kind: parts.index(kinds[kind])):
        lines, layers = _join_lines(arch, kind, view, image.joined, batch, read), 1
        for name, group, roles in zip(
            towers.block_names, towers.blocks, arch.counts.blocks, strict=True
        ):
            if name.kind == kind:
                layers = group.layers
                for role, (operator, cost) in zip(
                    roles, block(group, view, flash)._asdict().items(), strict=True
                ):
                    all_of = scaled(counted(cost, role), layers * view.count, layers * read)
                    lines += _vision_line(operator, BLOCK_FORMULAS[operator], all_of, batch, size)
        if lines:
            known = OperatorId("vision", position, kind)
            found.append(sum_lines(TITLES.get(kind, kind), layers, lines, known))
    return found


def _join_lines(
    arch: Architecture, kind: str, view: View, features: int, batch: int, read: int
) -> list[CostLine]:
    """Return the lines of joins of a kind, by operator; those behind all views have no kind."""
    towers, found = arch.vision, dict[str, Cost]()
    count = view.count if kind else 1
    for name, join, role in zip(towers.join_names, towers.joins, arch.counts.joins, strict=True):
        if name.kind == kind:
            cost = scaled(counted(join_cost(join, view, features), role), count, read)
            found[name.operator] = add(found.get(name.operator, NOTHING), cost)
    lines = []
    for operator, cost in found.items():
        known = None if kind else OperatorId("vision", ENDS, operator)
        size = arch.convention.dtype_bytes
        lines += _vision_line(operator, join_cost, cost, batch, size, known)
    return lines


def _vision_line(
    operator: str,
    formula: Callable[..., Any],
    cost: Cost,
    batch: int,
    size: int,
    known: OperatorId | None = None,
) -> list[CostLine]:
    """Return the line of an operator of vision; none if it has no cost."""
    if not has_cost(cost):
        return []
    read = float(cost.weight_io * size)
    return [cost_line(operator_title(operator), formula, cost, batch, size, read, known=known)]
