"""Read measured runs: tables, and the JSON of the serving benchmarks of vLLM and SGLang."""

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
from sweepengine.search.checkpoints import repository
from sweepengine.search.requests import read_frame

MEASURED = {
    "ttft": "time to the first token",
    "tpot": "time per further token",
    "vision": "vision towers",
    "prefill": "decoder over the context",
    "decode": "all decode steps",
    "whole": "whole request",
}
"""Times of a run, in columns `NAME_seconds` or `NAME_ms`; `seconds` stands for `whole_seconds`."""
TOKENS = "tokens_per_s"
"""Column of output tokens/s, all devices."""
CLAIMED = "mfu"
"""Column of the MFU that a run reports; it is compared, never used."""
MAX_RUNS = 100_000
"""Most rows of a table of runs."""
BENCHMARK_KEYS = ("completed", "total_input_tokens", "total_output_tokens", "output_throughput")
"""Required keys of a serving benchmark's JSON."""


class Runs(NamedTuple):
    """Measured runs."""

    source: str
    inputs: pl.DataFrame
    """Input columns as `evaluate` takes them."""
    measured: pl.DataFrame
    """`NAME_seconds` of `MEASURED`, `TOKENS`, `CLAIMED`; null where a run has no value."""
    model: str
    """Name in the benchmark's JSON; empty where it has none."""
    continuous: bool
    """Whether batching was continuous, as in serving benchmarks."""
    assumed: tuple[str, ...]
    """Assumptions."""


def read_runs(path: Path) -> Runs:
    """Read runs from CSV, Parquet, or the JSON or JSON lines of a serving benchmark.

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
    """Runs of a table with measured columns and the input columns of `evaluate`.

    Raises
    ------
    InputError
        When it has no measured column, or a measured value is not above 0.
    """
    measured: dict[str, pl.Series] = {}
    inputs: dict[str, pl.Series] = {}
    for name in frame.columns:
        bare = "whole_seconds" if name == "seconds" else name
        stem, _, unit = bare.rpartition("_")
        if stem in MEASURED and unit in ("seconds", "ms"):
            times = _positive(frame[name], source)
            measured[f"{stem}_seconds"] = times / 1000 if unit == "ms" else times
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
    numbers = series.cast(pl.Float64)
    wrong = (~((numbers > 0) & numbers.is_finite())).fill_null(False).arg_true()
    if len(wrong):
        row = wrong[0]
        raise InputError(f"{source}: {series.name}[{row}] = {series[row]}: expected above 0")
    return numbers


def _benchmarks(path: Path) -> Runs:
    """Runs of a JSON object, of a list of objects, or of JSON lines."""
    text = read_text(path)
    try:
        if path.suffix == ".jsonl":
            entries = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            data = json.loads(text)
            entries = data if isinstance(data, list) else [data]
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {' '.join(str(error).split())}") from None
    if not 0 < len(entries) <= MAX_RUNS:
        raise InputError(f"{path}: {len(entries):,} runs: expected 1..{MAX_RUNS:,}")
    rows, assumed, names = [], set(), set()
    for i, run in enumerate(entries):
        row, assumptions, name = _benchmark(f"{path}: run {i}", run)
        rows.append(row)
        assumed |= assumptions
        names.add(name)
    if len(names) > 1:
        raise InputError(f"{path}: runs of {', '.join(sorted(names))}: expected one model")
    runs = runs_of(pl.DataFrame(rows, infer_schema_length=None), str(path))
    return runs._replace(model=names.pop(), continuous=True, assumed=tuple(sorted(assumed)))


def _benchmark(place: str, run: object) -> tuple[dict[str, Any], set[str], str]:
    """A row of one run, the assumptions, and the model that the run names."""
    if not isinstance(run, dict):
        raise InputError(f"{place}: expected an object")
    for key in BENCHMARK_KEYS:
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
    assumed = {"each request has the mean length"}
    if run.get("max_concurrency") is not None:
        row["batch_size"] = round(_number(place, run, "max_concurrency"))
    elif run.get("concurrency") is not None:
        row["batch_size"] = max(round(_number(place, run, "concurrency")), 1)
        assumed.add("the batch size is the mean concurrency of the benchmark")
    elif "ttft_ms" in row and "tpot_ms" in row:
        busy = (row["ttft_ms"] + row["tpot_ms"] * (row["decode_steps"] - 1)) / 1000
        row["batch_size"] = max(round(row[TOKENS] / row["decode_steps"] * busy), 1)
        assumed.add("the batch size is requests/s times seconds per request (Little's law)")
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
    return row, assumed, str(named)


def _number(place: str, run: Mapping[str, Any], key: str) -> float:
    value = run[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        raise InputError(f"{place}: {key} = {value!r}: expected a number above 0")
    return value


def shipped_model(named: str) -> str | None:
    """The shipped model whose repository is `named`; None where there is none."""
    names = (name for name in known("models") if repository(load_model(name)) == named)
    return next(names, None)
