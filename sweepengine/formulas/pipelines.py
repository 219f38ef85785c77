"""How engines deal the layers of a model to the stages of a pipeline."""

from sweepengine.formulas.architecture import Group
from sweepengine.formulas.attention import cached_values
from sweepengine.formulas.cost import formula
from sweepengine.formulas.gemms import (
    expert_gemms,
    gemm_weights,
    into_attention,
    mlp_gemms,
    out_of_attention,
    recurrent_gemms,
)
from sweepengine.formulas.tokens import ceil_div


@formula
def layer_weights(group: Group, hidden: int) -> int:
    """Weights of the matrices of one layer, by which kinds of layers are ordered."""
    forward = group.feed_forward
    weights = gemm_weights(into_attention(group.attention, hidden))
    weights += gemm_weights(out_of_attention(group.attention, hidden))
    weights += gemm_weights(recurrent_gemms(group.recurrent, hidden))
    weights += gemm_weights(mlp_gemms(forward.width, hidden, forward.matrices))
    return weights + forward.experts_held * gemm_weights(expert_gemms(forward, hidden))


def dealt(groups: tuple[Group, ...], hidden: int, stages: int) -> tuple[int, ...]:
    """Layers of each group on the busiest of `s` pipeline stages, `ceil(N/s)` of all N together.

    Serving engines deal layers to stages in their order, as many each. An architecture has kinds
    of layers without their order, so each kind is taken as spread evenly: `ceil(n*ceil(N/s)/N)` of
    its n layers, kinds of more weights first, then those whose KV cache grows most. How a model's
    file divides a kind into groups changes nothing. Source: vLLM 0.24, `get_pp_indices`.
    """
    every = sum(group.layers for group in groups)
    left = ceil_div(every, stages)
    kinds: dict[Group, list[int]] = {}
    for position, group in enumerate(groups):
        kinds.setdefault(group._replace(layers=1), []).append(position)

    def size(kind: Group) -> tuple[int, int]:
        grows = 1 - min(kind.attention.window, 1)
        return layer_weights(kind, hidden), grows * cached_values(kind.attention)

    found, of_stage = [0] * len(groups), left
    for kind in sorted(kinds, key=size, reverse=True):
        positions = kinds[kind]
        layers = sum(groups[position].layers for position in positions)
        taken = min(ceil_div(layers * of_stage, every), left)
        left -= taken
        for position in positions:
            found[position] = min(groups[position].layers, taken)
            taken -= found[position]
    return tuple(found)
