"""Counters on torch modules: FLOPs, element-wise operations, live storage, parameters."""

import weakref
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch._decomp import get_decompositions
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry


class Figure(NamedTuple):
    """One figure, measured and analytic."""

    what: str
    unit: str
    measured: int
    analytic: int

    @property
    def difference(self) -> int:
        """Analytic minus measured."""
        return self.analytic - self.measured

    @property
    def status(self) -> str:
        """Whether both are equal."""
        return "different" if self.difference else "equal"


class _Remembered(TorchDispatchMode):
    """Asks torch once what an operation makes of tensors on the meta device.

    There a result is its shape, strides and type, which follow from those of the arguments. torch
    computes them in Python for many operations; the layers of a model are alike. A view, which has
    no values either, is a tensor like others. Changes in place are left to torch, as are strides
    over a storage, which a remembered view does not share.

    Parameters
    ----------
    counted : bool
        What torch counts is remembered too, which its counter must have seen before.
    """

    results: ClassVar[dict[Any, list[tuple[torch.Size, tuple[int, ...], torch.dtype]]]] = {}
    """Shape, strides and type of each result, by operation and arguments."""

    def __init__(self, counted: bool) -> None:
        super().__init__()
        self.counted = counted

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if not _returns_tensors(func) or (_is_counted(func) and not self.counted):
            return func(*args, **named)
        try:
            key = (func, *map(_facts, args), *((name, _facts(named[name])) for name in named))
            known = self.results.get(key)
        except TypeError:  # of no meta tensors alone
            return func(*args, **named)
        if known is None:
            made = func(*args, **named)
            parts = [made] if isinstance(made, Tensor) else made
            if all(part.is_meta for part in parts):
                self.results[key] = [(part.shape, part.stride(), part.dtype) for part in parts]
            return made
        with torch._C._DisableTorchDispatch():
            again = [
                torch.empty_strided(shape, strides, dtype=dtype, device="meta")
                for shape, strides, dtype in known
            ]
        return again[0] if len(again) == 1 else tuple(again)


@cache
def _returns_tensors(func: Any) -> bool:
    """Whether an operation returns tensors and nothing else, and changes no argument."""
    returns = {str(one.type) for one in func._schema.returns}
    strided = func.overloadpacket is torch.ops.aten.as_strided
    return returns == {"Tensor"} and not func._schema.is_mutable and not strided


@cache
def _is_counted(func: Any) -> bool:
    """Whether torch counts FLOPs of an operation, or of those that it is composed of."""
    composed: bool = torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), "CompositeImplicitAutograd"
    )
    return composed or func.overloadpacket in flop_registry


def _facts(argument: Any) -> Any:
    """What a result's shape, strides and type follow from.

    Raises
    ------
    TypeError
        For a tensor that is not on the meta device.
    """
    if isinstance(argument, Tensor):
        if not argument.is_meta:
            raise TypeError(argument.device)
        return argument.shape, argument.stride(), argument.dtype
    if isinstance(argument, list | tuple):
        return tuple(map(_facts, argument))
    return type(argument), argument


def counted_flops(call: Callable[[], object]) -> int:
    """FLOPs of a call by torch's counter: GEMMs and convolutions."""
    seen, unseen = _Remembered(counted=True), _Remembered(counted=False)
    with torch.no_grad(), seen, FlopCounterMode(display=False) as counter, unseen:
        call()
    return int(counter.get_total_flops())


class _OuterProducts(TorchDispatchMode):
    """Counts products of two tensors that broadcast against each other: outer products."""

    def __init__(self) -> None:
        super().__init__()
        self.flops: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mul.Tensor and all(isinstance(a, Tensor) for a in args):
            first, second = args
            if first.shape != second.shape:
                self.flops += 2 * int(out.numel())
        return out


def outer_product_flops(call: Callable[[], object]) -> int:
    """FLOPs of the outer products in a call, 2 per multiply-add, as if they were GEMMs.

    The released rotary embedding multiplies positions by frequencies as a `(d/2, 1) @ (1, T)` GEMM;
    `transformers` multiplies element-wise, which torch's counter ignores.
    """
    counter = _OuterProducts()
    with torch.no_grad(), counter:
        call()
    return counter.flops


class _ElementWise(TorchDispatchMode):
    """Counts the values of results with `size` values that element-wise operations produce."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.flops: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in DECOMPOSED:
            with self:
                return DECOMPOSED[func](*args, **(kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket is torch.ops.aten.var_mean:
            self.flops += int(args[0].numel())
        elif (
            torch.Tag.pointwise in func.tags
            and func.overloadpacket not in COPIES
            and int(out.numel()) == self.size
        ):
            self.flops += self.size
        return out


COPIES = (torch.ops.aten.clone, torch.ops.aten._to_copy)
DECOMPOSED = get_decompositions([torch.ops.aten.native_layer_norm])


def element_wise_flops(call: Callable[[Tensor], object], values: Tensor) -> int:
    """FLOPs of a norm on `values`, counted from its element-wise operations.

    Each value of a result with the size of the input counts one FLOP. A variance counts one FLOP
    per value, the square, as the norm computes the differences again. Statistics per token, the
    sums for them, casts and views count nothing.
    """
    counter = _ElementWise(values.numel())
    with torch.no_grad(), counter:
        call(values)
    return counter.flops


class _LiveStorage(TorchDispatchMode):
    """Tracks the bytes of live tensor storages and their peak."""

    def __init__(self, held_elsewhere: Iterable[Tensor]) -> None:
        super().__init__()
        self.live: int = 0
        self.peak: int = 0
        self.known: set[int] = {tensor.untyped_storage()._cdata for tensor in held_elsewhere}

    def follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self.follow(value)
        return out


def live_peak(modules: Iterable[nn.Module], call: Callable[[], object], *inputs: Tensor) -> int:
    """Peak number of live bytes during a call, with inputs and without weights.

    Parameters
    ----------
    modules : iterable of Module
        Modules whose parameters and buffers are not counted.
    call : callable
    inputs : Tensor
        Tensors that are alive before the call and are counted.
    """
    weights = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    tracker = _LiveStorage(weights)
    for tensor in inputs:
        tracker.follow(tensor)
    with torch.no_grad(), tracker:
        call()
    return tracker.peak


def parameters(module: nn.Module) -> int:
    """Number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())
