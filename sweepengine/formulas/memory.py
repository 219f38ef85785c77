"""Memory of one device as a serving engine divides it: what is left is the pool of the KV cache.

Sizes are bytes, whole numbers; functions of settings take numbers or columns of them. The forms,
their constants and their errors on logged starts of engines stand in docs/memory.md, "Memory of a
serving engine".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from sweepengine.formulas.architecture import Group
from sweepengine.formulas.kv_pages import (
    Pool,
    logged,
    sequence_bytes,
    shared_bytes,
)
from sweepengine.formulas.layout import Share
from sweepengine.formulas.tokens import larger, smaller

GIB = 1 << 30
CLOSING_ROUNDS = 3
THOUSANDTHS = 1000
"""Of which a share of the memory and factors are so many."""


class EngineMemory(NamedTuple):
    """How a version of a serving engine divides the memory of a device."""

    forward_factor: int
    """Largest activations of a pass, in thousandths of those of one layer."""
    sampler_bytes: int
    """Of the sampler's warm-up: thousandths of a byte a sequence and token of the vocabulary."""
    graph_layer_bytes: int
    """CUDA graphs: of each layer."""
    graph_sequence_bytes: int
    """CUDA graphs: of each layer and sequence of the largest captured batch."""
    graph_sequences: int
    """Largest captured batch, in sequences."""
    runtime_bytes: int
    """Context and libraries of a device."""
    fast_link_bytes: int
    """Buffers of collectives over links faster than `fast_link`."""
    slow_link_bytes: int
    """Buffers of collectives over other links."""
    fast_link: float
    """Bandwidth one way from which on links are fast, bytes/s."""
    charges_activations: int
    """1: activations are part of the engine's share of the memory; 0: they lie outside."""
    charges_graphs: int
    """1: CUDA graphs are part of the share."""
    shares_free: int
    """1: the share is one of what is free beside weights and activations; 0: of all memory."""
    page_tokens: int
    """Tokens of a page of the KV cache; 0: 16, of latents 64."""
    logs_by_length: int
    """1: the log counts tokens of whole requests of the longest length; 0: tokens of pages."""


class EngineSettings(NamedTuple):
    """Settings of a serving engine that decide its memory."""

    memory_share: int
    """Thousandths of the memory that it takes."""
    max_sequences: int
    """Most sequences that run at once, of each data-parallel group."""
    chunk_tokens: int
    """Most tokens of one pass."""


class Resident(NamedTuple):
    """What decides the memory of a device beside the number of sequences: numbers or columns."""

    usable: int
    """Bytes that the driver reports."""
    weights: int
    runtime: int
    forward_rate: int
    """Activations of a pass: 2,000ths of a byte a token."""
    layers: int
    """Of the device."""
    vocabulary: int
    """Of the whole model."""
    memory_share: int
    """As `EngineSettings` has it, and the next two."""
    max_sequences: int
    chunk_tokens: int
    sampler_bytes: int
    """As `EngineMemory` has it, and the next six."""
    graph_layer_bytes: int
    graph_sequence_bytes: int
    graph_sequences: int
    charges_activations: int
    charges_graphs: int
    shares_free: int
    logs_by_length: int
    sequences_given: int
    """1: `max_sequences` was stated; 0: it is the engine's default, which larger batches raise."""


class DeviceMemory(NamedTuple):
    """The memory of one device, bytes."""

    room: int
    """What the engine may use for weights, all that it charges, and the pool."""
    activations: int
    """Of a pass or of the sampler's warm-up, which do not run at the same time: the larger."""
    sampler: int
    """Of the sampler's warm-up."""
    graphs: int
    """CUDA graphs."""
    pool: int
    """Of the KV cache; below 0 the engine does not start."""


def layer_values(group: Group, hidden: int) -> int:
    """Values a token that one layer holds at once: hidden values of the FFN, those of its experts.

    `m*i + k/g*(m*e + h)`: m matrices of width i, k experts a token of width e over g devices.
    """
    ffn = group.feed_forward
    values: int = ffn.matrices * ffn.width
    if ffn.experts:
        pair = ffn.matrices * max(ffn.expert_width, ffn.image_width) + hidden
        values += ffn.experts_per_token * pair // ffn.expert_devices
    return values


def forward_rate(engine: EngineMemory, share: Share, size: int) -> int:
    """Activations of a pass, `a*s*(largest layer + 2.5*h)` a token, in 2,000ths of a byte.

    Logits are those of the last position of each sequence, which the sampler holds.

    Parameters
    ----------
    engine : EngineMemory
    share : Share
        The device's share of the model.
    size : int
        Bytes of a value, s.
    """
    hidden = share.backbone.hidden
    widest = max(layer_values(group, hidden) for group in share.groups)
    return engine.forward_factor * size * (2 * widest + 5 * hidden)


def runtime_bytes(engine: EngineMemory, devices: int, link: float) -> int:
    """Context, libraries, and buffers of collectives where several devices share layers.

    Parameters
    ----------
    engine : EngineMemory
    devices : int
        Devices of a pipeline stage.
    link : float
        Bandwidth of their links one way, bytes/s.
    """
    if devices == 1:
        return engine.runtime_bytes
    buffers = engine.fast_link_bytes if link > engine.fast_link else engine.slow_link_bytes
    return engine.runtime_bytes + buffers


def divided(of: Resident, sequences: int) -> DeviceMemory:
    """Divide the memory of a device where at most n sequences run at once.

    A pass of T tokens takes `forward_rate*T`, the sampler's warm-up `b*min(n, T)*V`, CUDA graphs
    `layers*(g0 + g1*min(2*n, largest captured batch))`. The pool is what the share of the memory
    leaves, `u*M - weights - runtime - activations - graphs`, each where it is charged; with a share
    of what is free `u*(M - ...)`.

    Parameters
    ----------
    of : Resident
    sequences : int
        n.
    """
    rows = smaller(sequences, of.chunk_tokens)
    sampler = of.sampler_bytes * rows * of.vocabulary // THOUSANDTHS
    captured = smaller(2 * sequences, of.graph_sequences)
    graphs = of.layers * (of.graph_layer_bytes + of.graph_sequence_bytes * captured)
    forward = of.forward_rate * of.chunk_tokens // (2 * THOUSANDTHS)
    activations = larger(forward, sampler)
    charged = of.weights + of.runtime
    charged = charged + of.charges_activations * activations + of.charges_graphs * graphs
    room = of.memory_share * of.usable // THOUSANDTHS
    free = of.memory_share * (of.usable - charged) // THOUSANDTHS
    pool = of.shares_free * free + (1 - of.shares_free) * (room - charged)
    return DeviceMemory(room, activations, sampler, graphs, pool)


class Capacity(NamedTuple):
    """Whether a point fits, and how large a batch of its requests does."""

    fits: bool
    largest_batch: int
    """Of all data-parallel groups."""


def capacity(most: int, sequences: int, groups: int) -> Capacity:
    """What fits of a point; numbers, or a column each.

    Parameters
    ----------
    most : int
        `most_requests` of its requests.
    sequences : int
        Of a data-parallel group.
    groups : int
        Data-parallel groups.
    """
    return Capacity(most >= sequences, most * groups)  # a pool below 0 holds none


class MemoryFigures(NamedTuple):
    """What one device holds at a point: the figures of columns."""

    usable_bytes: int
    room_bytes: int
    """What the engine may use for weights, all that it charges, and the pool."""
    runtime_bytes: int
    activation_bytes: int
    graph_bytes: int
    pool_bytes: int
    pool_tokens: int
    sequence_bytes: int
    """KV cache of one request after its answer, in whole pages, without shared tokens."""
    shared_bytes: int
    """KV cache of the tokens that all requests share."""
    fits: bool
    largest_batch: int
    """Of all data-parallel groups."""


def sequences_in(of: Resident, each: int, common: int, sequences: int) -> int:
    """Sequences whose KV cache the pool holds, where at most n run at once.

    Parameters
    ----------
    of : Resident
    each, common : int
        Bytes of the KV cache of one sequence, and of what all share.
    sequences : int
        n.
    """
    return larger((divided(of, sequences).pool - common) // each, 0)


def most_sequences(of: Resident, capacity: Callable[[int], int]) -> int:
    """Most sequences that run at once: the pool holds them, and the engine is set to run as many.

    More sequences than the engine's default leave a smaller pool, so the number lies between what
    the pool of a larger number holds and what that of a smaller one holds; these bounds close in
    quickly, and what they leave is bisected.

    Parameters
    ----------
    of : Resident
    capacity : callable
        Sequences that the pool holds where at most n run at once, of n.
    """
    default = of.max_sequences
    high = capacity(default)
    low = smaller(high, default)
    high = high - of.sequences_given * (high - low)
    for _ in range(CLOSING_ROUNDS):
        if not _any(low < high):
            return low
        low = larger(low, smaller(capacity(larger(high, default)), high))
        high = smaller(high, capacity(larger(low, default)))
    while _any(low < high):
        middle = (low + high + 1) // 2
        holds = capacity(larger(middle, default)) >= middle
        low = low + holds * (middle - low)
        high = high - (1 - holds) * (high - middle + 1)
    return low


def _any(flags: Any) -> bool:
    """Return whether a flag, or one of a column of them, is set."""
    return bool(flags) if isinstance(flags, bool) else bool(flags.any())


def most_at_once(of: Resident, sequences: int) -> int:
    """Sequences that an engine is set to run for n: its default raised to n, or what is stated."""
    raised = larger(of.max_sequences, sequences) - of.max_sequences
    return of.max_sequences + (1 - of.sequences_given) * raised


class Request(NamedTuple):
    """A request, as it lies in the pool."""

    tokens: int
    """With its answer, and the tokens that a step drafts beyond it."""
    features: int
    """Rows that cross attention keeps of its images."""
    shared: int
    """Tokens that all requests share."""


def most_requests(of: Resident, pool: Pool, request: Request) -> int:
    """Most sequences of a data-parallel group that run at once; numbers, or a column each.

    Parameters
    ----------
    of, pool, request : as `memory_figures`
    """
    common = shared_bytes(pool, request.shared)
    each = larger(sequence_bytes(pool, request.tokens, request.features) - common, 1)
    return most_sequences(of, lambda most: sequences_in(of, each, common, most))


def memory_figures(
    of: Resident, pool: Pool, request: Request, sequences: int, groups: int, most: int
) -> MemoryFigures:
    """What a device holds: numbers, or a column each.

    Parameters
    ----------
    of : Resident
    pool : Pool
        How requests lie in the pool.
    request : Request
        Each request.
    sequences : int
        Of a data-parallel group.
    groups : int
        Data-parallel groups.
    most : int
        `most_requests` of the same.
    """
    tokens = request.tokens
    common = shared_bytes(pool, request.shared)
    each = larger(sequence_bytes(pool, tokens, request.features) - common, 1)
    memory = divided(of, most_at_once(of, sequences))
    return MemoryFigures(
        usable_bytes=of.usable,
        room_bytes=memory.room,
        runtime_bytes=of.runtime,
        activation_bytes=memory.activations,
        graph_bytes=memory.graphs,
        pool_bytes=memory.pool,
        pool_tokens=logged(pool, memory.pool, tokens, of.chunk_tokens, of.logs_by_length),
        sequence_bytes=each,
        shared_bytes=common,
        **capacity(most, sequences, groups)._asdict(),
    )
