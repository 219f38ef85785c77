"""Read measured runs: tables, rows of InferenceX, and results of serving benchmarks."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import load_model
from sweepengine.measured.benchmark_files import MAX_RUNS, TOKENS, read_benchmarks
from sweepengine.measured.inferencex import is_inferencex, rows_of
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
CLAIMED = "mfu"
"""Column of the MFU that a run reports; it is compared, never used."""


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
    groups: str = ""
    """What a run says of data-parallel groups, whose layout it does not say; empty: nothing."""
    benchmark: bool = False
    """Whether they are results of a benchmark of text prompts."""


def read_runs(path: Path, device: str, framework: str) -> Runs:
    """Read runs from a table in CSV or Parquet, or from results of a serving benchmark in JSON.

    Parameters
    ----------
    path : Path
    device, framework : str
        Those whose rows are taken of a table of InferenceX.

    Raises
    ------
    InputError
        When the file cannot be read, has no measured column, or a value is not valid.
    """
    if path.suffix in (".json", ".jsonl"):
        found = read_benchmarks(path)
        runs = runs_of(pl.DataFrame(found.rows, infer_schema_length=None), str(path))
        return runs._replace(
            model=found.model,
            continuous=True,
            assumed=found.assumed,
            groups=found.groups,
            benchmark=True,
        )
    frame = read_frame(path)
    if not 0 < frame.height <= MAX_RUNS:
        raise InputError(f"{path}: {frame.height:,} rows: expected 1..{MAX_RUNS:,}")
    if is_inferencex(frame):
        rows = rows_of(frame, str(path), device, framework)
        return runs_of(rows.frame, str(path))._replace(assumed=rows.assumed, benchmark=True)
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


def shipped_model(named: str) -> str | None:
    """The shipped model whose repository is `named`; None where there is none."""
    names = (name for name in known("models") if repository(load_model(name)) == named)
    return next(names, None)
