"""Memory of a serving engine that runs requests of many lengths at once."""

from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.models import Model
from sweepengine.engine.memory import columns_of_frame, residents
from sweepengine.formulas.kv_pages import logged, sequence_bytes, shared_bytes
from sweepengine.formulas.memory import (
    THOUSANDTHS,
    Resident,
    divided,
    most_at_once,
    most_sequences,
)
from sweepengine.formulas.tokens import ceil_div, larger
from sweepengine.grid.lengths import Lengths
from sweepengine.grid.points import default_values
from sweepengine.search.options import ServingAssumptions

Floats = NDArray[np.float64]
ROUNDING = 1 + 1e-12
"""Factor before rounding down, so that a whole number stays as it is."""


def steady_state_memory(
    model: Model,
    frame: pl.DataFrame,
    lengths: Lengths,
    serving: ServingAssumptions,
    sized: bool,
) -> dict[str, NDArray[Any]]:
    """Columns of memory of candidates, each of shape (N,).

    A running sequence has a long answer with a probability proportional to its length. All
    sequences of a batch together take `n*mean + z*sqrt(n)*deviation` of the KV cache; with a share
    of 1 each is as large as the largest.

    Parameters
    ----------
    model : Model
        With devices.
    frame : polars.DataFrame, N x L rows
        Inputs and counts of the L lengths of each candidate.
    lengths : Lengths
    serving : ServingAssumptions
    sized : bool
        Whether the engine is set to run as many sequences as the batch has, and no more, where
        the grid states no number.
    """
    count = lengths.requests
    inputs, counts = columns_of_frame(model, frame, default_values(model))
    every: dict[str, Any] = {
        name: values.reshape(-1, count) for name, values in (inputs | counts).items()
    }
    first = {name: values[:, 0] for name, values in every.items()}
    of, pool = residents(model, first, first["weight_bytes"])
    data: Any = first["data_parallel"]
    sequences: Any = ceil_div(first["batch_size"], data)
    common = shared_bytes(pool, every["shared_tokens"].min(axis=1))
    tokens = every["context_tokens"] + every["decode_steps"] + every["draft_tokens"]
    features = every.get("image_features", np.zeros_like(tokens))
    kept = np.stack(
        [
            larger(sequence_bytes(pool, tokens[:, i], features[:, i]) - common, 1)
            for i in range(count)
        ],
        axis=1,
    )
    mean, deviation = _of_sequences(kept, every["decode_steps"], lengths, serving)
    z = max(NormalDist().inv_cdf(serving.share), 0.0) if serving.share < 1 else 0.0
    margin = z * deviation
    whole = np.ceil(mean).astype(np.int64)

    def most_of(of: Resident) -> Any:
        """Most sequences that run at once."""

        def capacity(most: Any) -> Any:
            free = larger(divided(of, most).pool - common, 0)
            # n sequences fit where n * mean + margin * sqrt(n) <= free.
            root = (np.sqrt(margin * margin + 4 * mean * free) - margin) / (2 * mean)
            spread = np.floor(root * root * ROUNDING).astype(np.int64)
            return np.where(margin > 0, spread, free // whole)

        return most_sequences(of, capacity)

    if sized:
        least = (1 - of.sequences_given) * (of.max_sequences - 1)
        of = of._replace(max_sequences=of.max_sequences - least)
    most: Any = most_of(of)
    longest = tokens.max(axis=1)
    at_once = most_at_once(of, sequences)
    memory = divided(of, at_once)
    cache = np.ceil(sequences * mean + np.sqrt(sequences) * margin).astype(np.int64)
    rows = len(sequences)
    columns: dict[str, Any] = {
        "device_usable_bytes": of.usable,
        "room_bytes": memory.room,
        "memory_bytes": memory.room - memory.pool + common + cache,
        "runtime_bytes": of.runtime,
        "activation_bytes": memory.activations,
        "graph_bytes": memory.graphs,
        "kv_pool_bytes": memory.pool,
        "kv_pool_tokens": logged(pool, memory.pool, longest, of.chunk_tokens, of.logs_by_length),
        "request_tokens": longest,
        "sequence_bytes": whole,
        "shared_bytes": common,
        "max_sequences": at_once,
        "chunk_tokens": of.chunk_tokens,
        "memory_share": of.memory_share / THOUSANDTHS,
        "fits": most >= sequences,
        "largest_batch": most * data,
    }  # fmt: skip
    return {name: np.broadcast_to(values, rows) for name, values in columns.items()}


def _of_sequences(
    kept: NDArray[np.int64],
    steps: NDArray[np.int64],
    lengths: Lengths,
    serving: ServingAssumptions,
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the bytes of a running sequence, each of shape (N,).

    Parameters
    ----------
    kept, steps : int64 arrays, shape (N, L)
        Bytes and decode steps of a request of each length.
    lengths : Lengths
    serving : ServingAssumptions
    """
    if lengths.requests == 1 or serving.share == 1:
        largest = kept.max(axis=1).astype(np.float64)
        return largest, np.zeros_like(largest)
    running = lengths.weights * np.maximum(steps, 1)
    running = running / running.sum(axis=1, keepdims=True)
    mean = (kept * running).sum(axis=1)
    return mean, np.sqrt(((kept - mean[:, None]) ** 2 * running).sum(axis=1))
