"""Routed experts of a layer, those that tokens of images take, and the gate of shared experts."""

from sweepengine.formulas.architecture import FeedForward
from sweepengine.formulas.cost import Cost, add, formula, gemm_cost, scaled, with_weights
from sweepengine.formulas.gemms import expert_gemms, image_expert_gemms
from sweepengine.formulas.operators import linear, mlp, router
from sweepengine.formulas.tokens import ceil_div


@formula
def expert_share(experts: Cost, devices: int, held: int) -> Cost:
    """A device's part of routed experts: its share of the work, and the experts that it holds.

    Weights of an expert are read for each distinct one that a pass activates.

    Parameters
    ----------
    experts : Cost
        All token-expert pairs through the device's slice of one expert.
    devices : int
        That the pairs are spread over.
    held : int
        Experts in the device's memory.
    """
    return Cost(
        tensor_flops=-(-experts.tensor_flops // devices),
        cuda_flops=-(-experts.cuda_flops // devices),
        activation_io=-(-experts.activation_io // devices),
        weight_io=0,
        expert_io=experts.weights,
        kv_io=0,
        activation_peak=-(-experts.activation_peak // devices),
        activation_sum=-(-experts.activation_sum // devices),
        weights=held * experts.weights,
    )


@formula
def routed_experts(experts: FeedForward, hidden: int, tokens: int) -> Cost:
    """Routed experts: each token goes through k of them, k times an MLP.

    tensor `2*T*k*m*h*e`; in a latent of l instead of h, also `2*T*2*h*l` to go there and back.
    Where experts are spread over devices one does its part, in expectation. Weights are read by
    expert: `expert_io` for each distinct one that the pass activates. Z idle experts hold
    `(m-1)*h*e` weights each, which nothing reads.
    """
    pairs = tokens * experts.experts_per_token
    latent = experts.expert_latent
    one = mlp(pairs, expert_gemms(experts, hidden), experts.activation_flops, experts.bias)
    down = linear(tokens, hidden, latent, 0)
    up = linear(tokens, latent, hidden, 0)
    around = scaled(add(down, up), min(latent, 1), min(latent, 1))
    share = expert_share(one, experts.expert_devices, experts.experts_held)
    idle = ceil_div(experts.idle_experts * experts.experts_held, max(experts.experts, 1))
    unread = idle * (experts.matrices - 1) * hidden * experts.expert_width
    return add(with_weights(share, share.weight_io, share.weights + unread), around)


@formula
def image_experts(experts: FeedForward, hidden: int, tokens: int) -> Cost:
    """Router and routed experts for tokens of images: tensor `2*T*h*E + 2*T*k*m*h*v`.

    They are as many as those for text and chosen alike, v wide. A pass with such tokens reads all
    of them, as an image has many; one without reads none of the weights `E*(h+1) + E*m*h*v`, the
    1 where a correction is a parameter. Source: transformers 5.23,
    modeling_ernie4_5_vl_moe.py.
    """
    present = min(experts.image_width, 1)
    scored = router(
        tokens,
        hidden,
        present * experts.experts,
        present * experts.experts_per_token,
        experts.router_flops,
        experts.bias,
        0,
        experts.correction,
    )
    pairs = tokens * experts.experts_per_token
    gemms = image_expert_gemms(experts, hidden)
    one = mlp(pairs, gemms, experts.activation_flops, experts.bias)
    share = expert_share(one, experts.expert_devices, experts.experts_held)
    weights = scored.weights + share.weights
    worked = gemm_cost(
        scored.tensor_flops + share.tensor_flops,
        scored.cuda_flops + share.cuda_flops,
        scored.activation_io + share.activation_io,
        scored.activation_peak + share.activation_peak,
        scored.activation_sum + share.activation_sum,
        weights,
    )
    return with_weights(worked, min(tokens, 1) * weights, weights)


@formula
def shared_gate(experts: FeedForward, hidden: int, tokens: int) -> Cost:
    """Gate of shared experts: tensor `2*T*h`; CUDA sigmoid and multiplication, `T*(h+3)`."""
    present = experts.shared_gate
    moved = present * tokens * (2 * hidden + 1)
    weights = present * hidden
    return gemm_cost(2 * tokens * weights, present * tokens * (hidden + 3), moved, 0, 0, weights)
