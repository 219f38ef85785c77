"""Times of the same points: ours, and those of the tool that comes with the measured tables."""

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl

import sweepengine as se
from benchmarks.measure import Measurement, measure
from sweepengine.grid.grid import Grid, parse_grid

GROUP = "times"
DEVICE, SYSTEM, FRAMEWORK = "h100-sxm", "h100_sxm", "vllm"
MODEL, PATH = "llama-3.1-8b", "meta-llama/Meta-Llama-3.1-8B"
POINTS = 1_000_000
ASKED = 300
"""Points that are asked one at a time."""
LENGTHS = {
    "name": "lengths",
    "model": "qwen3-32b",
    "axes": {
        "device": [DEVICE],
        "batch_size": [32],
        "prompt_tokens": {"start": 64, "stop": 64_000, "step": 64},
        "decode_steps": {"start": 1, "stop": 10_000, "step": 1},
    },
}
CLOSE = 0.35
"""Largest median difference between two tools that mean the same points."""


def points(count: int) -> pl.DataFrame:
    """Scattered points of one model on one device."""
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "device": [DEVICE] * count,
            "prompt_tokens": random.integers(64, 8000, count).astype(np.int32),
            "decode_steps": random.integers(32, 512, count).astype(np.int32),
            "batch_size": random.choice([1, 2, 4, 8, 16, 32, 64, 128], count).astype(np.int32),
        }
    )


def timed_capacity() -> Grid:
    """The capacity grid on a device."""
    from sweepengine.data.files import read_toml
    from sweepengine.grid.grid import shipped_grids

    data = read_toml(shipped_grids()["capacity"])
    return parse_grid({**data, "axes": {"device": [DEVICE], **data["axes"]}}, "timed capacity")


def measurements(count: int = POINTS) -> list[Measurement]:
    """Points a second of each way; both tools' answers are compared before they are timed."""
    from aiconfigurator_core.sdk import engine

    frame = points(count)
    few = frame.head(ASKED).rows(named=True)
    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stderr(io.StringIO()):
        measured = engine.EngineHandle.compile(PATH, SYSTEM, FRAMEWORK, tp_size=1)
        with mock.patch.object(engine, "_database_mode_name", return_value="SOL"):
            sheet = engine.EngineHandle.compile(PATH, SYSTEM, FRAMEWORK, tp_size=1)
    logging.disable(logging.NOTSET)

    def theirs(handle: engine.EngineHandle) -> list[float]:
        return [
            sum(handle.run_static(batch_size=row["batch_size"], isl=row["prompt_tokens"],
                                  osl=row["decode_steps"] + 1)[:2])
            for row in few
        ]  # fmt: skip

    def ours() -> list[float]:
        found = [se.cost(MODEL, **row) for row in few]
        return [1e3 * (cost["prefill_seconds"] + cost["decode_seconds"]) for cost in found]

    off = float(np.median(np.abs(np.array(ours()) / np.array(theirs(measured)) - 1)))
    if off > CLOSE:
        raise SystemExit(f"times of both tools differ by {off:.0%} in the median")
    lengths, capacity = parse_grid(LENGTHS, "lengths"), timed_capacity()
    scan = se.scan(lengths).select(pl.col("ttft_seconds", "tpot_seconds").max())
    note = f"median difference of both {off:.0%}"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        return [
            measure(GROUP, "evaluate, scattered points", count, lambda: se.evaluate(frame, MODEL)),
            measure(GROUP, "scan, lengths alone vary", lengths.points,
                    lambda: scan.collect(engine="streaming")),
            measure(GROUP, "run of the capacity grid with times", capacity.points,
                    lambda: se.run(capacity, out, overwrite=True)),
            measure(GROUP, "cost, one at a time", ASKED, ours),
            measure(GROUP, "aiconfigurator, measured tables", ASKED, lambda: theirs(measured),
                    note=note),
            measure(GROUP, "aiconfigurator, data sheet", ASKED, lambda: theirs(sheet)),
        ]  # fmt: skip


if __name__ == "__main__":
    for one in measurements():
        print(f"{one.way}: {one.rate:,.0f} points/s {one.note}")
