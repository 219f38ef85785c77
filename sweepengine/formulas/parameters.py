"""Parameters of a model by part: the weights of the operators that passes are made of."""

from collections import Counter

from sweepengine.formulas.architecture import FLASH, Architecture
from sweepengine.formulas.blocks import block, join_cost
from sweepengine.formulas.cost import counted, total
from sweepengine.formulas.layers import Ends
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.passes import ENDS, pass_of
from sweepengine.formulas.views import View

ONE_PATCH = View(count=1, rows=1, columns=1)
"""Any view, as weights are the same whatever its size."""


def parameter_parts(arch: Architecture) -> dict[str, int]:
    """Parameters held, by part of the model."""
    counts, found = arch.counts, Counter[str]()
    if arch.towers is not None:
        towers = arch.towers
        for name, group, roles in zip(
            towers.block_names, towers.blocks, counts.blocks, strict=True
        ):
            weights = total(block(group, ONE_PATCH, FLASH), roles).weights
            found[name.part] += group.layers * weights
        for name, join, role in zip(towers.join_names, towers.joins, counts.joins, strict=True):
            found[name.part] += counted(join_cost(join, ONE_PATCH, 1), role).weights
    decoder, head = 0, 0
    for part in pass_of(share_of(arch, 0, 0), 1, 1, FLASH, 0, 1):
        which = counts.ends if part.group == ENDS else counts.layer
        decoder += part.layers * total(part.operators, which).weights
        if isinstance(part.operators, Ends):
            position = Ends._fields.index("head")
            head = counted(part.operators.head, counts.ends[position]).weights
    found["decoder"] = decoder - head
    found["LM head"] = head
    return {part: weights for part, weights in found.items() if weights}
