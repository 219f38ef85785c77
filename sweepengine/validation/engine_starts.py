"""Compares the memory of a device with public logs of serving engines' starts.

A row of data/measured/engine_starts.csv is one start. A hash of its address assigns it to
the half to which constants of the memory model are fitted, or to the half that judges them; rows of
one address stand in one half.
"""

import hashlib
from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs.engine_starts import Start, logged_memory, start_of
from sweepengine.data.devices import STORED_BYTES, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import Model, load_model
from sweepengine.data.serving_engines.memory import NEWEST, version_names, version_of
from sweepengine.formulas.memory import GIB, EngineSettings
from sweepengine.formulas.points import INPUTS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.checks import checked_value
from sweepengine.grid.points import checked_point
from sweepengine.grid.shorthand import read_layout
from sweepengine.validation.measured_operators import silicon_folder
from sweepengine.validation.shipped_rows import shipped_rows

FILE = "engine_starts.csv"
LARGE_POOL = 8.0
"""GiB of a pool from which on its tokens are judged apart."""
NO_DEVICE = "h100-sxm"
"""Device of rows that name none; what is compared of them depends on none."""
DEFAULT_LENGTH = 4096
"""Tokens of the longest request where a log does not say: what vLLM logs before 0.21 ignores it."""
FIGURES = ("weights", "KV bytes", "activations", "graphs", "pool", "tokens")
"""What is compared: GiB, of the KV cache bytes a token, and tokens of the pool."""
FITTING, JUDGING = HALVES = ("fitting", "judging")


class Compared(NamedTuple):
    """One figure of a row with ours."""

    source: str
    engine: str
    version: str
    """Major and minor part."""
    model: str
    kind: str
    """Of the model: dense, MoE, windows, latent, hybrid or vision."""
    tensor: int
    """Devices of the tensor group."""
    half: str
    large: bool
    """Whether the pool has `LARGE_POOL` GiB or more."""
    figure: str
    """One of `FIGURES`."""
    measured: float
    ours: float


class Logged(NamedTuple):
    """A row whose pool can be predicted."""

    engine: str
    start: Start
    half: str
    tokens: int
    """Of the pool, measured."""
    graphs: float | None
    """Measured, GiB."""


class Rows(NamedTuple):
    """Rows with ours, and reasons why figures of other rows were not compared."""

    compared: list[Compared]
    pools: list[Logged]
    reasons: Counter[str]


def read_starts() -> Rows:
    """Compare all rows that can be compared."""
    rows = Rows([], [], Counter())
    for row in shipped_rows(FILE):
        try:
            _compare(row, rows)
        except InputError as error:
            rows.reasons[str(error)] += 1
    return rows


@lru_cache
def _model(name: str) -> Model:
    """A shipped model, or a config of the extra `silicon`."""
    if name in known("models"):
        return load_model(name)
    return load_model(silicon_folder("model_configs") / f"{name}_config.json")


def kind_of(model: Model) -> str:
    """Kind of a model, by what decides its memory most."""
    arch = model.architecture
    kinds = {
        "hybrid": any(group.recurrent.heads for group in arch.groups),
        "vision": model.has_vision,
        "latent": any(group.attention.latent for group in arch.groups),
        "windows": any(group.attention.window for group in arch.groups),
        "MoE": bool(arch.routings),
    }
    return next((kind for kind, holds in kinds.items() if holds), "dense")


def _start(row: dict[str, Any], version: str) -> Start:
    """What decides the memory of a row under a version of its serving engine."""
    model = _model(row["model"])
    given: dict[str, object] = {"layout": row["layout"], "precision": row["precision"]}
    if model.has_vision:
        given["images"] = 0
    stored = {
        name: checked_value(INPUTS[name], row[name], f"{row['source']}: {name}")
        for name in EngineSettings._fields
        if row[name] is not None
    }
    stored["framework"] = FRAMEWORKS.index(row["engine"])
    stored["framework_version"] = version_names().index(version)
    if row["device_gib"] is not None:
        stored["device_memory_gb"] = round(row["device_gib"] * GIB / STORED_BYTES)
    return start_of(
        model,
        load_device(row["device"] or NO_DEVICE),
        checked_point(model, given, row["source"]),
        stored,
        row["request_tokens"] or DEFAULT_LENGTH,
    )


def _compare(row: dict[str, Any], rows: Rows) -> None:
    """Add the figures of a row to those compared, and its pool to those that can be fitted."""
    engine = row["engine"]
    try:
        version, modelled = version_of(engine, row["version"]).version, True
    except InputError:
        version, modelled = NEWEST, False
        rows.reasons[f"{engine}: pools and graphs of versions older than those modelled"] += 1
    start, tokens, size = _start(row, version), row["pool_tokens"], row["pool_gib"]
    memory = logged_memory(start)
    measured: dict[str, Any] = {"weights": row["weights_gib"]}
    ours = {"weights": memory.weight_bytes / GIB}
    if modelled:
        measured |= {"activations": row["activations_gib"], "graphs": row["graphs_gib"]}
        ours |= {"activations": memory.activation_bytes / GIB, "graphs": memory.graph_bytes / GIB}
        if size and tokens:
            whole = round(size * GIB)
            measured["KV bytes"], ours["KV bytes"] = whole / tokens, whole / start.tokens_of(whole)
    half = HALVES[hashlib.sha256(row["source"].encode()).digest()[1] % 2]
    if modelled and row["device"]:
        measured |= {"pool": size, "tokens": tokens}
        ours |= {"pool": memory.pool_bytes / GIB, "tokens": memory.pool_tokens}
        if tokens:
            rows.pools.append(Logged(engine, start, half, tokens, row["graphs_gib"]))
    pool = size or (tokens or 0) * start.token_bytes / GIB
    rows.compared.extend(
        Compared(
            source=row["source"],
            engine=engine,
            version=".".join(row["version"].split(".")[:2]),
            model=row["model"],
            kind=kind_of(_model(row["model"])),
            tensor=read_layout(row["layout"]).tensor,
            half=half,
            large=pool >= LARGE_POOL,
            figure=figure,
            measured=measured[figure],
            ours=ours[figure],
        )
        for figure in FIGURES
        if measured.get(figure) is not None
    )


def as_frame(rows: Rows) -> pl.DataFrame:
    """A row for each compared figure, with its error in %, its size and its sign."""
    frame = pl.DataFrame(rows.compared, infer_schema_length=None)
    error = 100 * (pl.col("ours") / pl.col("measured") - 1)
    return frame.with_columns(error.abs().alias("error"), error.alias("signed"))


def errors_by(frame: pl.DataFrame, *names: str) -> list[dict[str, Any]]:
    """Number of rows, median and 90th percentile of errors, median of signed errors, %.

    Parameters
    ----------
    frame : polars.DataFrame
        Of `as_frame`.
    names : str
        Columns to group by, beside the figure.
    """
    measures = (
        pl.len().alias("rows"),
        pl.median("error").alias("median"),
        pl.quantile("error", 0.9, interpolation="linear").alias("p90"),
        pl.median("signed").alias("signed"),
    )
    order = pl.Enum(FIGURES)
    grouped = frame.with_columns(pl.col("figure").cast(order)).group_by("figure", *names)
    return grouped.agg(measures).sort("figure", *names).to_dicts()
