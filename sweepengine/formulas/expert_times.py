"""Seconds of routed experts, which run in a MoE kernel. Times are in microseconds."""

from sweepengine.formulas.architecture import FeedForward
from sweepengine.formulas.cost import formula
from sweepengine.formulas.layout import Layout, expert_groups
from sweepengine.formulas.reductions import activated_experts
from sweepengine.formulas.seconds import gemm, moe
from sweepengine.formulas.speeds import Speeds


@formula
def routed_us(
    forward: FeedForward, width: int, hidden: int, rows: float, layout: Layout, speeds: Speeds
) -> float:
    """Routed experts of one device, which meet the tokens of all groups that share them; us.

    Parameters
    ----------
    forward : FeedForward
        A device's share.
    width, hidden : int
        Of one expert, and h.
    rows : float
        Tokens of all sequences of one tensor group.
    layout : Layout
        How the model lies on devices.
    speeds : Speeds
        Rates of the device.
    """
    if forward.experts == 0 or rows == 0.0:
        return 0.0
    tokens = rows * expert_groups(layout)
    pairs = max(1.0, tokens * forward.experts_per_token / layout.expert)
    activated = activated_experts(
        forward.experts_held,
        forward.experts,
        forward.experts_per_token,
        tokens * speeds.host.effective_experts,
    )
    outer = forward.expert_latent if forward.expert_latent > 0 else hidden
    rates = speeds.experts if tokens <= forward.experts else speeds.experts_many
    found = moe(tokens, outer, width, pairs, activated, forward.matrices, rates)
    if forward.expert_latent > 0:
        found += gemm(rows, outer, hidden, speeds.mlp) + gemm(rows, hidden, outer, speeds.mlp)
    return found


@formula
def image_experts_us(
    forward: FeedForward, hidden: int, rows: float, layout: Layout, speeds: Speeds
) -> float:
    """Router and routed experts that tokens of images take, us.

    Parameters are those of `routed_us`; `rows` are tokens of images.
    """
    if forward.image_width == 0 or rows == 0.0:
        return 0.0
    routed = routed_us(forward, forward.image_width, hidden, rows, layout, speeds)
    return routed + gemm(rows, forward.experts, hidden, speeds.plain)
