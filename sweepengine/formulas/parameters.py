"""Parameters of a model by part: the weights of the operators that passes are made of."""

from sweepengine.formulas.architecture import FLASH, Architecture
from sweepengine.formulas.cost import counted, total
from sweepengine.formulas.layers import Ends
from sweepengine.formulas.layout import share_of
from sweepengine.formulas.passes import ENDS, pass_of
from sweepengine.formulas.vision import joins, repeats, view

TOWERS = {
    "SAM": (("sam_ends", "sam_ends"), ("global_blocks", "sam_block"),
            ("windowed_blocks", "sam_block")),
    "CLIP": (("clip_ends", "clip_ends"), ("clip_blocks", "clip_block")),
    "encoder": (("encoder_ends", "encoder_ends"), ("encoder_blocks", "encoder_block")),
}  # fmt: skip
"""Kinds of layers of each tower, and what is counted of them."""


def parameter_parts(arch: Architecture) -> dict[str, int]:
    """Parameters held, by part of the model."""
    counts, found = arch.counts, {}
    if arch.towers is not None:
        side = arch.towers.image.patch_size * arch.towers.image.patches_per_token
        seen, times = view(arch.towers, side, FLASH), repeats(arch.towers)
        for tower, kinds in TOWERS.items():
            found[tower] = sum(
                getattr(times, kind) * total(getattr(seen, kind), getattr(counts, name)).weights
                for kind, name in kinds
            )
        found["projector"] = total(joins(arch.towers.projector, 1), counts.joins).weights
    decoder, head = 0, 0
    for part in pass_of(share_of(arch, 0, 0), 1, 1, FLASH, 0):
        which = counts.ends if part.group == ENDS else counts.layer
        decoder += part.layers * total(part.operators, which).weights
        if isinstance(part.operators, Ends):
            position = Ends._fields.index("head")
            head = counted(part.operators.head, counts.ends[position]).weights
    found["decoder"] = decoder - head
    found["LM head"] = head
    return {part: weights for part, weights in found.items() if weights}
