"""Steady state of a serving engine: continuous batching of requests of many lengths.

A sweep whose last axis is `lengths` is reduced to one row per candidate, a value of every other
axis. The requests of a batch are drawn from the lengths: a decode step has their mean context, and
a request waits for the mean prefill of other requests (`formulas/serving.py`).
"""

from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.devices import GIGA
from sweepengine.data.family_factors import engine_of_point
from sweepengine.data.speeds import TimingTarget
from sweepengine.engine.lazy import CHUNK_ROWS, grid_frames
from sweepengine.formulas.formats import WEIGHT_FORMATS
from sweepengine.formulas.serving import A_SECOND, ServingEngine, taking_in, waiting
from sweepengine.grid.axes import AXES
from sweepengine.grid.grid import Grid
from sweepengine.grid.lengths import Lengths, quantile
from sweepengine.grid.points import output_names
from sweepengine.search.options import ServingAssumptions

Floats = NDArray[np.float64]
SECONDS_PER_DAY = 86_400
STEADY_STATE_COLUMNS = {
    "ttft_s": "TTFT in seconds, at the percentile `ServingAssumptions.share`",
    "ttft_mean_s": "mean TTFT, seconds",
    "tpot_s": "mean seconds per further token; null where nothing is decoded",
    "step_s": "seconds of a decode step without prefills",
    "prefill_s": "mean seconds of a request's vision and prefill",
    "prefill_square_s2": "mean of its square, square seconds",
    "prefill_share_s": "its percentile `ServingAssumptions.share`, seconds",
    "requests_per_s": "requests/s of one replica",
    "tokens_per_s": "output tokens/s of one replica",
    "device_tokens_per_s": "output tokens/s per device",
    "user_tokens_per_s": "output tokens/s of one user",
    "room_bytes": "bytes of a device that the serving engine may use",
    "memory_bytes": "bytes that a device needs, at the percentile `ServingAssumptions.share`",
    "prefill_bytes": "part of memory_bytes: activations of a prefill",
    "sequence_bytes": "part of memory_bytes: mean of each sequence",
    "largest_batch": "largest batch size of a replica that fits",
}
"""Columns of a steady state, which has inputs, `weight_bytes` and `devices` too."""
ASSUMED = ServingAssumptions()
FITS = pl.col("memory_bytes") <= pl.col("room_bytes")
"""Whether a candidate fits in memory."""
MEMORY_COLUMN = "device_memory_gb"
NULLABLE = ("tpot_s", "user_tokens_per_s")
"""Measures that are null where nothing is decoded."""
WEIGHT_FORMAT = "weight_format"
LENGTH_COLUMNS = ("decode_steps", "cached_tokens")
LAYOUT_COLUMNS, FORMAT_COLUMNS = AXES["layout"].columns, AXES["precision"].columns
_SWEPT = ("context_tokens", "weight_bytes", "devices", "decode_kv_cache_bytes",
          "decode_activation_bytes", "prefill_activation_bytes", "vision_activation_bytes",
          "vision_seconds", "prefill_seconds", "step_seconds", "refill_seconds")  # fmt: skip


def served_frames(
    grid: Grid, timing: TimingTarget, serving: ServingAssumptions = ASSUMED
) -> Iterator[pl.DataFrame]:
    """Steady states of a sweep, chunk by chunk, in order.

    Parameters
    ----------
    grid : Grid
        On one device, continuous, with lengths as its last axis (`grid.grid.with_lengths`).
    timing : TimingTarget
        The device and framework of its points.
    serving : ServingAssumptions

    Yields
    ------
    polars.DataFrame
        A row per candidate, as `steady_states`.
    """
    for frame in swept_frames(grid):
        yield steady_states(grid, frame, timing, serving)


def swept_frames(grid: Grid) -> Iterator[pl.DataFrame]:
    """Columns of a sweep that steady states need; a frame holds all lengths of its candidates.

    Raises
    ------
    InputError
        When a column would overflow.
    """
    assert grid.lengths is not None
    outputs = tuple(name for name in _SWEPT if name in output_names(grid.model))
    grid.check(outputs)
    inputs = (*_varied(grid), *LENGTH_COLUMNS, MEMORY_COLUMN)
    frames = grid_frames(grid, (*dict.fromkeys(inputs), *outputs))
    count = grid.lengths.requests
    return _whole(frames, count) if count > CHUNK_ROWS else frames


def _varied(grid: Grid) -> tuple[str, ...]:
    """Input columns that identify a candidate."""
    varied = [name for axis in grid.axes[:-1] for name in axis.columns if len(axis.values) > 1]
    return tuple(dict.fromkeys(("batch_size", *LAYOUT_COLUMNS, *FORMAT_COLUMNS, *varied)))


def steady_states(
    grid: Grid, frame: pl.DataFrame, timing: TimingTarget, serving: ServingAssumptions
) -> pl.DataFrame:
    """Candidates in the steady state of a serving engine.

    Parameters
    ----------
    grid : Grid
    frame : polars.DataFrame, N x L rows
        From `swept_frames`: L lengths of each candidate.
    timing : TimingTarget
    serving : ServingAssumptions

    Returns
    -------
    polars.DataFrame, N rows
        Batch size, layout, formats and every input that varies, `weight_bytes`, `devices` and
        `STEADY_STATE_COLUMNS`.
    """
    assert grid.lengths is not None
    lengths, count = grid.lengths, grid.lengths.requests
    inputs = _varied(grid)
    arrays = {
        name: frame[name].to_numpy().reshape(-1, count)
        for name in frame.columns
        if name in (*_SWEPT, *LENGTH_COLUMNS, "batch_size", "data_parallel")
    }
    given = frame[MEMORY_COLUMN].to_numpy()[::count] * GIGA
    room = np.where(given > 0, given, timing.device.memory_bytes) * serving.memory_share
    engine = engine_of_candidates(grid, frame[::count], timing)
    computed = _measured(arrays, lengths, engine, serving, room)
    measures = [pl.Series(name, values) for name, values in computed.items()]
    measures = [s.fill_nan(None) if s.name in NULLABLE else s for s in measures]
    candidates = frame.select(inputs)
    return (candidates if count == 1 else candidates.gather_every(count)).hstack(measures)


def taken_in(of: Mapping[str, NDArray[Any]], engine: ServingEngine) -> Floats:
    """Seconds that a request's own prompt takes before its first token.

    Parameters
    ----------
    of : mapping of str to array, shape (N, L)
        Columns of a sweep.
    engine : ServingEngine
        As `engine_of_candidates` returns it.
    """
    alone = of["prefill_seconds"] + of.get("vision_seconds", 0.0)
    prompts = (of["context_tokens"] - of["cached_tokens"]).astype(np.float64)
    taken: Any = taking_in(alone.T * A_SECOND, prompts.T, engine)  # type: ignore[arg-type]
    return np.asarray(taken.T / A_SECOND)


def engine_of_candidates(
    grid: Grid, candidates: pl.DataFrame, timing: TimingTarget
) -> ServingEngine:
    """What the serving engine adds; its factors are arrays of shape (N,), one of each candidate.

    Parameters
    ----------
    grid : Grid
        Of the candidates.
    candidates : polars.DataFrame, N rows
        Layouts and formats.
    timing : TimingTarget
    """
    names = [*LAYOUT_COLUMNS, WEIGHT_FORMAT]
    several = candidates.select(names).unique(maintain_order=True)
    engines = [
        engine_of_point(
            grid.model.architecture,
            grid.point._replace(**row | {WEIGHT_FORMAT: WEIGHT_FORMATS.index(row[WEIGHT_FORMAT])}),
            timing,
        )
        for row in several.iter_rows(named=True)
    ]
    factors = several.with_columns(
        tpot=pl.Series([engine.tpot_factor for engine in engines]),
        ttft=pl.Series([engine.ttft_factor for engine in engines]),
    )
    of_each = candidates.select(names).join(factors, on=names, how="left", maintain_order="left")
    tpot, ttft = of_each["tpot"].to_numpy(), of_each["ttft"].to_numpy()
    return engines[0]._replace(tpot_factor=tpot, ttft_factor=ttft)  # type: ignore[arg-type]


def _whole(frames: Iterator[pl.DataFrame], count: int) -> Iterator[pl.DataFrame]:
    """Join chunks, which hold a part of a candidate's lengths, to one frame per candidate."""
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
    """Measures of candidates, each of shape (N,).

    Parameters
    ----------
    of : dict of str to array, shape (N, L)
        Columns of the sweep.
    lengths : Lengths
        L lengths and their weights.
    engine : ServingEngine
    serving : ServingAssumptions
    room : float64 array, shape (N,)
        Usable bytes of a device.
    """
    weights = lengths.weights
    steps = of["decode_steps"].astype(np.float64)
    data = of["data_parallel"][:, 0].astype(np.int64)
    batch = of["batch_size"][:, 0].astype(np.int64)
    sequences = -(-batch // data)
    alone = of["prefill_seconds"] + of.get("vision_seconds", 0.0)
    prefill, output = alone @ weights, steps @ weights
    refill = of["refill_seconds"] @ weights
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.where(output > 0, (of["step_seconds"] * steps) @ weights / output, 0.0)
        tpot = step + engine.tpot_factor * refill / output
    tpot = np.where(output > 0, tpot, np.nan)
    raw = step / engine.tpot_factor * A_SECOND
    waited = waiting(raw, refill * A_SECOND, sequences, engine) / A_SECOND  # type: ignore[arg-type]
    prompted = taken_in(of, engine)
    longest = quantile(alone, weights, serving.share)
    mean = waited + prompted @ weights
    decoding = np.where(np.isnan(tpot), 0.0, tpot) * output
    requests = batch / (mean + decoding)
    devices = of["devices"][:, 0]
    weight_bytes = of["weight_bytes"][:, 0]
    prefill_bytes, each, deviation = _memory(of, lengths, sequences, serving)
    z = max(NormalDist().inv_cdf(serving.share), 0.0) if serving.share < 1 else 0.0
    sequence_bytes = sequences * each + z * np.sqrt(sequences) * deviation
    free = np.maximum(room - weight_bytes - prefill_bytes, 0.0)
    # n sequences of a device fit where n * each + z * sqrt(n) * deviation <= free.
    margin = z * deviation
    root = (np.sqrt(margin * margin + 4 * each * free) - margin) / (2 * each)
    return {
        "weight_bytes": weight_bytes,
        "devices": devices,
        "ttft_s": waited + quantile(prompted, weights, serving.share),
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
        "memory_bytes": np.ceil(weight_bytes + prefill_bytes + sequence_bytes).astype(np.int64),
        "prefill_bytes": np.ceil(prefill_bytes).astype(np.int64),
        "sequence_bytes": np.ceil(each).astype(np.int64),
        "largest_batch": np.floor(root * root * (1 + 1e-12)).astype(np.int64) * data,
    }


def _memory(
    of: dict[str, NDArray[Any]],
    lengths: Lengths,
    sequences: NDArray[np.int64],
    serving: ServingAssumptions,
) -> tuple[Floats, Floats, Floats]:
    """Bytes of a prefill, and mean and standard deviation of the bytes of a sequence; shapes (N,).

    A step prefills at most a chunk of tokens. A running sequence has a long answer with a
    probability proportional to its length. With a share of 1, every sequence is as large as the
    largest.

    Parameters
    ----------
    of : dict of str to array, shape (N, L)
        Columns of the sweep.
    lengths : Lengths
    sequences : int64 array, shape (N,)
        Sequences of a data-parallel rank.
    serving : ServingAssumptions
    """
    tokens = of["context_tokens"]
    new = np.maximum(tokens - of["cached_tokens"], 1)
    steps = np.maximum(of["decode_steps"], 1)
    of = {name: values.astype(np.float64) for name, values in of.items() if "bytes" in name}
    each = sequences[:, None]
    prefill = of["prefill_activation_bytes"] / each * np.minimum(1.0, serving.chunk_tokens / new)
    if "vision_activation_bytes" in of:
        prefill = np.maximum(prefill, of["vision_activation_bytes"] / each)
    kept = (of["decode_kv_cache_bytes"] + of["decode_activation_bytes"]) / each
    running = lengths.weights * steps
    running = running / running.sum(axis=1, keepdims=True)
    mean = (kept * running).sum(axis=1) if serving.share < 1 else kept.max(axis=1)
    deviation = np.sqrt(((kept - mean[:, None]) ** 2 * running).sum(axis=1))
    return prefill.max(axis=1), mean, deviation
