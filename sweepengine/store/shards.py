"""One file of a dataset: what it takes to write it, on a thread or in a task of a cluster."""

import zlib
from typing import NamedTuple

from sweepengine.data.models import Model
from sweepengine.engine.compute import compute_arrays
from sweepengine.grid.grid import Chunk
from sweepengine.store.dataset import File, Manifest, arrow_schema, damage, file_name, write_points
from sweepengine.store.storage import Storage


class Shards(NamedTuple):
    """What it takes to write any file of one dataset; it can be sent to another process."""

    storage: Storage
    model: Model
    manifest: Manifest
    workers: int
    """How many files are written at once."""
    present: frozenset[str] = frozenset()
    """Names of files that an earlier run left."""
    finished: frozenset[File] = frozenset()
    """What a run that came to its end says of them; empty: none did."""


class Shard(NamedTuple):
    """A file of a dataset that is there now."""

    file: File
    written: int
    """Rows written now; 0 where the file was there and whole."""


def shard_name(chunk: Chunk) -> str:
    """Name of the file that holds a chunk."""
    return file_name(chunk.start, chunk.stop)


def write_shard(shards: Shards, chunk: Chunk) -> Shard:
    """Compute a chunk and write its file, unless it is there already and whole."""
    name, rows = shard_name(chunk), chunk.stop - chunk.start
    if name in shards.present:
        content = shards.storage.read(name)
        found = File(name=name, rows=rows, bytes=max(len(content), 1), crc32=zlib.crc32(content))
        if found in shards.finished or not (
            shards.finished or damage(content, rows, shards.manifest)
        ):
            return Shard(found, 0)
    columns = compute_arrays(shards.model, chunk, engine=shards.manifest.engine)
    schema = arrow_schema(shards.manifest)
    devices = shards.manifest.devices
    size, crc32 = write_points(shards.storage, name, columns, schema, devices)
    return Shard(File(name=name, rows=rows, bytes=size, crc32=crc32), rows)
