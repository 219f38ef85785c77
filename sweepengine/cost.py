"""What one layer costs, and how costs of layers combine.

Every function marked ``@formula`` is plain Python on unbounded integers. The kernel compiles
the very same functions with Numba; nothing here imports it.
"""

from collections.abc import Callable
from types import FunctionType
from typing import NamedTuple, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., object])

FORMULAS: list[FunctionType] = []


def formula(function: Function) -> Function:
    """Mark a function as one the kernel may compile; it stays plain Python."""
    FORMULAS.append(cast(FunctionType, function))
    return function


class Cost(NamedTuple):
    """Cost of a layer for one image: FLOPs, and counts of values (bytes = values x dtype_bytes).

    One multiply-add is 2 FLOPs. All fields are exact integers.
    """

    tensor_flops: int
    """FLOPs of matrix products and convolutions, which tensor cores do."""
    cuda_flops: int
    """FLOPs of element-wise work and reductions, which CUDA cores do."""
    activation_io: int
    """Activation values read and written."""
    weight_io: int
    """Weight values read once a pass, however many images and tokens share the pass."""
    expert_io: int
    """Weight values read once a pass for each distinct routed expert that the pass touches."""
    kv_io: int
    """Key-value cache values read and written."""
    activation_peak: int
    """Activation values alive at once, at the most."""
    activation_sum: int
    """Activation values summed over layers: the accounting behind the published tables."""
    weights: int
    """Parameters held in memory."""


@formula
def layer_cost(
    tensor_flops: int = 0,
    cuda_flops: int = 0,
    activation_io: int = 0,
    weight_io: int = 0,
    expert_io: int = 0,
    kv_io: int = 0,
    activation_peak: int = 0,
    activation_sum: int = 0,
    weights: int = 0,
) -> Cost:
    """Cost of one layer; what is not named is 0."""
    return Cost(
        tensor_flops,
        cuda_flops,
        activation_io,
        weight_io,
        expert_io,
        kv_io,
        activation_peak,
        activation_sum,
        weights,
    )


@formula
def add(first: Cost, second: Cost) -> Cost:
    """Cost of two layers that run one after the other: counts add, the larger peak remains."""
    return Cost(
        first.tensor_flops + second.tensor_flops,
        first.cuda_flops + second.cuda_flops,
        first.activation_io + second.activation_io,
        first.weight_io + second.weight_io,
        first.expert_io + second.expert_io,
        first.kv_io + second.kv_io,
        max(first.activation_peak, second.activation_peak),
        first.activation_sum + second.activation_sum,
        first.weights + second.weights,
    )


@formula
def times(cost: Cost, count: int) -> Cost:
    """Cost of `count` like layers one after the other, each with weights of its own."""
    return Cost(
        count * cost.tensor_flops,
        count * cost.cuda_flops,
        count * cost.activation_io,
        count * cost.weight_io,
        count * cost.expert_io,
        count * cost.kv_io,
        min(count, 1) * cost.activation_peak,
        count * cost.activation_sum,
        count * cost.weights,
    )


@formula
def side_by_side(cost: Cost, count: int) -> Cost:
    """Cost of `count` inputs that go through one layer together and share its weights."""
    return Cost(
        count * cost.tensor_flops,
        count * cost.cuda_flops,
        count * cost.activation_io,
        min(count, 1) * cost.weight_io,
        min(count, 1) * cost.expert_io,
        count * cost.kv_io,
        count * cost.activation_peak,
        count * cost.activation_sum,
        min(count, 1) * cost.weights,
    )


@formula
def with_peak(cost: Cost, activation_peak: int) -> Cost:
    """The same cost with another `activation_peak`, for layers whose parts overlap in memory."""
    return Cost(
        cost.tensor_flops,
        cost.cuda_flops,
        cost.activation_io,
        cost.weight_io,
        cost.expert_io,
        cost.kv_io,
        activation_peak,
        cost.activation_sum,
        cost.weights,
    )
