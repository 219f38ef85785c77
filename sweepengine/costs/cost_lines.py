"""Lines of a tree of costs: what an operator costs, how it follows, and sums of lines."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sweepengine.formulas.cost import Cost

COUNTS = ("tensor_flops", "cuda_flops", "activation_io_bytes", "kv_io_bytes", "weight_io_bytes",
          "link_bytes")  # fmt: skip
Formulas = dict[str, Callable[..., Any]]


class OperatorId(NamedTuple):
    """The key of an operator; titles are for people."""

    phase: str
    group: int
    """Position of its group of layers, or of its view; or `passes.ENDS`."""
    operator: str
    """Name of its field; in vision, the kind of layers; or "collectives"."""


class CostLine(NamedTuple):
    """One line of the tree: the cost of it and all lines below it, for the whole batch."""

    name: str
    copies: int
    """Number of equal parts that the line stands for."""
    formula: str
    """How the figures follow, in one line; empty for a group."""
    tensor_flops: int
    cuda_flops: int
    activation_io_bytes: int
    kv_io_bytes: int
    weight_io_bytes: float
    """Expected bytes: only experts that the batch activates are read."""
    link_bytes: int
    parts: "tuple[CostLine, ...]"
    id: OperatorId | None = None
    """Key of an operator; in vision, of a kind of layers; None for other lines."""

    @property
    def flops(self) -> int:
        """Tensor-core and CUDA-core FLOPs."""
        return self.tensor_flops + self.cuda_flops

    @property
    def moved_bytes(self) -> float:
        """Activations, KV cache and weights."""
        return self.activation_io_bytes + self.kv_io_bytes + self.weight_io_bytes

    def walk(self, depth: int = 0) -> "Iterator[tuple[int, CostLine]]":
        """Yield this line and all lines below it, with their depths."""
        yield depth, self
        for part in self.parts:
            yield from part.walk(depth + 1)

    def operators(self) -> "dict[OperatorId, CostLine]":
        """Return the lines of all operators by their keys."""
        return {line.id: line for _, line in self.walk() if line.id is not None}

    def as_dict(self) -> dict[str, Any]:
        """Return nested dictionaries, for JSON."""
        fields = {**self._asdict(), "parts": [part.as_dict() for part in self.parts]}
        del fields["id"]
        return fields


def stated(formula: Callable[..., Any]) -> str:
    """Return the paragraphs of a docstring that state its formula: the first, and one in code."""
    text = (inspect.getdoc(formula) or "").split("\n\nParameters\n")[0]
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    in_code = [paragraph for paragraph in paragraphs if "`" in paragraph]
    return " ".join(dict.fromkeys([paragraphs[0], *in_code[:1]]))


def has_cost(cost: Cost) -> bool:
    """Tell whether an operator has any cost but a peak of activations."""
    return any(cost._replace(activation_peak=0))


def sum_lines(
    name: str, copies: int, parts: Sequence[CostLine], known: OperatorId | None = None
) -> CostLine:
    """Return the line of several lines together."""
    totals = {field: sum(getattr(part, field) for part in parts) for field in COUNTS}
    return CostLine(name=name, copies=copies, formula="", parts=tuple(parts), id=known, **totals)


def cost_line(
    name: str,
    formula: Callable[..., Any],
    cost: Cost,
    batch: int,
    size: int,
    read: float,
    kv_bytes: int = 0,
    sent: int = 0,
    known: OperatorId | None = None,
) -> CostLine:
    """Make an operator's line for a batch; `cost` is of one sequence, traffic in values."""
    return CostLine(
        name=name,
        copies=1,
        formula=stated(formula),
        tensor_flops=batch * cost.tensor_flops,
        cuda_flops=batch * cost.cuda_flops,
        activation_io_bytes=batch * cost.activation_io * size,
        kv_io_bytes=batch * kv_bytes,
        weight_io_bytes=read,
        link_bytes=batch * sent * size,
        parts=(),
        id=known,
    )
