"""Measured runs: tables of users, and what the serving benchmarks of vLLM and SGLang write."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.errors import InputError
from sweepengine.data.files import known, read_text
from sweepengine.data.models import load_model
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.checks import checked_value
from sweepengine.search.engine_arguments import repository
from sweepengine.search.requests import read_frame

MEASURED = {
    "ttft": "to the first token",
    "tpot": "for each further token",
    "vision": "towers",
    "prefill": "decoder over the context",
    "decode": "all decode steps",
    "whole": "of a request",
}
"""Times that a run may have, as `NAME_seconds` or `NAME_ms`; `seconds` is `whole_seconds`."""
TOKENS = "tokens_per_s"
"""Output tokens a second of all devices."""
CLAIMED = "mfu"
"""What a run's own report says; compared, never used."""
MAX_RUNS = 100_000
"""Rows of a table of runs."""
BENCHMARK = ("completed", "total_input_tokens", "total_output_tokens", "output_throughput")
"""Keys of a serving benchmark's JSON."""


class Runs(NamedTuple):
    """Measured runs."""

    source: str
    inputs: pl.DataFrame
    """Input columns as `evaluate` takes them."""
    measured: pl.DataFrame
    """`NAME_seconds` of `MEASURED`, `TOKENS`, `CLAIMED`; null where a run has none."""
    model: str
    """As a benchmark names it; empty: it does not."""
    continuous: bool
    """Whether requests joined a running batch, as in benchmarks of servers."""
    said: tuple[str, ...]
    """What was assumed."""


def read_runs(path: Path) -> Runs:
    """Runs from CSV, Parquet, or the JSON or JSON lines of a serving benchmark.

    Raises
    ------
    InputError
        When the file cannot be read, has no measured column, or a value is not valid.
    """
    if path.suffix in (".json", ".jsonl"):
        return _benchmarks(path)
    frame = read_frame(path)
    if not 0 < frame.height <= MAX_RUNS:
        raise InputError(f"{path}: {frame.height:,} rows: expected 1..{MAX_RUNS:,}")
    return runs_of(frame, str(path))


def runs_of(frame: pl.DataFrame, source: str) -> Runs:
    """Runs of a table: inputs as `evaluate` takes them, `layout` and `precision` as text too.

    Raises
    ------
    InputError
        When it has no measured column, or a value is no time above 0.
    """
    measured: dict[str, pl.Series] = {}
    inputs: dict[str, pl.Series] = {}
    for name in frame.columns:
        bare = "whole_seconds" if name == "seconds" else name
        stem, _, unit = bare.rpartition("_")
        if stem in MEASURED and unit in ("seconds", "ms"):
            found = _positive(frame[name], source)
            measured[f"{stem}_seconds"] = found / 1000 if unit == "ms" else found
        elif name in (TOKENS, CLAIMED):
            measured[name] = _positive(frame[name], source)
        else:
            inputs[name] = frame[name]
    if not set(measured) - {CLAIMED}:
        raise InputError(
            f"{source}: expected a measured column: {', '.join(f'{n}_seconds' for n in MEASURED)}, "
            f"the same in _ms, or {TOKENS}"
        )
    columns = [*(f"{name}_seconds" for name in MEASURED), TOKENS, CLAIMED]
    whole = pl.DataFrame(measured).with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in columns if name not in measured
    )
    continuous = "serving" in inputs and set(inputs["serving"].cast(pl.String)) == {"continuous"}
    table = pl.DataFrame(inputs) if inputs else pl.DataFrame({"batch_size": [1] * frame.height})
    return Runs(source, table, whole.select(columns), "", continuous, ())


def _positive(series: pl.Series, source: str) -> pl.Series:
    if not (series.dtype.is_numeric() or series.dtype == pl.Null):
        raise InputError(f"{source}: {series.name}: expected numbers, found {series.dtype}")
    found = series.cast(pl.Float64)
    wrong = (~((found > 0) & found.is_finite())).fill_null(False).arg_true()
    if len(wrong):
        row = wrong[0]
        raise InputError(f"{source}: {series.name}[{row}] = {series[row]}: expected above 0")
    return found


def _benchmarks(path: Path) -> Runs:
    """Runs of one JSON object, a list of them, or lines."""
    text = read_text(path)
    try:
        if path.suffix == ".jsonl":
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            read = json.loads(text)
            found = read if isinstance(read, list) else [read]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {' '.join(str(error).split())}") from None
    if not 0 < len(found) <= MAX_RUNS:
        raise InputError(f"{path}: {len(found):,} runs: expected 1..{MAX_RUNS:,}")
    rows, said, names = [], set(), set()
    for i, run in enumerate(found):
        place = f"{path}: run {i}"
        row, how, name = _benchmark(place, run)
        rows.append(row)
        said |= how
        names.add(name)
    if len(names) > 1:
        raise InputError(f"{path}: runs of {', '.join(sorted(names))}: expected one model")
    runs = runs_of(pl.DataFrame(rows, infer_schema_length=None), str(path))
    return runs._replace(model=names.pop(), continuous=True, said=tuple(sorted(said)))


def _benchmark(place: str, run: object) -> tuple[dict[str, Any], set[str], str]:
    """A row of one run, what was assumed, and the model that it names."""
    if not isinstance(run, dict):
        raise InputError(f"{place}: expected an object")
    for key in BENCHMARK:
        if key not in run:
            raise InputError(f"{place}: {key}: required key of a serving benchmark is missing")
    completed = _number(place, run, "completed")
    row: dict[str, Any] = {
        "prompt_tokens": max(round(_number(place, run, "total_input_tokens") / completed), 1),
        "decode_steps": max(round(_number(place, run, "total_output_tokens") / completed), 1),
        TOKENS: _number(place, run, "output_throughput"),
        "serving": "continuous",
    }
    for name in ("ttft", "tpot"):
        if (key := f"mean_{name}_ms") in run:
            row[f"{name}_ms"] = _number(place, run, key)
    said = {"requests are taken to be as long as their mean"}
    if run.get("max_concurrency") is not None:
        row["batch_size"] = round(_number(place, run, "max_concurrency"))
    elif run.get("concurrency") is not None:
        row["batch_size"] = max(round(_number(place, run, "concurrency")), 1)
        said.add("batches are the mean concurrency that the benchmark found")
    elif "ttft_ms" in row and "tpot_ms" in row:
        busy = (row["ttft_ms"] + row["tpot_ms"] * (row["decode_steps"] - 1)) / 1000
        row["batch_size"] = max(round(row[TOKENS] / row["decode_steps"] * busy), 1)
        said.add("batches follow from requests a second times their time (Little's law)")
    else:
        raise InputError(f"{place}: expected max_concurrency, or mean_ttft_ms and mean_tpot_ms")
    server = run.get("server_info")
    if isinstance(server, Mapping):
        for key, name in (("tp_size", "tensor_parallel"), ("pp_size", "pipeline_parallel")):
            if isinstance(server.get(key), int):
                row[name] = server[key]
    for name in (name for name in INPUTS if name in row):
        checked_value(INPUTS[name], row[name], f"{place}: {name} = {row[name]}")
    path = server.get("model_path") if isinstance(server, Mapping) else None
    named = run.get("model_id") or path or ""
    return row, said, str(named)


def _number(place: str, run: Mapping[str, Any], key: str) -> float:
    value = run[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        raise InputError(f"{place}: {key} = {value!r}: expected a number above 0")
    return value


def shipped_model(named: str) -> str | None:
    """The shipped model that engines call so; None: there is none."""
    found = (name for name in known("models") if repository(load_model(name)) == named)
    return next(found, None)
