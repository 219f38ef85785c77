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
    """Mark a function as a formula: plain Python, which compiled code may call too."""
    FORMULAS.append(cast(FunctionType, function))
    return function


class Cost(NamedTuple):
    """Cost of an operator for one sequence: FLOPs, and counts of values.

    One multiply-add is 2 FLOPs. All fields are exact integers; bytes are values x width.
    """

    tensor_flops: int
    """FLOPs of GEMMs and convolutions, which tensor cores do."""
    cuda_flops: int
    """FLOPs of element-wise work and reductions, which CUDA cores do."""
    activation_io: int
    """Activation values read and written."""
    weight_io: int
    """Weight values read once a pass, however many sequences and tokens share the pass."""
    expert_io: int
    """Weight values read once a pass for each distinct routed expert that the pass activates."""
    kv_io: int
    """KV cache values read and written."""
    activation_peak: int
    """Activation values that it alone holds at once: input, intermediates, output."""
    activation_sum: int
    """Activation values summed over layers: the accounting behind the published tables."""
    weights: int
    """Parameters held in memory."""


class CountedOperator(NamedTuple):
    """How often each count of an operator is counted: 1 unless an accounting says otherwise."""

    tensor_flops: int = 1
    cuda_flops: int = 1
    activation_io: int = 1
    weight_io: int = 1
    expert_io: int = 1
    kv_io: int = 1
    activation_sum: int = 1
    weights: int = 1


NOTHING = Cost(**dict.fromkeys(Cost._fields, 0))
"""Cost of a part that a layer does not have."""


@formula
def gemm_cost(
    tensor_flops: int, cuda_flops: int, moved: int, alive: int, summed: int, weights: int
) -> Cost:
    """Cost of an operator that multiplies by weights, which each pass reads once.

    Parameters
    ----------
    tensor_flops, cuda_flops : int
        FLOPs of its GEMMs, and of the element-wise work that is fused with them.
    moved : int
        Activation values read and written.
    alive : int
        Activation values it holds at once.
    summed : int
        Values that the published sum of activations holds.
    weights : int
        Weight values, biases included.
    """
    return Cost(
        tensor_flops=tensor_flops,
        cuda_flops=cuda_flops,
        activation_io=moved,
        weight_io=weights,
        expert_io=0,
        kv_io=0,
        activation_peak=alive,
        activation_sum=summed,
        weights=weights,
    )


@formula
def element_wise_cost(cuda_flops: int, moved: int, alive: int, summed: int, weights: int) -> Cost:
    """Cost of element-wise work, of a reduction, or of a table that is only read.

    Parameters are those of `gemm_cost`, in values.
    """
    return gemm_cost(0, cuda_flops, moved, alive, summed, weights)


@formula
def attention_cost(
    tensor_flops: int, cuda_flops: int, moved: int, cached: int, alive: int, summed: int, sinks: int
) -> Cost:
    """Cost of scores, softmax and mixing.

    Parameters are those of `gemm_cost`; `cached` values of the KV cache are read and written, and
    `sinks` are its only weights.
    """
    return Cost(
        tensor_flops=tensor_flops,
        cuda_flops=cuda_flops,
        activation_io=moved,
        weight_io=sinks,
        expert_io=0,
        kv_io=cached,
        activation_peak=alive,
        activation_sum=summed,
        weights=sinks,
    )


@formula
def with_weights(cost: Cost, read: int, held: int) -> Cost:
    """The same work with other weights: `read` by a pass, `held` in memory."""
    return Cost(
        tensor_flops=cost.tensor_flops,
        cuda_flops=cost.cuda_flops,
        activation_io=cost.activation_io,
        weight_io=read,
        expert_io=cost.expert_io,
        kv_io=cost.kv_io,
        activation_peak=cost.activation_peak,
        activation_sum=cost.activation_sum,
        weights=held,
    )


@formula
def add(first: Cost, second: Cost) -> Cost:
    """Cost of two operators one after the other: counts add, the larger peak remains."""
    return Cost(
        tensor_flops=first.tensor_flops + second.tensor_flops,
        cuda_flops=first.cuda_flops + second.cuda_flops,
        activation_io=first.activation_io + second.activation_io,
        weight_io=first.weight_io + second.weight_io,
        expert_io=first.expert_io + second.expert_io,
        kv_io=first.kv_io + second.kv_io,
        activation_peak=max(first.activation_peak, second.activation_peak),
        activation_sum=first.activation_sum + second.activation_sum,
        weights=first.weights + second.weights,
    )


@formula
def scaled(cost: Cost, count: int, weight_copies: int) -> Cost:
    """`count` times the work with `weight_copies` times the weights; the peak is that of one.

    Like layers one after the other have weight_copies = count; inputs that share a layer 1.
    """
    return Cost(
        tensor_flops=count * cost.tensor_flops,
        cuda_flops=count * cost.cuda_flops,
        activation_io=count * cost.activation_io,
        weight_io=weight_copies * cost.weight_io,
        expert_io=weight_copies * cost.expert_io,
        kv_io=count * cost.kv_io,
        activation_peak=cost.activation_peak,
        activation_sum=count * cost.activation_sum,
        weights=weight_copies * cost.weights,
    )


@formula
def counted(cost: Cost, counts: CountedOperator) -> Cost:
    """What an accounting counts of an operator; memory alive at once is no matter of counting."""
    return Cost(
        tensor_flops=counts.tensor_flops * cost.tensor_flops,
        cuda_flops=counts.cuda_flops * cost.cuda_flops,
        activation_io=counts.activation_io * cost.activation_io,
        weight_io=counts.weight_io * cost.weight_io,
        expert_io=counts.expert_io * cost.expert_io,
        kv_io=counts.kv_io * cost.kv_io,
        activation_peak=cost.activation_peak,
        activation_sum=counts.activation_sum * cost.activation_sum,
        weights=counts.weights * cost.weights,
    )


@formula
def total(operators: tuple[Cost, ...], counts: tuple[CountedOperator, ...]) -> Cost:
    """What an accounting counts of a layer: the sum over its operators."""
    found = counted(operators[0], counts[0])
    for index in range(1, len(operators)):
        found = add(found, counted(operators[index], counts[index]))
    return found
