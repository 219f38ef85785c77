"""Query results as CSV, JSON or Parquet, to a file or the standard output, in bounded memory."""

import sys
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from sweepengine.data.errors import InputError
from sweepengine.data.outputs import written
from sweepengine.data.texts import SPREADSHEET_STARTS
from sweepengine.engine import interrupts, progress
from sweepengine.query.query import narrowed
from sweepengine.query.reading import each_batch


def write_frames(points: pl.LazyFrame, kind: str, out: Path | None) -> None:
    """Write points batch by batch.

    A file gets its name only when it is complete. In CSV, a text that a spreadsheet would read as a
    formula gets an apostrophe in front.

    Parameters
    ----------
    points : polars.LazyFrame
    kind : str
        "csv", "json" (an array of objects) or "parquet".
    out : Path or None
        None: standard output.

    Raises
    ------
    InputError
        When Polars fails, the format cannot hold a value, or the file cannot be written.
    """
    if out is None:
        progress.stop()
        _write(points, kind, sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    with written(out) as file:
        _write(points, kind, file)
        interrupts.check()


def _write(points: pl.LazyFrame, kind: str, file: IO[bytes]) -> None:
    writers = {"csv": _write_csv, "json": _write_json, "parquet": _write_parquet}
    try:
        writers[kind](points, file)
    except pa.ArrowException as error:
        raise InputError(f"query: {' '.join(str(error).split())}") from None


def _write_parquet(points: pl.LazyFrame, file: IO[bytes]) -> None:
    schema = narrowed(pl.DataFrame(schema=points.collect_schema())).to_arrow().schema

    def write(frame: pl.DataFrame) -> None:
        writer.write_table(narrowed(frame).to_arrow().cast(schema))

    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        each_batch(points, "query", write)


def _write_csv(points: pl.LazyFrame, file: IO[bytes]) -> None:
    empty = pl.DataFrame(schema=points.collect_schema())
    for name, dtype in empty.schema.items():
        if dtype.is_nested() or dtype == pl.Binary:
            raise InputError(f"query: {name}: is {dtype}: expected --format json or parquet")
    texts = [name for name, dtype in empty.schema.items() if dtype == pl.String]
    file.write(empty.rename(_harmless).write_csv().encode())

    def write(frame: pl.DataFrame) -> None:
        shown = frame.with_columns(pl.col(name).map_batches(_harmless_texts) for name in texts)
        for part in shown.iter_slices(TEXT_ROWS):
            file.write(part.write_csv(include_header=False).encode())

    each_batch(points, "query", write)


def _write_json(points: pl.LazyFrame, file: IO[bytes]) -> None:
    pending = b""

    def write(frame: pl.DataFrame) -> None:
        nonlocal pending
        for part in frame.iter_slices(TEXT_ROWS):
            lines = part.write_ndjson().encode().rstrip(b"\n")
            if lines:
                file.write(pending)
                pending = (b",\n " if pending else b"[") + lines.replace(b"\n", b",\n ")

    each_batch(points, "query", write)
    file.write(
        (pending or b"[") + b"]\n"
    )  # with the last rows: a small answer is whole or not there


TEXT_ROWS = 1 << 14
"""Rows that are converted to text at once."""


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(SPREADSHEET_STARTS) else text


def _harmless_texts(texts: pl.Series) -> pl.Series:
    starts = texts.str.slice(0, 1).is_in(SPREADSHEET_STARTS)
    return pl.select(pl.when(starts).then(pl.lit("'") + texts).otherwise(texts)).to_series()
