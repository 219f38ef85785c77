"""Whole runs: into Parquet, from a cold start, over sizes and threads, and queries."""

import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

import sweepengine as se
from benchmarks.measure import Measurement, measure, run_command
from sweepengine.engine.compute import COMPILED
from sweepengine.grid.files import load_grid, parse_grid
from sweepengine.store.dataset import to_arrow
from sweepengine.store.manifest import arrow_schema
from sweepengine.store.runs import _manifest
from sweepengine.store.shards import columns_of, names_of

WRITTEN = 2_000_000
SIZES = (100_000, 1_000_000, 10_000_000, 100_000_000)
STARTS = 4
FRAME = 1_000_000
CALLS = 1_000


def sized_grid(points: int) -> str:
    """A grid of `points` points, as TOML: the capacity grid's axes, with more or fewer steps."""
    steps = points // (10 * 4 * 2 * 5)
    return f"""
name = "sized"
[axes]
crops = ["none", "1x2", "2x2", "2x3", "3x3", "3x4", "4x4", "4x5", "5x5", "4x7"]
heads = [[10, 10], [10, 5], [10, 2], [10, 1]]
attention = ["eager", "flash"]
batch_size = [1, 4, 16, 64, 256]
decode_steps = {{ start = 1, stop = {steps}, step = 1 }}
"""


def writer_measurements() -> list[Measurement]:
    """`run` beside writers of a table that is already computed."""
    grid = load_grid("capacity")
    columns = columns_of(grid.model, next(iter(grid.chunks(WRITTEN))), COMPILED)
    table = to_arrow(columns, arrow_schema(_manifest(grid, grid.points)), names_of(grid.model))
    frame = pl.from_arrow(table)
    count = table.num_rows
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        pyarrow = {
            "pyarrow, default": {},
            "pyarrow, zstd": {"compression": "zstd", "compression_level": 1},
            "pyarrow, lz4": {"compression": "lz4"},
            "pyarrow, no compression": {"compression": "none", "use_dictionary": False},
        }
        for way, options in pyarrow.items():
            timed = measure("write", way, count, lambda o=options: pq.write_table(table, path, **o))
            found.append(timed._replace(note=f"{path.stat().st_size / count:.1f} bytes a point"))
        for kind in ("zstd", "lz4"):
            way = f"Polars, {kind}"
            timed = measure(
                "write", way, count, lambda k=kind: frame.write_parquet(path, compression=k)
            )
            found.append(timed._replace(note=f"{path.stat().st_size / count:.1f} bytes a point"))
        out = Path(folder) / "run"
        timed = measure(
            "write", "run: computed, written and synced", grid.points,
            lambda: se.run(grid, out, overwrite=True),
        )  # fmt: skip
        size = sum(entry.stat().st_size for entry in out.glob("*.parquet"))
        found.append(timed._replace(note=f"{size / grid.points:.1f} bytes a point"))
    return found


def scaling_measurements(sizes: tuple[int, ...] = SIZES) -> list[Measurement]:
    """`sweepengine run` as a process: seconds and peak memory over sizes and threads."""
    found = []
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sized.toml"
        for points in sizes:
            path.write_text(sized_grid(points), encoding="utf-8")
            for workers in range(1, cores + 1):
                if points > 10_000_000 and workers < cores:
                    continue
                out = Path(folder) / "out"
                done = run_command("run", path, "--out", out, "--overwrite", "--workers",
                                   str(workers))  # fmt: skip
                way = f"{points:,} points, {workers} threads"
                found.append(Measurement("scale", way, points, [done.seconds], done.megabytes))
    return found


def start_measurements() -> list[Measurement]:
    """A small and a large grid on a machine that never compiled anything, and again."""
    found = []
    for grid in ("published-vision", "capacity"):
        with tempfile.TemporaryDirectory() as folder:
            cold = {**os.environ, "XDG_CACHE_HOME": str(Path(folder) / "cache")}
            arguments = ("run", grid, "--out", Path(folder) / "out", "--overwrite")
            runs = [run_command(*arguments, environment=cold) for _ in range(STARTS)]
        points = load_grid(grid).points
        for way, part in (("cold", runs[:1]), ("warm", runs[1:])):
            seconds = [done.seconds for done in part]
            found.append(Measurement("start", f"{grid}, {way}", points, seconds, runs[0].megabytes))
    for way, arguments in (("--help", ("--help",)), ("explain", ("explain", "--crops", "2x3"))):
        seconds = [run_command(*arguments).seconds for _ in range(STARTS)]
        found.append(Measurement("start", way, 1, seconds))
    return found


def frame_measurements() -> list[Measurement]:
    """`evaluate` of scattered points, and one point at a time by `cost`."""
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "crop_rows": random.integers(1, 6, FRAME).astype(np.int32),
            "crop_cols": random.integers(1, 6, FRAME).astype(np.int32),
            "text_tokens": random.choice(np.arange(10, 1000, 11), FRAME).astype(np.int32),
            "decode_steps": random.integers(1, 8000, FRAME).astype(np.int32),
            "batch_size": random.integers(1, 257, FRAME).astype(np.int32),
            "attention": pl.Series(random.choice(["eager", "flash"], FRAME)),
        }
    )
    steps = iter(range(1_000_000))

    def ask() -> None:
        for _ in range(CALLS):
            se.cost(crop_rows=2, crop_cols=3, text_tokens=next(steps) % 100_000, batch_size=8)

    scan = se.scan("capacity").select(pl.all().max())
    return [
        measure("frame", "evaluate, 4,500 workloads scattered", FRAME, lambda: se.evaluate(frame)),
        measure("frame", "cost, a new context each call", CALLS, ask),
        measure("frame", "scan, the largest of every column", load_grid("capacity").points,
                lambda: scan.collect(engine="streaming")),
    ]  # fmt: skip


def query_measurements() -> list[Measurement]:
    """Queries on the grid beside the same on its Parquet files."""
    grid = load_grid("capacity")
    billion = parse_grid(
        {
            "name": "billion",
            "axes": {
                "crops": [{"min": 2, "max": 29}],
                "heads": [[10, 10], [10, 5]],
                "batch_size": {"start": 1, "stop": 1000, "step": 1},
                "decode_steps": {"start": 1, "stop": 10_000, "step": 1},
            },
        },
        "billion",
    )
    hundred = Path(tempfile.mkdtemp()) / "sized.toml"
    hundred.write_text(sized_grid(SIZES[-1]), encoding="utf-8")
    grouped = ("--group-by", "batch_size", "--select", "batch_size, max(decode_tensor_flops) AS m")
    with tempfile.TemporaryDirectory() as folder:
        se.run(grid, folder)
        files = pl.scan_parquet(Path(folder) / "*.parquet")
        found = []
        for way, points in (("scan of the grid", se.scan(grid)), ("its Parquet files", files)):
            group = points.group_by("batch_size").agg(pl.col("decode_tensor_flops").max())
            part = points.filter((pl.col("batch_size") == 8) & (pl.col("crop_rows") == 2))
            for what, asked in (("group by", group), ("filter", part.select(pl.len()))):
                timed = measure(
                    "query", f"{what}, {way}", grid.points,
                    lambda asked=asked: asked.collect(engine="streaming"),
                )  # fmt: skip
                found.append(timed)
        narrow = (
            se.scan(billion)
            .filter((pl.col("batch_size") == 8) & (pl.col("decode_steps") % 1000 == 0))
            .select(pl.col("decode_tensor_flops").max())
        )
        found.append(
            measure("query", "axis filter on 1.06 billion points", billion.points, narrow.collect)
        )
        done = run_command("query", hundred, *grouped)
        found.append(
            Measurement("query", "group by over 100 million points", SIZES[-1], [done.seconds],
                        done.megabytes)
        )  # fmt: skip
    return found
