"""What a serving engine makes of points: continuous batches of requests of many lengths.

A fold over a sweep whose last axis is `lengths`: each candidate, which is a value of every other
axis, becomes one row. Requests of a batch are drawn from the lengths: a step meets the mean of
their contexts, a request waits for the mean of others' prefills (formulas/serving.py).
"""

from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.devices import GIGA
from sweepengine.data.speeds import TimingTarget, serving_engine_of
from sweepengine.engine.lazy import CHUNK_ROWS, grid_frames
from sweepengine.formulas.serving import ServingEngine, continuous_ttft
from sweepengine.grid.axes import AXES
from sweepengine.grid.grid import Grid
from sweepengine.grid.lengths import Lengths, quantile
from sweepengine.grid.points import output_names
from sweepengine.search.options import ServingAssumptions

Floats = NDArray[np.float64]
SECONDS_PER_DAY = 86_400
STEADY_STATE_COLUMNS = {
    "ttft_s": "seconds to the first token that so many of the requests see at most",
    "ttft_mean_s": "their mean",
    "tpot_s": "seconds between tokens, the mean; null where nothing is decoded",
    "step_s": "seconds of a decode step by itself",
    "prefill_s": "seconds of a request's prefill and vision by itself, the mean",
    "prefill_square_s2": "the mean of its square, in square seconds",
    "prefill_share_s": "that so many of the requests take at most",
    "requests_per_s": "of one copy of the model",
    "tokens_per_s": "output tokens of one copy",
    "device_tokens_per_s": "that, of each of its devices",
    "user_tokens_per_s": "output tokens that one user sees",
    "room_bytes": "that an engine may take of a device",
    "memory_bytes": "that a device needs, in so many of the batches at most",
    "prefill_bytes": "of it the activations of a prefill",
    "sequence_bytes": "of it for each sequence, the mean",
    "largest_batch": "that a copy has the memory for",
}
"""Columns of a served frame beside inputs, `weight_bytes` and `devices`; times are seconds."""


ASSUMED = ServingAssumptions()
FITS = pl.col("memory_bytes") <= pl.col("room_bytes")
"""Whether a candidate does."""
MEMORY = "device_memory_gb"
NULL = ("tpot_s", "user_tokens_per_s")
"""Measures that are null where nothing is decoded."""
LENGTH_COLUMNS = ("decode_steps", "cached_tokens")
LAID, FORMATS = AXES["layout"].columns, AXES["precision"].columns
_PARTS = ("context_tokens", "weight_bytes", "devices", "decode_kv_cache_bytes",
          "decode_activation_bytes", "prefill_activation_bytes", "vision_activation_bytes",
          "vision_seconds", "prefill_seconds", "ttft_seconds", "tpot_seconds")  # fmt: skip


def served_frames(
    grid: Grid, place: TimingTarget, serving: ServingAssumptions = ASSUMED
) -> Iterator[pl.DataFrame]:
    """Fold a sweep over its lengths, chunk by chunk, in order.

    Parameters
    ----------
    grid : Grid
        On one device, continuous, with lengths as its last axis (`grid.grid.with_lengths`).
    place : TimingTarget
        The device and framework of its points.
    serving : ServingAssumptions

    Yields
    ------
    polars.DataFrame
        A row a candidate, as `steady_states`.
    """
    for frame in swept_frames(grid):
        yield steady_states(grid, frame, place, serving)


def swept_frames(grid: Grid) -> Iterator[pl.DataFrame]:
    """The columns of a sweep that steady states follow from, all lengths of a candidate together.

    Raises
    ------
    InputError
        When one of them would overflow.
    """
    assert grid.lengths is not None
    outputs = tuple(name for name in _PARTS if name in output_names(grid.model))
    grid.check(outputs)
    inputs = (*_varied(grid), *LENGTH_COLUMNS, MEMORY)
    frames = grid_frames(grid, (*dict.fromkeys(inputs), *outputs))
    count = grid.lengths.requests
    return _whole(frames, count) if count > CHUNK_ROWS else frames


def _varied(grid: Grid) -> tuple[str, ...]:
    """Inputs that tell candidates apart."""
    varied = [name for axis in grid.axes[:-1] for name in axis.columns if len(axis.values) > 1]
    return tuple(dict.fromkeys(("batch_size", *LAID, *FORMATS, *varied)))


def steady_states(
    grid: Grid, frame: pl.DataFrame, place: TimingTarget, serving: ServingAssumptions
) -> pl.DataFrame:
    """Candidates in the steady state of a serving engine.

    Parameters
    ----------
    grid : Grid
    frame : polars.DataFrame, N x L rows
        Of `swept_frames`: L lengths of each candidate.
    place : TimingTarget
    serving : ServingAssumptions

    Returns
    -------
    polars.DataFrame, N rows
        Batch, layout, formats and every input that varies beside lengths, `weight_bytes`,
        `devices` and `STEADY_STATE_COLUMNS`.
    """
    assert grid.lengths is not None
    lengths, count = grid.lengths, grid.lengths.requests
    inputs = _varied(grid)
    arrays = {
        name: frame[name].to_numpy().reshape(-1, count)
        for name in frame.columns
        if name in (*_PARTS, *LENGTH_COLUMNS, "batch_size", "data_parallel")
    }
    own = frame[MEMORY].to_numpy()[::count] * GIGA
    room = np.where(own > 0, own, place.device.memory_bytes) * serving.memory_share
    found = _measured(arrays, lengths, serving_engine_of(place), serving, room)
    measures = [pl.Series(name, values) for name, values in found.items()]
    measures = [one.fill_nan(None) if one.name in NULL else one for one in measures]
    candidates = frame.select(inputs)
    return (candidates if count == 1 else candidates.gather_every(count)).hstack(measures)


def _whole(frames: Iterator[pl.DataFrame], count: int) -> Iterator[pl.DataFrame]:
    """Frames that hold every length of a candidate, where a chunk holds some."""
    kept: list[pl.DataFrame] = []
    for frame in frames:
        kept.append(frame)
        if sum(map(len, kept)) >= count:
            joined = pl.concat(kept)
            yield joined[:count]
            kept = [joined[count:]] if len(joined) > count else []


def _measured(
    of: dict[str, NDArray[Any]],
    lengths: Lengths,
    engine: ServingEngine,
    serving: ServingAssumptions,
    room: Floats,
) -> dict[str, NDArray[Any]]:
    """Measures of candidates, each shape (N,); `of` has their columns, shape (N, L)."""
    weights = lengths.weights
    steps = of["decode_steps"].astype(np.float64)
    data = of["data_parallel"][:, 0].astype(np.int64)
    batch = of["batch_size"][:, 0].astype(np.int64)
    sequences = -(-batch // data)
    alone = of["prefill_seconds"] + of.get("vision_seconds", 0.0)
    prefill, output = alone @ weights, steps @ weights
    us = 1e-6
    waited = sequences * prefill
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = (of["tpot_seconds"] * steps) @ weights / output
        silent = (alone * (steps == 0)) @ weights  # prefills of requests that decode nothing
        tpot += engine.interference * sequences * silent / output
        step = tpot - engine.host * us - engine.interference * waited / output
    first = (of["ttft_seconds"] - alone * (1 + engine.burst * sequences[:, None])) @ weights
    # Where nothing is decoded no step is run but the one that gives the first token.
    step = np.where(output > 0, step, first - engine.first * us)
    tpot = np.where(output > 0, tpot, np.nan)
    base = continuous_ttft(step / us, 0.0, prefill / us, sequences, engine) * us  # type: ignore[arg-type]
    longest = quantile(alone, weights, serving.share)
    mean = base + prefill
    decoding = np.where(np.isnan(tpot), 0.0, tpot) * output
    requests = batch / (mean + decoding)
    devices = of["devices"][:, 0]
    weights_held = of["weight_bytes"][:, 0]
    filling, each, spread = _memory(of, lengths, sequences, serving)
    reach = max(NormalDist().inv_cdf(serving.share), 0.0) if serving.share < 1 else 0.0
    held = sequences * each + reach * np.sqrt(sequences) * spread
    free = np.maximum(room - weights_held - filling, 0.0)
    # n sequences of a device fit where n*each + reach*sqrt(n)*spread <= free.
    beside = reach * spread
    root = (np.sqrt(beside * beside + 4 * each * free) - beside) / (2 * each)
    return {
        "weight_bytes": weights_held,
        "devices": devices,
        "ttft_s": base + longest,
        "ttft_mean_s": mean,
        "tpot_s": tpot,
        "step_s": step,
        "prefill_s": prefill,
        "prefill_square_s2": alone * alone @ weights,
        "prefill_share_s": longest,
        "requests_per_s": requests,
        "tokens_per_s": requests * output,
        "device_tokens_per_s": requests * output / devices,
        "user_tokens_per_s": 1.0 / tpot,
        "room_bytes": room.astype(np.int64),
        "memory_bytes": np.ceil(weights_held + filling + held).astype(np.int64),
        "prefill_bytes": np.ceil(filling).astype(np.int64),
        "sequence_bytes": np.ceil(each).astype(np.int64),
        "largest_batch": np.floor(root * root * (1 + 1e-12)).astype(np.int64) * data,
    }


def _memory(
    of: dict[str, NDArray[Any]],
    lengths: Lengths,
    sequences: NDArray[np.int64],
    serving: ServingAssumptions,
) -> tuple[Floats, Floats, Floats]:
    """Bytes of a device that a prefill takes, that each sequence adds, and how that spreads.

    An engine prefills at most a chunk of tokens at once, beside the steps of all sequences. Of
    sequences that are under way, long answers are more: as many times as they are longer. With a
    share of 1 every sequence is taken to be as large as the largest.
    """
    tokens = of["context_tokens"]
    new = np.maximum(tokens - of["cached_tokens"], 1)
    steps = np.maximum(of["decode_steps"], 1)
    of = {name: values.astype(np.float64) for name, values in of.items() if "bytes" in name}
    each = sequences[:, None]
    filling = of["prefill_activation_bytes"] / each * np.minimum(1.0, serving.chunk_tokens / new)
    if "vision_activation_bytes" in of:
        filling = np.maximum(filling, of["vision_activation_bytes"] / each)
    kept = (of["decode_kv_cache_bytes"] + of["decode_activation_bytes"]) / each
    under_way = lengths.weights * steps
    under_way = under_way / under_way.sum(axis=1, keepdims=True)
    mean = (kept * under_way).sum(axis=1) if serving.share < 1 else kept.max(axis=1)
    spread = np.sqrt(((kept - mean[:, None]) ** 2 * under_way).sum(axis=1))
    return filling.max(axis=1), mean, spread
