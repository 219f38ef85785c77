"""Query results as CSV, JSON or Parquet, to a file or the standard output, in bounded memory."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import polars as pl
import pyarrow.parquet as pq

from sweepengine.answers.query import narrowed

BATCH_ROWS = 1 << 18


def write_frames(found: pl.LazyFrame, kind: str, out: Path | None) -> None:
    """Write a result batch by batch: `kind` is "csv", "json" (an array of objects) or "parquet".

    A file appears under its name only when it is complete.
    """
    draft = None if out is None else out.with_name(out.name + ".unfinished")
    with ExitStack() as stack:
        file = sys.stdout.buffer if draft is None else stack.enter_context(draft.open("wb"))
        try:
            _write(found, kind, file)
            file.flush()
        except BaseException:
            if draft is not None:
                draft.unlink(missing_ok=True)
            raise
    if draft is not None and out is not None:
        draft.replace(out)


def _write(found: pl.LazyFrame, kind: str, file: IO[bytes]) -> None:
    batches = found.collect_batches(chunk_size=BATCH_ROWS)
    empty = pl.DataFrame(schema=found.collect_schema())
    if kind == "csv":
        empty.write_csv(file)
        for batch in batches:
            batch.write_csv(file, include_header=False)
    elif kind == "json":
        separator = b"["
        for batch in batches:
            for line in batch.write_ndjson().splitlines():
                file.write(separator + line.encode())
                separator = b",\n "
        file.write(b"[]\n" if separator == b"[" else b"]\n")
    else:
        schema = narrowed(empty).to_arrow().schema
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_table(narrowed(batch).to_arrow().cast(schema))
