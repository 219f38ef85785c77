"""The dataset: Arrow schema with units and meanings, files of points, manifest."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from sweepengine.data.errors import InputError, from_validation
from sweepengine.engine.compute import COMPILED
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.columns import COLUMNS, SCHEMA_VERSION
from sweepengine.store.storage import Storage, open_storage

MANIFEST = "manifest.json"
POINTS = "points-*.parquet"


class Manifest(BaseModel):
    """What a dataset is; what a run compares before it resumes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int
    engine_version: str
    grid_hash: str
    grid_name: str
    description: str
    model: str
    model_data: dict[str, Any]
    """What the model's files hold, so that a dataset answers wherever it is."""
    engine: str = COMPILED
    """Which computed it; one dataset never mixes the floats of two."""
    columns: tuple[str, ...]
    value_bytes: int
    """Of an activation, and of weights and cached values that no format says otherwise."""
    points: int
    rows_per_file: int
    targets: dict[str, float | None]
    report: tuple[str, ...]
    devices: tuple[str, ...] = ()
    """That its points are timed on."""
    times: str = ""
    """What times are of; empty: silicon's where a device has rates."""
    bases: tuple[str, ...] = ()
    """What its times rest on, and how far off they are expected to be."""
    complete: bool


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
            "engine_version": manifest.engine_version,
            "schema_version": str(manifest.schema_version),
            **({"times": "; ".join(manifest.bases)} if manifest.bases else {}),
        },
    )


def _arrow_type(dtype: str) -> pa.DataType:
    """Type of a column; Arrow calls it as we do, in small letters."""
    if dtype == "Enum":
        return pa.dictionary(pa.int8(), pa.string())
    return getattr(pa, dtype.lower())()


def file_name(start: int, stop: int) -> str:
    """Name of the file that holds points `start` to `stop`."""
    return f"points-{start:015d}-{stop:015d}.parquet"


def write_points(
    storage: Storage,
    name: str,
    columns: Mapping[str, NDArray[Any]],
    schema: pa.Schema,
    devices: tuple[str, ...] = (),
) -> None:
    """Write one file of points, under its final name only when it is complete.

    Chosen by measurement on the capacity grid, nanoseconds and bytes a value. Inputs are
    dictionary-encoded with statistics, which readers filter by. Outputs that repeat within a file
    are left plain: compression alone brings them to 0.01 bytes in 4 ns (dictionary 7, delta 7).
    Other integers are delta-encoded (8 to 20 ns, 0.02 to 0.85 bytes; dictionary 33 to 61 ns, 1.3
    to 5.4 bytes), other floats split by bytes.
    """
    encodings = {
        name: "DELTA_BINARY_PACKED" if values.dtype.kind == "i" else "BYTE_STREAM_SPLIT"
        for name, values in columns.items()
        if name not in INPUTS and not _repeats(values)
    }
    table = to_arrow(columns, schema, devices)
    inputs = [name for name in columns if name in INPUTS]
    storage.write(
        name,
        lambda file: pq.write_table(
            table,
            file,
            compression="zstd",
            compression_level=1,
            use_dictionary=inputs,
            write_statistics=inputs,
            column_encoding=encodings or None,
        ),
    )


def _repeats(values: NDArray[Any]) -> bool:
    """Whether neighbours mostly hold the same value, judged by the first of a column."""
    if values.strides == (0,):
        return True
    part = values[: 1 << 12]
    return int(np.count_nonzero(part[1:] != part[:-1])) * 64 <= len(part)


def to_arrow(
    columns: Mapping[str, NDArray[Any]], schema: pa.Schema, devices: tuple[str, ...] = ()
) -> pa.Table:
    """Arrow table of arrays of all columns; 64-bit numbers are not copied."""
    arrays = []
    for field in schema:
        values = columns[field.name]
        wanted = np.int8 if pa.types.is_dictionary(field.type) else field.type.to_pandas_dtype()
        if values.strides == (0,) and len(values):
            codes = pa.array(np.full(len(values), values[0], wanted))
        else:
            codes = pa.array(values.astype(wanted, copy=False))
        if pa.types.is_dictionary(field.type):
            names = devices if field.name == "device" else INPUTS[field.name].choices
            arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array(names)))
        else:
            arrays.append(codes)
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
        When the folder is no dataset, or one of another schema version.
    """
    path = f"{storage.place}/{MANIFEST}"
    try:
        data: Any = json.loads(storage.read(MANIFEST).decode())
    except OSError:
        raise InputError(
            f"{storage.place}: is no dataset: expected a directory with {MANIFEST}, "
            "as `run` writes it"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file: {error}") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: schema_version = {version}: expected {SCHEMA_VERSION}; "
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
        When it is no dataset or one whose run has not ended.
    """
    storage = open_storage(place)
    return scan_files(storage, read_manifest(storage))


def scan_files(storage: Storage, manifest: Manifest) -> pl.LazyFrame:
    """Lazy frame over the files of a dataset whose manifest has been read.

    Raises
    ------
    InputError
        When its run has not ended.
    """
    if not manifest.complete:
        raise InputError(
            f"{storage.place}: is not complete: run the same command again to finish it"
        )
    return storage.scan(POINTS)
