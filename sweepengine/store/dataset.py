"""Datasets: Arrow schema with units and meanings, files of points, and the manifest."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweepengine.data.errors import InputError, from_validation, shown
from sweepengine.data.files import parsed_json
from sweepengine.data.texts import Name, Text
from sweepengine.engine.compute import COMPILED
from sweepengine.engine.error_columns import texts_of
from sweepengine.engine.threads import cores, in_order
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.columns import COLUMNS, PHASES, SCHEMA_VERSION, TYPES
from sweepengine.grid.grid import Targets
from sweepengine.store.storage import LocalFolder, Storage, Summed, open_storage

MANIFEST = "manifest.json"
FILE_NAME = r"^points-\d{15}-\d{15}\.parquet$"
CHECKSUM = b"crc32"
"""Key in a file's footer of the CRC-32 of all bytes before the footer."""


class File(BaseModel):
    """A complete file of points."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Annotated[str, Field(pattern=FILE_NAME)]
    rows: Annotated[int, Field(ge=1, strict=True)]
    bytes: Annotated[int, Field(ge=1, strict=True)]
    crc32: Annotated[int, Field(ge=0, lt=2**32, strict=True)]
    """CRC-32 of the whole file."""


class Manifest(BaseModel):
    """The manifest of a dataset; a run compares it before it resumes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int
    engine_version: Name
    formulas_hash: Name
    """SHA-256 of the code and tables that compute the figures (`formulas_hash`)."""
    grid_hash: Name
    grid_name: Name
    description: Text
    model: Name
    model_data: dict[str, Any]
    """Content of the model's files, so that the dataset can be read without them."""
    engine: Name = COMPILED
    """Backend that computed it, "plain" or "compiled"; a dataset has floats of one backend."""
    columns: tuple[str, ...]
    value_bytes: Annotated[int, Field(ge=1, le=8, strict=True)]
    """Bytes of an activation, and of weights and KV cache without a format of their own."""
    points: Annotated[int, Field(ge=1, strict=True)]
    rows_per_file: Annotated[int, Field(ge=1, strict=True)]
    targets: Targets
    report: tuple[Literal[PHASES], ...]  # type: ignore[valid-type]
    devices: tuple[Name, ...] = ()
    """Devices of the times."""
    device_data: dict[str, dict[str, Any]] = {}
    """By name: content of the files of those that are not shipped."""
    times: str = ""
    """One of `speeds.TIMES`; empty: silicon where a device has rates."""
    bases: tuple[Text, ...] = ()
    """Sources of the times, and their expected errors."""
    error_ranges: dict[Text, tuple[float | None, ...]] = {}
    """By `error_class` of its points: factors that make `columns.RANGES` of times."""
    complete: Annotated[bool, Field(strict=True)]
    files: tuple[File, ...] = ()
    """Files in the order of the points; empty while the dataset is not complete."""


def arrow_schema(manifest: Manifest) -> pa.Schema:
    """Arrow schema of a file: each field with unit and meaning, the file with its provenance."""
    fields = [
        pa.field(
            column.name,
            _arrow_type(column.dtype),
            nullable=False,
            metadata={"unit": column.unit, "meaning": column.meaning},
        )
        for column in COLUMNS
        if column.name in manifest.columns
    ]
    return pa.schema(
        fields,
        metadata={
            "model": manifest.model,
            "grid_name": manifest.grid_name,
            "grid_hash": manifest.grid_hash,
            "formulas_hash": manifest.formulas_hash,
            "engine_version": manifest.engine_version,
            "schema_version": str(manifest.schema_version),
            **({"times": "; ".join(manifest.bases)} if manifest.bases else {}),
        },
    )


def _arrow_type(dtype: str) -> pa.DataType:
    """Arrow type of a column, which has the same name in lower case."""
    if dtype in ("Enum", "String"):
        return pa.dictionary(pa.int8() if dtype == "Enum" else pa.int16(), pa.string())
    return pa.bool_() if dtype == "Boolean" else getattr(pa, dtype.lower())()


def file_name(start: int, stop: int) -> str:
    """Name of the file that holds points `start` to `stop`."""
    return f"points-{start:015d}-{stop:015d}.parquet"


def write_points(
    storage: Storage,
    name: str,
    columns: Mapping[str, NDArray[Any]],
    schema: pa.Schema,
    devices: tuple[str, ...] = (),
) -> tuple[int, int]:
    """Write one file of points, under its final name only when it is complete.

    Parameters
    ----------
    storage : Storage
    name : str
        Final name of the file.
    columns : mapping of str to array, shape (N,)
    schema : pyarrow.Schema
        Of all columns (`arrow_schema`).
    devices : tuple of str
        Names that the codes of the column `device` stand for.

    Returns
    -------
    tuple of int
        Bytes of the file, and their CRC-32. The footer holds the CRC-32 of all bytes before it.

    Notes
    -----
    Encodings were measured on the capacity grid (ns and bytes per value). Inputs use a dictionary
    with statistics, which readers filter by. Outputs that repeat within a file stay plain:
    compression brings them to 0.01 bytes in 4 ns (dictionary 7 ns, delta 7 ns). Other integers use
    delta encoding (8 to 20 ns, 0.02 to 0.85 bytes; dictionary 33 to 61 ns, 1.3 to 5.4 bytes),
    other floats a byte-stream split.
    """
    listed = [name for name in columns if name in INPUTS or TYPES[name] == "String"]
    encodings = {
        name: "DELTA_BINARY_PACKED" if values.dtype.kind == "i" else "BYTE_STREAM_SPLIT"
        for name, values in columns.items()
        if name not in listed and not _repeats(values)
    }
    table = to_arrow(columns, schema, devices)
    inputs = [name for name in columns if name in INPUTS]

    def fill(file: IO[bytes]) -> None:
        summed = Summed(file)
        with pq.ParquetWriter(
            summed,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=listed,
            write_statistics=inputs,
            column_encoding=encodings or None,
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
    columns: Mapping[str, NDArray[Any]], schema: pa.Schema, devices: tuple[str, ...] = ()
) -> pa.Table:
    """Arrow table of columns of shape (N,); 64-bit numbers are not copied.

    Parameters are those of `write_points`.
    """
    arrays = []
    for field in schema:
        values, kind, names = columns[field.name], field.type, devices
        coded = pa.types.is_dictionary(kind)
        if TYPES[field.name] == "String":
            names, values = texts_of(values)
        elif coded and field.name != "device":
            names = INPUTS[field.name].choices
        dtype = (kind.index_type if coded else kind).to_pandas_dtype()
        array = pa.array(values.astype(dtype, copy=values.strides == (0,)))
        arrays.append(pa.DictionaryArray.from_arrays(array, pa.array(names)) if coded else array)
    return pa.Table.from_arrays(arrays, schema=schema)


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Write the manifest of a dataset."""
    text = json.dumps(manifest.model_dump(), indent=2, ensure_ascii=False) + "\n"
    storage.write(MANIFEST, lambda file: file.write(text.encode()))
    storage.settle()


def read_manifest(storage: Storage) -> Manifest:
    """Read the manifest of a dataset.

    Raises
    ------
    InputError
        When the folder is not a dataset, or has another schema version.
    """
    path = f"{storage.place}/{MANIFEST}"
    try:
        text = storage.read(MANIFEST).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a JSON file: {error}") from None
    except OSError:
        raise InputError(
            f"{storage.place}: is not a dataset: expected a directory with {MANIFEST}, written by "
            "`sweepengine run`"
        ) from None
    data = parsed_json(path, text)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema_version = {shown(version)}: expected {SCHEMA_VERSION}; "
            "write the dataset again with this version of sweepengine"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise from_validation(path, error) from None


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
    if not manifest.complete:
        raise InputError(
            f"{storage.place}: is not complete: run the same command again to finish it"
        )
    if sum(file.rows for file in manifest.files) != manifest.points:
        raise InputError(
            f"{storage.place}/{MANIFEST}: files: expected {manifest.points:,} rows in all"
        )
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
