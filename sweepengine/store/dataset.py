"""Datasets: files of points, written and read with their checksums."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sweepengine.data.errors import InputError
from sweepengine.engine.threads import cores, in_order
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axis_texts import Texts
from sweepengine.store.manifest import File, Manifest, arrow_schema, manifest_name, read_manifest
from sweepengine.store.storage import LocalFolder, Storage, open_storage
from sweepengine.store.summed import Summed

BATCH_ROWS = 1 << 16
"""Rows that are encoded at once: codes of texts take 10 ns each, 21 ns with pyarrow's 1,024."""
Columns = Mapping[str, NDArray[Any] | Texts]
"""Columns of N points by name."""
CHECKSUM = b"crc32"
"""Key in a file's footer of the CRC-32 of all bytes before the footer."""


def file_name(start: int, stop: int) -> str:
    """Name of the file that holds points `start` to `stop`."""
    return f"points-{start:015d}-{stop:015d}.parquet"


def write_points(
    storage: Storage,
    name: str,
    columns: Columns,
    schema: pa.Schema,
    choices: Mapping[str, tuple[str, ...]],
) -> tuple[int, int]:
    """Write one file of points, under its final name only when it is complete.

    Parameters
    ----------
    storage : Storage
    name : str
        Final name of the file.
    columns : mapping of str to array or Texts, shape (N,)
        Inputs as stored where 0 stands for another value.
    schema : pyarrow.Schema
        Of all columns (`arrow_schema`).
    choices : mapping of str to tuple of str
        Names that the codes of an input stand for.

    Returns
    -------
    tuple of int
        Bytes of the file, and their CRC-32. The footer holds the CRC-32 of all bytes before it.

    Notes
    -----
    Encodings were measured on the capacity grid (ns and bytes a value). Texts, and inputs that
    vary, use a dictionary; inputs have statistics, which readers filter by. What repeats is plain:
    compression brings them to 0.01 bytes in 4 ns (dictionary 7 ns, delta 7 ns). Other integers use
    delta encoding (8 to 20 ns, 0.02 to 0.85 bytes; dictionary 33 to 61 ns, 1.3 to 5.4 bytes),
    other floats a byte-stream split.
    """
    table = to_arrow(columns, schema, choices)
    inputs = [name for name in columns if name in INPUTS]
    named = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    encodings, coded = {}, set(named)
    for column, values in columns.items():
        if isinstance(values, Texts) or values.strides == (0,):
            continue
        if column in INPUTS:
            coded.add(column)
        elif not _repeats(values):
            encodings[column] = _ENCODINGS[values.dtype.kind]

    def fill(file: IO[bytes]) -> None:
        summed = Summed(file)
        with pq.ParquetWriter(
            summed,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in columns if name in coded],
            write_statistics=inputs,
            column_encoding=encodings or None,
            write_batch_size=BATCH_ROWS,
        ) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({CHECKSUM: str(summed.crc32)})

    return storage.write(name, fill)


def damage(content: bytes, rows: int, manifest: Manifest) -> str:
    """Why a file of points is not the expected one; empty where it is.

    Parameters
    ----------
    content : bytes
        The whole file.
    rows : int
        Expected rows.
    manifest : Manifest
        Of the run; the file must have its provenance.
    """
    try:
        metadata = pq.ParquetFile(pa.BufferReader(content)).metadata
        footer = metadata.metadata or {}
    except (pa.ArrowException, OSError, ValueError):
        return "is not a complete Parquet file"
    if metadata.num_rows != rows:
        return f"has {metadata.num_rows:,} rows: expected {rows:,}"
    for key, value in (arrow_schema(manifest).metadata or {}).items():
        if footer.get(key) != value:
            return f"{key.decode()} differs"
    size = int.from_bytes(content[-8:-4], "little") + 8
    checksum = str(zlib.crc32(content[:-size])).encode()
    return "" if footer.get(CHECKSUM) == checksum else "its checksum differs"


def _repeats(values: NDArray[Any]) -> bool:
    """Whether neighbours mostly hold the same value, judged by the first 4,096 rows."""
    if values.strides == (0,):
        return True
    part = values[: 1 << 12]
    return int(np.count_nonzero(part[1:] != part[:-1])) * 64 <= len(part)


def to_arrow(
    columns: Columns, schema: pa.Schema, choices: Mapping[str, tuple[str, ...]]
) -> pa.Table:
    """Arrow table of columns of shape (N,); 64-bit numbers are not copied.

    Parameters are those of `write_points`.
    """
    arrays = []
    for field in schema:
        values = columns[field.name]
        if isinstance(values, Texts):
            names, values = values.names, values.codes
            arrays.append(_named(_array(values, np.int32, values < 0), names))
        elif pa.types.is_dictionary(field.type):
            arrays.append(_named(_array(values, np.int8), choices[field.name]))
        else:
            zero = field.name in INPUTS and INPUTS[field.name].zero
            dtype = field.type.to_pandas_dtype()
            arrays.append(_array(values, dtype, values == 0 if zero else None))
    return pa.Table.from_arrays(arrays, schema=schema)


def _named(codes: pa.Array, names: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string()))


def _array(values: NDArray[Any], dtype: Any, absent: NDArray[np.bool_] | None = None) -> pa.Array:
    """Arrow array of values, null where they are absent."""
    if values.strides == (0,) and len(values):
        if absent is not None and absent[0]:
            return pa.nulls(len(values), pa.from_numpy_dtype(dtype))
        values = np.full(len(values), values[0], dtype)
    mask = absent if absent is not None and absent.any() else None
    return pa.array(values.astype(dtype, copy=False), mask=mask)


_ENCODINGS = {"i": "DELTA_BINARY_PACKED", "f": "BYTE_STREAM_SPLIT", "b": "PLAIN"}
"""Encodings of outputs that vary, by the kind of their type."""


def scan_dataset(place: str | Path) -> pl.LazyFrame:
    """Lazy frame over the files of a complete dataset, by path or URI.

    Raises
    ------
    InputError
        When it is not a dataset, its run has not ended, or a file has changed.
    """
    storage = open_storage(place)
    manifest = read_manifest(storage)
    check_files(storage, manifest)
    return scan_files(storage, manifest.files)


def check_files(storage: Storage, manifest: Manifest) -> None:
    """Check that the files of a dataset are those that its run wrote.

    Each file must have the size in the manifest. On a local disk the checksum is compared too
    (1 GB/s); a remote file would have to be fetched whole.

    Raises
    ------
    InputError
        When the run has not ended, or a file is missing or has changed.
    """
    again = "run the same command again to rewrite it"
    path = f"{storage.place}/{manifest_name(storage.names())}"
    if not manifest.complete:
        raise InputError(
            f"{storage.place}: is not complete: run the same command again to finish it"
        )
    if sum(file.rows for file in manifest.files) != manifest.points:
        raise InputError(f"{path}: files: expected {manifest.points:,} rows in all")
    sizes = storage.sizes()
    for file in manifest.files:
        if file.name not in sizes:
            raise InputError(f"{storage.place}/{file.name}: is missing: {again}")
        if sizes[file.name] != file.bytes:
            raise InputError(
                f"{storage.place}/{file.name}: {sizes[file.name]:,} bytes: "
                f"expected {file.bytes:,}; {again}"
            )
    if isinstance(storage, LocalFolder):
        sums = in_order(
            lambda file: zlib.crc32(storage.read(file.name)), manifest.files, cores(), wait=True
        )
        for file, crc32 in zip(manifest.files, sums, strict=True):
            if crc32 != file.crc32:
                raise InputError(f"{storage.place}/{file.name}: its checksum differs: {again}")


def scan_files(storage: Storage, files: Sequence[File], wide: bool = False) -> pl.LazyFrame:
    """Lazy frame over files of a dataset that `check_files` has checked.

    With `wide`, integers have 128 bits, so that arithmetic in conditions cannot overflow.
    """
    names = [file.name for file in files]
    frame = storage.scan(names)
    if not wide:
        return frame
    schema = frame.collect_schema()
    wider = {name: pl.Int128() for name, kind in schema.items() if kind.is_integer()}
    return storage.scan(names, pl.Schema({**schema, **wider}))
