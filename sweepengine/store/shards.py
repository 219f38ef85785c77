"""Write one file of a dataset, on a thread or in a task of a cluster."""

import zlib
from typing import NamedTuple

from sweepengine.data.models import Model, choices_of
from sweepengine.engine.compute import compute_arrays
from sweepengine.engine.error_columns import texts_of
from sweepengine.engine.typed import TEXT_NAMES
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axis_texts import texts_of_axes
from sweepengine.grid.columns import TYPES
from sweepengine.grid.grid import Chunk
from sweepengine.grid.points import stored_names
from sweepengine.store.dataset import Columns, damage, file_name, write_points
from sweepengine.store.manifest import File, Manifest, arrow_schema
from sweepengine.store.storage import Storage


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


def columns_of(model: Model, chunk: Chunk, backend: str) -> Columns:
    """All columns of a chunk that datasets store."""
    names = stored_names(model)
    numbers = tuple(name for name in names if name not in TEXT_NAMES)
    arrays = compute_arrays(model, chunk, numbers, backend)
    classes = {name: texts_of(arrays[name]) for name in numbers if TYPES[name] == "String"}
    rows, written = chunk.stop - chunk.start, [name for name in names if name in TEXT_NAMES]
    return {**arrays, **classes, **texts_of_axes(model, chunk.axes, rows, written)}


def names_of(model: Model) -> dict[str, tuple[str, ...]]:
    """Names that the codes of its inputs stand for."""
    return {name: choices_of(model, name) for name in model.inputs if INPUTS[name].choices}


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
    columns = columns_of(shards.model, chunk, shards.manifest.engine)
    schema, choices = arrow_schema(shards.manifest), names_of(shards.model)
    size, crc32 = write_points(shards.storage, name, columns, schema, choices)
    return Shard(File(name=name, rows=rows, bytes=size, crc32=crc32), rows)
