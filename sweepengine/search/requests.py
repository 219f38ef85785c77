"""Request lengths read from a table, and latency percentiles over them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget
from sweepengine.engine.lazy import grid_frames
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.serving import ServingEngine, queued
from sweepengine.grid.lengths import Floats, Lengths, lengths_of, quantile
from sweepengine.search.options import EngineOptions, ServingAssumptions
from sweepengine.search.placements import search_grid
from sweepengine.search.plans import ServedPlan
from sweepengine.search.steady_state import (
    engine_of_candidates,
    steady_states,
    swept_frames,
    taken_in,
)
from sweepengine.search.traces import split_arrivals

PROMPT_COLUMNS = ("context_tokens", "cached_tokens", "shared_tokens", "vision_seconds",
                  "prefill_seconds")  # fmt: skip
"""Columns that decide how long a request's own prompt takes."""
PERCENTILES = (0.5, 0.9, 0.95, 0.99)
MAX_LENGTH_ROWS = 100_000_000
"""Most rows of a table of lengths."""


def read_lengths(path: Path, model: Model) -> Lengths:
    """Request lengths from CSV, Parquet or JSON lines, as `grid.lengths.lengths_of` takes them.

    `timestamp` says when requests arrive; public traces are read as they are (`search.traces`).

    Raises
    ------
    InputError
        When the file cannot be read, or its columns are not valid.
    """
    return lengths_of_frame(str(path), model, read_frame(path))


def lengths_of_frame(source: str, model: Model, frame: pl.DataFrame) -> Lengths:
    """Request lengths from a frame with the columns of `grid.lengths.lengths_of`.

    Raises
    ------
    InputError
        When they are not valid.
    """
    if frame.height > MAX_LENGTH_ROWS:
        raise InputError(f"{source}: {frame.height:,} rows: expected at most {MAX_LENGTH_ROWS:,}")
    frame, arrivals = split_arrivals(source, frame)
    table: dict[str, Any] = {}
    for name in frame.columns:
        if frame[name].null_count():
            row = frame[name].is_null().arg_true()[0]
            raise InputError(f"{source}: {name}[{row}] is empty: expected a value")
        kind = frame[name].dtype
        if not (kind.is_numeric() or kind == pl.String) or isinstance(kind, pl.Decimal):
            raise InputError(f"{source}: {name}: expected numbers or text, found {kind}")
        plain = kind in (pl.Int64, pl.Int32, pl.UInt32, pl.Float64)
        table[name] = frame[name].to_numpy() if plain else frame[name].to_list()
    return lengths_of(source, model, table)._replace(arrivals=arrivals)


def read_frame(path: Path) -> pl.DataFrame:
    """Read a table from CSV, or from Parquet or JSON lines by the suffix of the file.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: expected a CSV, Parquet or JSON lines file")
        if path.suffix == ".parquet":
            return pl.read_parquet(path, glob=False)
        if path.suffix == ".jsonl":
            return pl.read_ndjson(path, infer_schema_length=None)
        return pl.read_csv(path, infer_schema_length=None, glob=False)
    except PolarsError as error:
        reason = " ".join(str(error).splitlines()[0].split()) if str(error) else "is empty"
        raise InputError(f"{path}: cannot be read: {reason}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def longest_tokens(model: Model, timing: TimingTarget, lengths: Lengths) -> int:
    """Tokens of the longest request, prompt and answer."""
    grid = search_grid(model, timing, {}, lengths)
    frames = grid_frames(grid, ("context_tokens", "decode_steps"))
    return max(int((f["context_tokens"] + f["decode_steps"]).max()) for f in frames)  # type: ignore[arg-type]


def mean_tokens(model: Model, timing: TimingTarget, lengths: Lengths) -> float:
    """Mean tokens of a request, prompt and answer."""
    grid = search_grid(model, timing, {}, lengths)
    frames = list(grid_frames(grid, ("context_tokens", "decode_steps")))
    tokens = pl.concat(frames).select(pl.sum_horizontal(pl.all())).to_series().to_numpy()
    return float(tokens @ lengths.weights)


def latencies(
    model: Model,
    plan: ServedPlan,
    timing: TimingTarget,
    lengths: Lengths,
    serving: ServingAssumptions,
    engine: EngineOptions = EngineOptions(),  # noqa: B008 -- immutable
    prefill_timing: TimingTarget | None = None,
) -> dict[str, Floats]:
    """Latencies of requests of each length under a plan, from one sweep.

    Parameters
    ----------
    model : Model
    plan : ServedPlan
    timing : TimingTarget
        Device and serving engine of the plan.
    lengths : Lengths
    serving : ServingAssumptions
    engine : EngineOptions
        Settings of the serving engine.
    prefill_timing : TimingTarget, optional
        Of its prefill workers, where they run on another device.

    Returns
    -------
    dict of str to float64 array, shape (L,)
        `ttft_s`, `latency_s`, `device_seconds` of all devices, and `cache_bytes`, KV cache per
        device.
    """

    def swept(
        layout: Layout, batch: int, on: TimingTarget
    ) -> tuple[dict[str, Any], pl.DataFrame, ServingEngine]:
        axes = {**plan.speculation, "precision": plan.precision, "layout": layout,
                "batch_size": batch}  # fmt: skip
        grid = search_grid(model, on, axes, lengths, "deploy", engine)
        frame = pl.concat(swept_frames(grid, ("decode_kv_cache_bytes",)))
        (measures,) = steady_states(grid, frame, on, serving).to_dicts()
        return measures, frame, engine_of_candidates(grid, frame[:1], on)

    measures, each, adds = swept(plan.layout, plan.batch_size, timing)
    steps = lengths.column("decode_steps", model)
    if plan.prefill_layout is not None:
        worker, prefills, _ = swept(plan.prefill_layout, 1, prefill_timing or timing)
        prefill = _prefill_seconds(prefills)
        rate = plan.prefill_groups * worker["data_parallel"] / worker["prefill_s"]
        busy = plan.requests_per_s / rate
        waited = queued(worker["prefill_s"], worker["prefill_square_s2"], busy)
        ttft, tpot = prefill + waited + measures["step_s"], measures["token_s"]
    else:
        prefill = _prefill_seconds(each)
        arrays = {
            name: each[name].to_numpy()[None, :] for name in PROMPT_COLUMNS if name in each.columns
        }
        prompted = taken_in(arrays, adds)[0]
        ttft = prompted + (measures["ttft_mean_s"] - float(prompted @ lengths.weights))
        tpot = measures["tpot_s"] or 0.0
    # A request's share of the devices follows from its prefill and its share of decode steps.
    occupied = prefill + steps * measures["token_s"] / plan.batch_size
    mean_seconds = plan.devices / plan.requests_per_s
    occupied = occupied * (mean_seconds / float(occupied @ lengths.weights))
    sequences = -(-plan.batch_size // int(measures["data_parallel"]))
    return {
        "ttft_s": ttft,
        "latency_s": ttft + steps * tpot,
        "device_seconds": occupied,
        "cache_bytes": each["decode_kv_cache_bytes"].to_numpy() / sequences,
    }


def percentiles(columns: Mapping[str, Floats], lengths: Lengths) -> pl.DataFrame:
    """Percentiles over requests of all lengths.

    Parameters
    ----------
    columns : mapping of str to float64 array, shape (L,)
        From `latencies`.
    lengths : Lengths

    Returns
    -------
    polars.DataFrame
        A row per percentile (`PERCENTILES`, then the mean with a null `share`).
    """
    rows = [
        {"share": share}
        | {
            name: float(quantile(values, lengths.weights, share))
            for name, values in columns.items()
        }
        for share in PERCENTILES
    ]
    mean = {name: float(values @ lengths.weights) for name, values in columns.items()}
    return pl.DataFrame([*rows, {"share": None} | mean])


def _prefill_seconds(frame: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds of vision and prefill of one request, shape (L,)."""
    prefill = frame["prefill_seconds"].to_numpy()
    return prefill + frame["vision_seconds"].to_numpy() if "vision_seconds" in frame else prefill
