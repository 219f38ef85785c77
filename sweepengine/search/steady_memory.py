"""Memory of a serving engine that runs requests of many lengths at once."""

from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.models import Model
from sweepengine.engine.memory import (
    columns_of_frame,
    of_rows,
    pool_of_rows,
    record_of_rows,
    residents,
    stored,
)
from sweepengine.formulas.kv_pages import logged, sequence_bytes, shared_bytes
from sweepengine.formulas.memory import (
    THOUSANDTHS,
    divided,
    most_at_once,
    most_sequences,
)
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.tokens import ceil_div, larger
from sweepengine.grid.lengths import Lengths
from sweepengine.grid.points import default_values
from sweepengine.grid.products import distinct
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
    rows, codes = _alike(frame[::count])
    batch: Any = frame["batch_size"].to_numpy()[::count].astype(np.int64)
    kinds = frame[(rows[:, None] * count + np.arange(count)).ravel()]
    inputs, counts = columns_of_frame(model, kinds, default_values(model))
    every: dict[str, Any] = {
        name: values.reshape(-1, count) for name, values in (inputs | counts).items()
    }
    first = {name: values[:, 0] for name, values in every.items()}
    of, pool = residents(model, first, first["weight_bytes"])
    data: Any = first["data_parallel"]
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

    def capacity(most: Any) -> Any:
        """Sequences that the pool holds where at most n run at once."""
        free = larger(divided(of, most).pool - common, 0)
        # n sequences fit where n * mean + margin * sqrt(n) <= free.
        root = (np.sqrt(margin * margin + 4 * mean * free) - margin) / (2 * mean)
        spread = np.floor(root * root * ROUNDING).astype(np.int64)
        return np.where(margin > 0, spread, free // whole)

    if sized:
        least = (1 - of.sequences_given) * (of.max_sequences - 1)
        of = of._replace(max_sequences=of.max_sequences - least)
    most = most_sequences(of, capacity)

    def each(values: Any) -> Any:
        """Values of candidates, of those of kinds."""
        return of_rows(values, codes)

    of, pool = record_of_rows(of, codes), pool_of_rows(pool, codes)
    sequences: Any = ceil_div(batch, each(data))
    common, longest, holds = each(common), each(tokens.max(axis=1)), each(most)
    at_once = most_at_once(of, sequences)
    memory = divided(of, at_once)
    spread = np.sqrt(sequences) * each(margin)
    cache = np.ceil(sequences * each(mean) + spread).astype(np.int64)
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
        "sequence_bytes": each(whole),
        "shared_bytes": common,
        "max_sequences": at_once,
        "chunk_tokens": of.chunk_tokens,
        "memory_share": of.memory_share / THOUSANDTHS,
        "fits": holds >= sequences,
        "largest_batch": holds * each(data),
    }  # fmt: skip
    return {name: np.broadcast_to(values, len(batch)) for name, values in columns.items()}


def _alike(candidates: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A row of each kind of candidates that differ in their batch alone, and the kind of each."""
    columns = [
        stored(name, candidates[name])
        for name in candidates.columns
        if name in INPUTS and name != "batch_size"
    ]
    return distinct(columns)


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
