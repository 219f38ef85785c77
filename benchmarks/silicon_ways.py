"""Times of the same points, in one run: ours, and those of tools that answer the like.

The tool that comes with the measured tables runs in this process; others have an environment of
their own (`.venv/peers`, made by `make bench`), as their needs and ours cannot be met at once.
"""

import contextlib
import io
import json
import logging
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

import sweepengine as se
from benchmarks.measure import RUNS, Measurement, measure
from sweepengine.grid.files import parse_grid
from sweepengine.grid.grid import Grid

GROUP = "times"
DEVICE, SYSTEM, FRAMEWORK = "h100-sxm", "h100_sxm", "vllm"
MODEL, PATH = "llama-3.1-8b", "meta-llama/Meta-Llama-3.1-8B"
SCATTERED, ONE = "evaluate, scattered points", "cost, one at a time"
LOOKED_UP = "aiconfigurator, measured tables"
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
PEERS = Path(__file__).parent.parent / ".venv" / "peers" / "bin" / "python"
CLOSE = 0.35
"""Largest median difference between two tools that mean the same points."""


def points(count: int) -> pl.DataFrame:
    """Scattered points of one model on one device, static batches as other tools take them."""
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "device": [DEVICE] * count,
            "serving": ["static"] * count,
            "prompt_tokens": random.integers(64, 8000, count).astype(np.int32),
            "decode_steps": random.integers(32, 512, count).astype(np.int32),
            "batch_size": random.choice([1, 2, 4, 8, 16, 32, 64, 128], count).astype(np.int32),
        }
    )


def fitting(frame: pl.DataFrame) -> pl.DataFrame:
    """The first points that take at most half of a device's KV cache, as tools refuse others."""
    easily = 2 * pl.col("batch_size") <= pl.col("largest_batch")
    found = se.evaluate(frame.head(10 * ASKED), MODEL).filter(easily)
    return (
        found.head(ASKED)
        .select(frame.columns)
        .with_columns(pl.col("device", "serving").cast(pl.String))
    )


def timed_capacity() -> Grid:
    """The capacity grid on a device."""
    from sweepengine.data.files import read_toml
    from sweepengine.grid.files import shipped_grids

    data = read_toml(shipped_grids()["capacity"])
    return parse_grid({**data, "axes": {"device": [DEVICE], **data["axes"]}}, "timed capacity")


def measurements(count: int = POINTS, others: bool = True) -> list[Measurement]:
    """Points a second of each way; both tools' answers are compared before they are timed."""
    from aiconfigurator_core.sdk import engine

    frame = points(count)
    few = fitting(frame).rows(named=True)
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

    looked_up, of_sheet = theirs(measured), theirs(sheet)

    def off(said: list[float]) -> float:
        """Median difference from the times that measured tables give."""
        return float(np.median(np.abs(np.array(said) / np.array(looked_up) - 1)))

    def ours() -> list[float]:
        found = [se.cost(MODEL, **row) for row in few]
        return [1e3 * (cost["prefill_seconds"] + cost["decode_seconds"]) for cost in found]

    if off(ours()) > CLOSE:
        raise SystemExit(f"times of both tools differ by {off(ours()):.0%} in the median")
    lengths, capacity = parse_grid(LENGTHS, "lengths"), timed_capacity()
    scan = se.scan(lengths).select(pl.col("ttft_seconds", "tpot_seconds").max())
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        return [
            measure(GROUP, SCATTERED, count, lambda: se.evaluate(frame, MODEL)),
            measure(GROUP, "scan, lengths alone vary", lengths.points,
                    lambda: scan.collect(engine="streaming")),
            measure(GROUP, "run of the capacity grid with times", capacity.points,
                    lambda: se.run(capacity, out, overwrite=True)),
            measure(GROUP, ONE, ASKED, ours, note=f"{off(ours()):.0%}"),
            measure(GROUP, LOOKED_UP, ASKED, lambda: theirs(measured), note="0%"),
            measure(GROUP, "aiconfigurator, data sheet", ASKED, lambda: theirs(sheet),
                    note=f"{off(of_sheet):.0%}"),
            *(Measurement(GROUP, f"{name} {one['version']}", ASKED, one["seconds"],
                          note=f"{off(one['milliseconds']):.0%}")
              for name, one in (peers(few) if others else {}).items()),
        ]  # fmt: skip


def tools(found: list[dict[str, Any]]) -> list[tuple[str, float, str]]:
    """Tools of the results: points a second, most first, and how far off the measured tables."""
    ours = {SCATTERED: "sweepengine, a frame", ONE: "sweepengine, one point"}
    mine = [one for one in found if one["group"] == GROUP]
    off = next(one["note"] for one in mine if one["way"] == ONE)
    rows = [
        (ours.get(one["way"], one["way"]), one["points_per_second"], one["note"] or off)
        for one in mine
        if one["note"] or one["way"] == SCATTERED
    ]
    return sorted(rows, key=lambda row: -row[1])


def peers(points: list[dict[str, Any]]) -> dict[str, Any]:
    """What `peer_ways` says of points, by tool."""
    if not PEERS.exists():
        raise SystemExit(f"{PEERS}: expected the environment that `make bench` makes")
    asked = [{name: point[name] for name in ("prompt_tokens", "decode_steps", "batch_size")}
             for point in points]  # fmt: skip
    done = subprocess.run(
        [PEERS, Path(__file__).parent / "peer_ways.py"], capture_output=True, text=True, check=True,
        input=json.dumps({"points": asked, "runs": RUNS}),
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    for one in measurements():
        print(f"{one.way}: {one.rate:,.0f} points/s {one.note}")
