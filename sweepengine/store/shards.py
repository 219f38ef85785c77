"""Write one file of a dataset, on a thread or in a task of a cluster."""

import zlib
from typing import NamedTuple

from sweepengine.data.models import Model, choices_of
from sweepengine.engine.compute import compute_arrays
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.grid import Chunk
from sweepengine.store.dataset import File, Manifest, arrow_schema, damage, file_name, write_points
from sweepengine.store.storage import Storage

NAMED = tuple(name for name, column in INPUTS.items() if column.choices)
"""Inputs that are stored as codes of names."""


class Shards(NamedTuple):
    """What writing a file of a dataset needs; it can be sent to another process."""

    storage: Storage
    model: Model
    manifest: Manifest
    workers: int
    """Files written at the same time."""
    present: frozenset[str] = frozenset()
    """Names of files of an earlier run."""
    finished: frozenset[File] = frozenset()
    """Files in the manifest of a complete run; empty where no run completed."""


class Shard(NamedTuple):
    """A complete file of a dataset."""

    file: File
    written: int
    """Rows written by this run; 0 where the file was complete before."""


def write_shard(shards: Shards, chunk: Chunk) -> Shard:
    """Compute a chunk and write its file, unless the file is complete already."""
    name, rows = file_name(chunk.start, chunk.stop), chunk.stop - chunk.start
    if name in shards.present:
        content = shards.storage.read(name)
        file = File(name=name, rows=rows, bytes=max(len(content), 1), crc32=zlib.crc32(content))
        if file in shards.finished or not (
            shards.finished or damage(content, rows, shards.manifest)
        ):
            return Shard(file, 0)
    stored = shards.manifest.columns
    columns = compute_arrays(shards.model, chunk, stored, shards.manifest.engine)
    schema = arrow_schema(shards.manifest)
    names = {of: choices_of(shards.model, of) for of in NAMED}
    size, crc32 = write_points(shards.storage, name, columns, schema, names)
    return Shard(File(name=name, rows=rows, bytes=size, crc32=crc32), rows)
