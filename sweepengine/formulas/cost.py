"""What one operator costs, and how costs combine.

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
    """Cost of an operator for one sequence: FLOPs, and counts of values.

    One multiply-add is 2 FLOPs. All fields are exact integers; bytes are values x width.
    """

    tensor_flops: int
    """FLOPs of matrix products and convolutions, which tensor cores do."""
    cuda_flops: int
    """FLOPs of element-wise work and reductions, which CUDA cores do."""
    activation_io: int
    """Activation values read and written."""
    weight_io: int
    """Weight values read once a pass, however many sequences and tokens share the pass."""
    expert_io: int
    """Weight values read once a pass for each distinct routed expert that the pass touches."""
    kv_io: int
    """Key-value cache values read and written."""
    activation_peak: int
    """Activation values that it alone holds at once: input, intermediates, output."""
    activation_sum: int
    """Activation values summed over layers: the accounting behind the published tables."""
    weights: int
    """Parameters held in memory."""


class Roles(NamedTuple):
    """How often each count of an operator is counted: 1 unless an accounting says otherwise."""

    tensor_flops: int = 1
    cuda_flops: int = 1
    activation_io: int = 1
    weight_io: int = 1
    expert_io: int = 1
    kv_io: int = 1
    activation_sum: int = 1
    weights: int = 1


NOTHING = Cost(0, 0, 0, 0, 0, 0, 0, 0, 0)
"""Cost of a part that a layer does not have."""


@formula
def add(first: Cost, second: Cost) -> Cost:
    """Cost of two operators one after the other: counts add, the larger peak remains."""
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
def scaled(cost: Cost, count: int, copies: int) -> Cost:
    """`count` times the work with `copies` times the weights; the peak is that of one.

    Like layers one after the other have copies = count; inputs that share a layer copies = 1.
    """
    return Cost(
        count * cost.tensor_flops,
        count * cost.cuda_flops,
        count * cost.activation_io,
        copies * cost.weight_io,
        copies * cost.expert_io,
        count * cost.kv_io,
        cost.activation_peak,
        count * cost.activation_sum,
        copies * cost.weights,
    )


@formula
def spread(cost: Cost, devices: int) -> Cost:
    """A device's part of work that is spread over several; it holds the weights that it has."""
    return Cost(
        -(-cost.tensor_flops // devices),
        -(-cost.cuda_flops // devices),
        -(-cost.activation_io // devices),
        cost.weight_io,
        cost.expert_io,
        cost.kv_io,
        -(-cost.activation_peak // devices),
        -(-cost.activation_sum // devices),
        cost.weights,
    )


@formula
def counted(cost: Cost, roles: Roles) -> Cost:
    """What an accounting counts of an operator; memory alive at once is no matter of counting."""
    return Cost(
        roles.tensor_flops * cost.tensor_flops,
        roles.cuda_flops * cost.cuda_flops,
        roles.activation_io * cost.activation_io,
        roles.weight_io * cost.weight_io,
        roles.expert_io * cost.expert_io,
        roles.kv_io * cost.kv_io,
        cost.activation_peak,
        roles.activation_sum * cost.activation_sum,
        roles.weights * cost.weights,
    )


@formula
def total(operators: tuple[Cost, ...], counts: tuple[Roles, ...]) -> Cost:
    """What an accounting counts of a layer: the sum over its operators."""
    found = counted(operators[0], counts[0])
    for index in range(1, len(operators)):
        found = add(found, counted(operators[index], counts[index]))
    return found
