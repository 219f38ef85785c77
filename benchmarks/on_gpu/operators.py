"""Operators in the columns of the public tables, which `sweepengine calibrate --data` reads.

GEMMs are torch's linear layers; fp8 ones quantise their activations first, with one scale a tensor.
Attention is torch's `scaled_dot_product_attention`. MoE is the grouped GEMM that transformers runs:
pairs of tokens and experts are sorted by expert, two grouped GEMMs with gated activation between
them, weighted sums; tokens are dealt to all experts in turn. torch has a kernel of grouped GEMMs
for Hopper and data-centre Blackwell; elsewhere it runs one GEMM an expert, and the time of the host
is included. Operands of each call are its own as far as the L2 cache could hold them.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product, zip_longest
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen3MoeConfig
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeExperts

from benchmarks.on_gpu.clock import Budget, Call, Clock
from benchmarks.on_gpu.sizes import Encoders, Gemms, Moes, Prefills, Sizes, Steps
from sweepengine.validation.modules import made_on
from sweepengine.validation.references import random_weights

DTYPE = torch.bfloat16
NAME = "bfloat16"
"""Of `DTYPE` in the tables."""
MOST_CALLS = 64
"""Calls on operands of their own in one measurement."""
SHARE = 0.35
"""Part of the budget that operators may take where passes are measured too."""
BALANCED = "balanced"
SDPA = "torch_sdpa"
GROUPED, LOOPED = "torch_grouped_mm", "torch_mm_of_each_expert"
"""Of experts: `has_grouped_kernel`, or not."""
GROUPED_ON = (9, 10)
"""Major compute capabilities for which torch has a kernel of grouped GEMMs."""
FP8 = "fp8"
FP8_SINCE = (8, 9)
"""Compute capability from which on GPUs multiply in fp8."""

COLUMNS = {
    "gemm": ("kernel_source", "gemm_dtype", "m", "n", "k", "latency"),
    "generation_attention": (
        "kernel_source", "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim",
        "attn_dtype", "kv_cache_dtype", "step", "window_size", "latency",
    ),
    "context_attention": (
        "kernel_source", "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim",
        "attn_dtype", "kv_cache_dtype", "step", "window_size", "latency",
    ),
    "encoder_attention": (
        "kernel_source", "batch_size", "isl", "num_heads", "head_dim", "attn_dtype", "latency",
    ),
    "moe": (
        "kernel_source", "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk",
        "num_experts", "moe_tp_size", "moe_ep_size", "distribution", "latency",
    ),
}  # fmt: skip
"""Columns of each table; latencies in ms."""


class Case(NamedTuple):
    """One operator of one shape."""

    table: str
    row: dict[str, Any]
    """Values of its columns but the latency."""
    size: int
    """Bytes of its operands."""
    moved: int
    """Bytes of those that one call moves."""
    make: Callable[[torch.device], Callable[[int], Call]]
    """Makes a maker of calls, by their number, each on operands of its own."""

    @property
    def title(self) -> str:
        """Table and shape."""
        values = (str(value) for value in self.row.values() if isinstance(value, int))
        return f"{self.table} {' x '.join(values)}"


def measure(
    sizes: Sizes, clock: Clock, budget: Budget, share: float
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of all tables, in turn, as far as the budget reaches.

    Parameters
    ----------
    sizes : Sizes
    clock : Clock
    budget : Budget
    share : float
        Part of it that operators may take.

    Yields
    ------
    tuple
        Name of a table, and a row of `COLUMNS` of it.
    """
    parts = {name: getattr(sizes, name) for name in COLUMNS}
    tables = [_shuffled(name, MAKERS[name](part)) for name, part in parts.items() if part]
    for case in (case for turn in zip_longest(*tables) for case in turn if case is not None):
        if case.size > sizes.most_gb * 1e9:
            budget.left_out.append((case.title, f"operands of more than {sizes.most_gb:g} GB"))
            continue
        milliseconds = None
        with budget.measured(case.table, case.title, share) as fits:
            if fits:
                milliseconds = latency(case, clock)
        if milliseconds is not None:
            row = case.row | {"latency": f"{milliseconds:.7g}"}
            if case.table == "moe" and not has_grouped_kernel(clock.device):
                row["kernel_source"] = LOOPED
            yield case.table, row


def latency(case: Case, clock: Clock) -> float:
    """Milliseconds of an operator.

    Raises
    ------
    RuntimeError
        When torch cannot run it.
    """
    if case.row.get("gemm_dtype") == FP8 and not multiplies_in_fp8(clock.device):
        raise RuntimeError("the device does not multiply in fp8")
    calls = min(max(-(-2 * clock.cache_bytes // case.moved), 1), MOST_CALLS)
    captured = case.table != "moe" or has_grouped_kernel(clock.device)
    with torch.inference_mode():
        call_of = case.make(clock.device)
        found = clock.kernels([call_of(number) for number in range(calls)], captured)
    return found.microseconds / 1e3


def multiplies_in_fp8(device: torch.device) -> bool:
    """Whether `torch._scaled_mm` runs on a device."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= FP8_SINCE


def has_grouped_kernel(device: torch.device) -> bool:
    """Whether torch runs the GEMMs of all experts as one kernel on a device."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] in GROUPED_ON


def _shuffled(name: str, cases: Iterator[Case]) -> list[Case]:
    """Cases in an order, always the same, that a budget may cut short anywhere."""
    listed = list(cases)
    random.Random(name).shuffle(listed)
    return listed


def gemms(sizes: Gemms) -> Iterator[Case]:
    """Linear layers of `m` rows."""
    for kind, (n, k), m in product(sizes.formats, sizes.n_k, sizes.m):
        row = {"kernel_source": "torch", "gemm_dtype": kind, "m": m, "n": n, "k": k}
        size, make = 2 * (m * k + n * k + m * n), _fp8 if kind == FP8 else _linear
        yield Case("gemm", row, size, size, make(m, n, k))


def _linear(m: int, n: int, k: int) -> Callable[[torch.device], Callable[[int], Call]]:
    def make(device: torch.device) -> Callable[[int], Call]:
        def call_of(number: int) -> Call:
            rows, weights = _random(device, m, k), _random(device, n, k)
            return lambda: functional.linear(rows, weights)

        return call_of

    return make


def _fp8(m: int, n: int, k: int) -> Callable[[torch.device], Callable[[int], Call]]:
    def make(device: torch.device) -> Callable[[int], Call]:
        def call_of(number: int) -> Call:
            rows = _random(device, m, k)
            weights = _random(device, n, k).to(torch.float8_e4m3fn).t()
            scale = torch.ones((), device=device)
            return lambda: torch._scaled_mm(
                (rows * scale).to(torch.float8_e4m3fn),
                weights,
                scale,
                scale,
                out_dtype=DTYPE,
                use_fast_accum=True,
            )

        return call_of

    return make


def _attention(
    sequences: int, heads: Sequence[int], width: int, queries: int, keys: int, causal: bool
) -> Callable[[torch.device], Callable[[int], Call]]:
    """Attention of `heads` query and key-value heads."""
    shared = heads[0] != heads[1]

    def make(device: torch.device) -> Callable[[int], Call]:
        def call_of(number: int) -> Call:
            query = _random(device, sequences, heads[0], queries, width)
            key, value = (_random(device, sequences, heads[1], keys, width) for _ in range(2))
            return lambda: functional.scaled_dot_product_attention(
                query, key, value, is_causal=causal, enable_gqa=shared
            )

        return call_of

    return make


def _attention_bytes(
    sequences: int, heads: Sequence[int], width: int, queries: int, keys: int
) -> int:
    return 4 * sequences * width * (heads[0] * queries + heads[1] * keys)


def steps(sizes: Steps) -> Iterator[Case]:
    """Attention of one new token of each sequence."""
    for sequences, heads, width, keys in product(
        sizes.batch_size, sizes.heads, sizes.head_dim, sizes.keys
    ):
        row = _attention_row(sequences, heads, width) | {"isl": 1, "step": keys - 1}
        shape = (sequences, heads, width, 1, keys)
        size = _attention_bytes(*shape)
        yield Case("generation_attention", row, size, size, _attention(*shape, False))


def prefills(sizes: Prefills) -> Iterator[Case]:
    """Causal attention of the tokens of each sequence."""
    for sequences, heads, width, tokens in product(
        sizes.batch_size, sizes.heads, sizes.head_dim, sizes.tokens
    ):
        row = _attention_row(sequences, heads, width) | {"isl": tokens, "step": 0}
        shape = (sequences, heads, width, tokens, tokens)
        size = _attention_bytes(*shape)
        yield Case("context_attention", row, size, size, _attention(*shape, True))


def _attention_row(sequences: int, heads: Sequence[int], width: int) -> dict[str, Any]:
    return {"kernel_source": SDPA, "batch_size": sequences, "num_heads": heads[0],
            "num_key_value_heads": heads[1], "head_dim": width, "attn_dtype": NAME,
            "kv_cache_dtype": NAME, "window_size": 0}  # fmt: skip


def encoders(sizes: Encoders) -> Iterator[Case]:
    """Attention of all rows of a view to all."""
    for sequences, heads, width, tokens in product(
        sizes.batch_size, sizes.heads, sizes.head_dim, sizes.tokens
    ):
        row = {"kernel_source": SDPA, "batch_size": sequences, "isl": tokens, "num_heads": heads,
               "head_dim": width, "attn_dtype": NAME}  # fmt: skip
        shape = (sequences, (heads, heads), width, tokens, tokens)
        size = _attention_bytes(*shape)
        yield Case("encoder_attention", row, size, size, _attention(*shape, False))


def moes(sizes: Moes) -> Iterator[Case]:
    """Routed experts, without router, shared experts and norms."""
    for (hidden, inner, chosen, experts), tokens in product(sizes.experts, sizes.tokens):
        row = {"kernel_source": GROUPED, "moe_dtype": NAME, "num_tokens": tokens,
               "hidden_size": hidden, "inter_size": inner, "topk": chosen, "num_experts": experts,
               "moe_tp_size": 1, "moe_ep_size": 1, "distribution": BALANCED}  # fmt: skip
        pairs, matrices = tokens * chosen, 3 * hidden * inner
        rows = pairs * (2 * hidden + 3 * inner)
        size, moved = (2 * (n * matrices + rows) for n in (experts, min(pairs, experts)))
        yield Case("moe", row, size, moved, _experts(hidden, inner, chosen, experts, tokens))


def _experts(
    hidden: int, inner: int, chosen: int, experts: int, tokens: int
) -> Callable[[torch.device], Callable[[int], Call]]:
    """Calls on one set of experts; each starts at another expert, as few tokens meet few."""

    def make(device: torch.device) -> Callable[[int], Call]:
        config = Qwen3MoeConfig(hidden_size=hidden, moe_intermediate_size=inner,
                                num_experts=experts, num_experts_per_tok=chosen)  # fmt: skip
        config._experts_implementation = "grouped_mm"
        with made_on(device, DTYPE):
            module = random_weights(Qwen3MoeExperts(config))

        def call_of(number: int) -> Call:
            pairs = torch.arange(tokens * chosen, device=device) + number * tokens * chosen
            rows = _random(device, tokens, hidden)
            routes = (pairs % experts).reshape(tokens, chosen)
            weights = torch.full((tokens, chosen), 1.0 / chosen, dtype=DTYPE, device=device)
            return lambda: module(rows, routes, weights)

        return call_of

    return make


def _random(device: torch.device, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=DTYPE, device=device)


MAKERS: dict[str, Callable[[Any], Iterator[Case]]] = {
    "gemm": gemms,
    "generation_attention": steps,
    "context_attention": prefills,
    "encoder_attention": encoders,
    "moe": moes,
}
"""Table to its cases."""
