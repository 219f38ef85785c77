"""The manifest of a dataset: a Parquet file without rows, so that readers take the folder whole.

Its footer has the schema of the points and, under `KEY`, the manifest as JSON. Polars reads every
file of a folder, so a JSON file among them would stop it; others pass over names with a `_`.
Earlier versions wrote the same JSON as `manifest.json`, which is read too.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweepengine.data.errors import InputError, from_validation, shown
from sweepengine.data.files import parsed_json
from sweepengine.data.texts import Name, Text
from sweepengine.engine.compute import COMPILED
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.columns import AXIS_TEXTS, COLUMNS, PHASES, READ_VERSIONS
from sweepengine.grid.grid import Targets
from sweepengine.store.storage import Storage

MANIFEST = "_manifest.parquet"
EARLIER_MANIFEST = "manifest.json"
"""Name of the manifest of datasets of schema version 3."""
MANIFESTS = (MANIFEST, EARLIER_MANIFEST)
KEY = b"manifest"
FILE_NAME = r"^points-\d{15}-\d{15}\.parquet$"


NULLABLE = frozenset(
    [*(name for name, column in INPUTS.items() if column.zero), *(text.name for text in AXIS_TEXTS)]
)
"""Columns that are null where 0 stands for the device's own, or no text describes a point."""


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
    device_data: tuple[dict[str, Any], ...] = ()
    """Content of their files, in the same order; earlier versions name shipped devices alone."""
    drafts: tuple[dict[str, Any], ...] = ()
    """Content of the files of models that draft for it."""
    times: str = ""
    """One of `speeds.TIMES`; empty: silicon where a device has rates."""
    bases: tuple[Text, ...] = ()
    """Sources of the times, and their expected errors."""
    assumed: tuple[Text, ...] = ()
    """What points assume of tokens that drafts have accepted."""
    error_ranges: dict[Text, tuple[float | None, ...]] = {}
    """By `error_class` of its points: factors that make `columns.RANGES` of times."""
    complete: Annotated[bool, Field(strict=True)]
    files: tuple[File, ...] = ()
    """Files in the order of the points; empty while the dataset is not complete."""


@cache
def formulas_hash() -> str:
    """SHA-256 of the code and tables that compute the figures."""
    package = Path(str(resources.files("sweepengine")))
    files = [
        path
        for folder in ("formulas", "engine", "grid", "data")
        for path in sorted((package / folder).rglob("*"))
        if path.suffix in (".py", ".toml") and path.parent.name not in ("models", "devices")
    ]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def arrow_schema(manifest: Manifest) -> pa.Schema:
    """Arrow schema of a file: each field with unit and meaning, the file with its provenance."""
    fields = [
        pa.field(
            column.name,
            _arrow_type(column.dtype),
            nullable=column.name in NULLABLE,
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
        return pa.dictionary(pa.int8() if dtype == "Enum" else pa.int32(), pa.string())
    return pa.bool_() if dtype == "Boolean" else getattr(pa, dtype.lower())()


def manifest_name(names: Sequence[str]) -> str:
    """Name of the manifest in a folder; that of new datasets where there is none."""
    return next((name for name in MANIFESTS if name in names), MANIFEST)


def write_manifest(storage: Storage, manifest: Manifest) -> None:
    """Write the manifest of a dataset."""
    schema = arrow_schema(manifest)
    text = json.dumps(manifest.model_dump(), ensure_ascii=False)
    whole = schema.with_metadata({**(schema.metadata or {}), KEY: text.encode()})
    storage.write(MANIFEST, lambda file: pq.write_table(whole.empty_table(), file))
    storage.settle()


def manifest_data(storage: Storage, name: str) -> Any:
    """Content of a manifest, not validated.

    Raises
    ------
    InputError
        When it is damaged, or no run wrote it.
    OSError
        When it is not there.
    """
    path, content = f"{storage.place}/{name}", storage.read(name)
    if name == MANIFEST:
        try:
            footer = pq.read_metadata(pa.BufferReader(content)).metadata or {}
        except (pa.ArrowException, OSError, ValueError):
            raise InputError(f"{path}: is not a complete Parquet file") from None
        content = footer.get(KEY, b"null")
    try:
        return parsed_json(path, content.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a JSON file: {error}") from None


def read_manifest(storage: Storage) -> Manifest:
    """Read the manifest of a dataset, of this version or an earlier one.

    Raises
    ------
    InputError
        When the folder is not a dataset, or has another schema version.
    """
    name = next((name for name in MANIFESTS if storage.has(name)), "")
    path = f"{storage.place}/{name}"
    try:
        data = manifest_data(storage, name) if name else None
    except OSError:
        name = ""
    if not name:
        raise InputError(
            f"{storage.place}: is not a dataset: expected a directory with {MANIFEST}, written by "
            "`sweepengine run`"
        )
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version not in READ_VERSIONS:
        raise InputError(
            f"{path}: schema_version = {shown(version)}: expected "
            f"{' or '.join(map(str, READ_VERSIONS))}; "
            "write the dataset again with this version of sweepengine"
        )
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        raise from_validation(path, error) from None
