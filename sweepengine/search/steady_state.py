"""Steady state of a serving engine: continuous batching of requests of many lengths.

A sweep whose last axis is `lengths` is reduced to one row per candidate, a value of every other
axis. The requests of a batch are drawn from the lengths: a decode step has their mean context, and
a request waits for the mean prefill of other requests (`formulas/serving.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.family_factors import engine_of_point
from sweepengine.data.speeds import TimingTarget
from sweepengine.engine import progress
from sweepengine.engine.compute import PLAIN, backend_at_hand
from sweepengine.engine.lazy import CHUNK_ROWS, grid_frames
from sweepengine.engine.memory import MEMORY_INPUTS
from sweepengine.formulas.formats import WEIGHT_FORMATS
from sweepengine.formulas.serving import A_SECOND, ServingEngine, taking_in, waiting
from sweepengine.formulas.speculation import A_TOKEN, accepted_tokens
from sweepengine.grid.axes import AXES
from sweepengine.grid.grid import Grid
from sweepengine.grid.lengths import Lengths, quantile
from sweepengine.grid.points import output_names
from sweepengine.search.options import ServingAssumptions
from sweepengine.search.steady_memory import steady_state_memory

Floats = NDArray[np.float64]
SECONDS_PER_DAY = 86_400
STEADY_STATE_COLUMNS = {
    "ttft_s": "TTFT in seconds, at the percentile `ServingAssumptions.share`",
    "ttft_mean_s": "mean TTFT, seconds",
    "tpot_s": "mean seconds per further token; null where nothing is decoded",
    "step_s": "seconds of a decode step without prefills",
    "token_s": "of them for each token that the step yields",
    "prefill_s": "mean seconds of a request's vision and prefill",
    "prefill_square_s2": "mean of its square, square seconds",
    "prefill_share_s": "its percentile `ServingAssumptions.share`, seconds",
    "requests_per_s": "requests/s of one replica",
    "tokens_per_s": "output tokens/s of one replica",
    "device_tokens_per_s": "output tokens/s per device",
    "user_tokens_per_s": "output tokens/s of one user",
    "device_usable_bytes": "bytes of a device that its driver reports",
    "room_bytes": "bytes of a device that the serving engine may use",
    "memory_bytes": "bytes of them that it needs, at the percentile `ServingAssumptions.share`",
    "runtime_bytes": "context, libraries and buffers of collectives",
    "activation_bytes": "activations of the serving engine",
    "graph_bytes": "CUDA graphs",
    "kv_pool_bytes": "pool of the KV cache; below 0 the serving engine does not start",
    "kv_pool_tokens": "of that pool, as the log of the engine counts them for the longest request",
    "request_tokens": "tokens of the longest request, prompt and answer",
    "sequence_bytes": "mean KV cache of each sequence",
    "shared_bytes": "KV cache of tokens that all requests share",
    "max_sequences": "most sequences that a data-parallel group of the engine runs at once",
    "chunk_tokens": "most tokens of one pass",
    "memory_share": "share of the memory that the serving engine takes",
    "fits": "whether the weights, and the KV cache of the batch, fit",
    "largest_batch": "largest batch size of a replica that fits",
}
"""Columns of a steady state, which has inputs, `weight_bytes` and `devices` too."""
FEW_POINTS = 32
"""Up to this many points plain Python is faster than compiled code that is loaded."""
ASSUMED = ServingAssumptions()
FITS = pl.col("fits")
"""Whether a candidate fits in memory."""
NULLABLE = ("tpot_s", "user_tokens_per_s")
"""Measures that are null where nothing is decoded."""
WEIGHT_FORMAT = "weight_format"
LENGTH_COLUMNS = ("decode_steps", "cached_tokens", "shared_tokens")
LAYOUT_COLUMNS, FORMAT_COLUMNS = AXES["layout"].columns, AXES["precision"].columns
_OF_STEPS = ("draft_tokens", "accepted_tokens")
"""Inputs that decide how many tokens a step yields."""
_SWEPT = ("image_features", "context_tokens", "weight_bytes", "devices", "vision_seconds",
          "prefill_seconds", "step_seconds", "refill_seconds")  # fmt: skip


def served_frames(
    grid: Grid,
    timing: TimingTarget,
    serving: ServingAssumptions = ASSUMED,
    sized: bool = False,
) -> Iterator[pl.DataFrame]:
    """Steady states of a sweep, chunk by chunk, in order.

    Parameters
    ----------
    grid : Grid
        On one device, continuous, with lengths as its last axis (`grid.grid.with_lengths`).
    timing : TimingTarget
        The device and framework of its points.
    serving : ServingAssumptions
    sized : bool
        As `steady_states` takes it.

    Yields
    ------
    polars.DataFrame
        A row per candidate, as `steady_states`.
    """
    for frame in swept_frames(grid):
        states = steady_states(grid, frame, timing, serving, sized)
        progress.advance(states.height)
        yield states


def swept_frames(grid: Grid, more: tuple[str, ...] = ()) -> Iterator[pl.DataFrame]:
    """Columns of a sweep that steady states need, and `more` outputs.

    A frame holds all lengths of its candidates.

    Raises
    ------
    InputError
        When a column would overflow.
    """
    assert grid.lengths is not None
    outputs = tuple(name for name in (*_SWEPT, *more) if name in output_names(grid.model))
    grid.check(outputs)
    held = (name for name in MEMORY_INPUTS if name in grid.model.inputs)
    inputs = (*_varied(grid), *LENGTH_COLUMNS, *_OF_STEPS, *held)
    columns = (*dict.fromkeys(inputs), *outputs)
    few = grid.points <= FEW_POINTS
    frames = grid_frames(
        grid, columns, backend=PLAIN if few else backend_at_hand(grid.points, True)
    )
    count = grid.lengths.requests
    return _whole(frames, count) if count > CHUNK_ROWS else frames


def _varied(grid: Grid) -> tuple[str, ...]:
    """Input columns that identify a candidate."""
    varied = [name for axis in grid.axes[:-1] for name in axis.columns if len(axis.values) > 1]
    return tuple(dict.fromkeys(("batch_size", *LAYOUT_COLUMNS, *FORMAT_COLUMNS, *varied)))


def steady_states(
    grid: Grid,
    frame: pl.DataFrame,
    timing: TimingTarget,
    serving: ServingAssumptions,
    sized: bool = False,
) -> pl.DataFrame:
    """Candidates in the steady state of a serving engine.

    Parameters
    ----------
    grid : Grid
    frame : polars.DataFrame, N x L rows
        From `swept_frames`: L lengths of each candidate.
    timing : TimingTarget
    serving : ServingAssumptions
    sized : bool
        Whether the serving engine is set to run as many sequences as the batch has, and no more,
        where the grid states no number; else it takes its default.

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
        if name in (*_SWEPT, *LENGTH_COLUMNS, *_OF_STEPS, "batch_size", "data_parallel")
    }
    engine = engine_of_candidates(grid, frame[::count], timing)
    computed = _measured(arrays, lengths, engine, serving)
    computed |= steady_state_memory(grid.model, frame, lengths, serving, sized)
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
    cached = of["cached_tokens"] + of["shared_tokens"]
    prompts = (of["context_tokens"] - cached).astype(np.float64)
    taken: Any = taking_in(alone.T * A_SECOND, prompts.T, engine)  # type: ignore[arg-type]
    return np.asarray(taken.T / A_SECOND)


def engine_of_candidates(
    grid: Grid, candidates: pl.DataFrame, timing: TimingTarget
) -> ServingEngine:
    """What the serving engine adds; `ranks` and factors are of shape (N,), one of each candidate.

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
    fields = ("ranks", "tpot_factor", "ttft_factor")
    by_layout = several.with_columns(
        **{field: pl.Series([getattr(engine, field) for engine in engines]) for field in fields}
    )
    of_each = candidates.select(names).join(by_layout, on=names, how="left", maintain_order="left")
    arrays: dict[str, Any] = {field: of_each[field].to_numpy() for field in fields}
    return engines[0]._replace(**arrays)


def _whole(frames: Iterator[pl.DataFrame], count: int) -> Iterator[pl.DataFrame]:
    """Join chunks, which hold a part of a candidate's lengths, to one frame per candidate."""
    kept: list[pl.DataFrame] = []
    for frame in frames:
        kept.append(frame)
        if sum(map(len, kept)) >= count:
            joined = pl.concat(kept)
            yield joined[:count]
            kept = [joined[count:]] if len(joined) > count else []


def accepted_by_step(of: Mapping[str, NDArray[Any]]) -> Floats:
    """Tokens that a step of each candidate yields, shape (N,); `of` are columns of a sweep."""
    drafted, accepted = (np.nan_to_num(of[name][:, 0].astype(np.float64)) for name in _OF_STEPS)
    stored: Any = accepted_tokens(drafted, accepted * A_TOKEN)  # type: ignore[arg-type] # columns
    return np.asarray(stored / A_TOKEN)


def _measured(
    of: dict[str, NDArray[Any]],
    lengths: Lengths,
    engine: ServingEngine,
    serving: ServingAssumptions,
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
        token = step / accepted_by_step(of)
        tpot = token + engine.tpot_factor * refill / output
    tpot = np.where(output > 0, tpot, np.nan)
    raw = step / engine.tpot_factor * A_SECOND
    waited = waiting(raw, refill * A_SECOND, sequences, engine) / A_SECOND  # type: ignore[arg-type]
    prompted = taken_in(of, engine)
    longest = quantile(alone, weights, serving.share)
    mean = waited + prompted @ weights
    decoding = np.where(np.isnan(tpot), 0.0, tpot) * output
    requests = batch / (mean + decoding)
    devices = of["devices"][:, 0]
    return {
        "weight_bytes": of["weight_bytes"][:, 0],
        "devices": devices,
        "ttft_s": waited + quantile(prompted, weights, serving.share),
        "ttft_mean_s": mean,
        "tpot_s": tpot,
        "step_s": step,
        "token_s": token,
        "prefill_s": prefill,
        "prefill_square_s2": alone * alone @ weights,
        "prefill_share_s": longest,
        "requests_per_s": requests,
        "tokens_per_s": requests * output,
        "device_tokens_per_s": requests * output / devices,
        "user_tokens_per_s": 1.0 / tpot,
    }
