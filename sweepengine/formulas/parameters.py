"""Parameters of a model by part: the weights of the operators that passes are made of."""

from sweepengine.formulas.architecture import FLASH, Architecture
from sweepengine.formulas.cost import counted, scaled, total
from sweepengine.formulas.decoder import decoder_ends, decoder_layer
from sweepengine.formulas.vision import joins, repeats, view


def parameter_parts(arch: Architecture) -> dict[str, int]:
    """Parameters held, by part of the model."""
    counts, found = arch.counts, {}
    if arch.towers is not None:
        side = arch.towers.image.patch_size * arch.towers.image.patches_per_token
        seen, times = view(arch.towers, side, FLASH), repeats(arch.towers)
        layers = {
            "SAM": (("sam_ends", "sam_ends"), ("global_blocks", "sam_block"),
                    ("windowed_blocks", "sam_block")),
            "CLIP": (("clip_ends", "clip_ends"), ("clip_blocks", "clip_block")),
            "encoder": (("encoder_ends", "encoder_ends"), ("encoder_blocks", "encoder_block")),
        }  # fmt: skip
        for part, kinds in layers.items():
            found[part] = sum(
                getattr(times, kind) * total(getattr(seen, kind), getattr(counts, counted)).weights
                for kind, counted in kinds
            )
        found["projector"] = total(joins(arch.towers.projector, 1), counts.joins).weights
    ends = decoder_ends(arch.trunk, 1)
    head = counted(ends.head, counts.ends[ends._fields.index("head")]).weights
    layer_weights = sum(
        scaled(
            total(decoder_layer(group, arch.trunk, 1, 1, 0, FLASH, 0, 1), counts.layer),
            group.layers,
            group.layers,
        ).weights
        for group in arch.groups
    )
    found["decoder"] = layer_weights + total(ends, counts.ends).weights - head
    found["LM head"] = head
    return {part: weights for part, weights in found.items() if weights}
