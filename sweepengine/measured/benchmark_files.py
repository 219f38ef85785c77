"""Results of serving benchmarks: recognised by their keys, read where `benchmarks.toml` says."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sweepengine.data.errors import InputError
from sweepengine.data.files import parsed_json, read_text, shipped_table
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.checks import checked_value

MAX_RUNS = 100_000
"""Most runs of a file."""
TOKENS = "tokens_per_s"
"""Column of output tokens/s, all devices."""
MEAN_LENGTHS = "each request has the mean length"
UNITS = {"ms": 1.0, "s": 1000.0, "sec": 1000.0, "us": 0.001, "ns": 1e-6}
"""Milliseconds of the units that a benchmark may state."""
SIZES = ("tensor_parallel", "expert_parallel", "pipeline_parallel")
TIMES = ("ttft_ms", "tpot_ms", "ttft_seconds", "tpot_seconds")


class Format(NamedTuple):
    """Where a benchmark's results hold their figures: a table of `benchmarks.toml`."""

    title: str
    runs: str
    has: tuple[str, ...]
    values: Mapping[str, tuple[str, ...]]
    source: str
    unit: str = ""


class Benchmarks(NamedTuple):
    """Runs of a file."""

    rows: list[dict[str, Any]]
    """Inputs, and measured columns as tables of runs have them."""
    model: str
    """Name in the results; empty where they have none."""
    assumed: tuple[str, ...]
    groups: str
    """What a run says of data-parallel groups, whose layout it does not say; empty: nothing."""


@cache
def formats() -> tuple[Format, ...]:
    """Known formats of results."""
    tables = shipped_table("benchmarks.toml").values()
    return tuple(Format(**{**table, "has": tuple(table["has"])}) for table in tables)


def read_benchmarks(path: Path) -> Benchmarks:
    """Runs of the JSON, or JSON lines, of a serving benchmark.

    Raises
    ------
    InputError
        When the file cannot be read or repeats a key, has no known format, or a value is not valid.
    """
    text = read_text(path)
    if path.suffix == ".jsonl":
        lines = [line for line in text.splitlines() if line.strip()]
        files = [parsed_json(f"{path}: run {i}", line) for i, line in enumerate(lines)]
    else:
        data = parsed_json(path, text)
        files = data if isinstance(data, list) else [data]
    runs = [(top, run) for top in files for run in _runs_of(top)]
    if not 0 < len(runs) <= MAX_RUNS:
        raise InputError(f"{path}: {len(runs):,} runs: expected 1..{MAX_RUNS:,}")
    rows, assumed, names, groups = [], set(), set(), ""
    for i, (top, run) in enumerate(runs):
        place = f"{path}: run {i}"
        reader = _Reader(place, _format_of(place, run), top, run)
        row, assumptions = _row(reader)
        rows.append(row)
        assumed |= assumptions
        names.add(reader.name())
        groups = groups or _groups(reader)
    if len(names) > 1:
        raise InputError(f"{path}: runs of {', '.join(sorted(names))}: expected one model")
    return Benchmarks(rows, names.pop(), tuple(sorted(assumed)), groups)


def _runs_of(top: Any) -> list[Any]:
    """Runs of one JSON value: the list that a format names, else the value itself."""
    for form in formats():
        found = _at(top, form.runs) if form.runs else None
        if isinstance(found, list):
            return found
    return [top]


def _format_of(place: str, run: Any) -> Format:
    """The format of which a run has most keys."""
    if not isinstance(run, dict):
        raise InputError(f"{place}: expected an object")
    found = max(formats(), key=lambda form: sum(_at(run, path) is not None for path in form.has))
    if all(_at(run, path) is None and path not in run for path in found.has):
        titles = ", ".join(form.title for form in formats())
        raise InputError(f"{place}: no keys of a serving benchmark: expected results of {titles}")
    return found


def _at(value: Any, path: str) -> Any:
    """The value that a path of keys leads to; None where there is none."""
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value


class _Reader(NamedTuple):
    """A run, and where its format holds its figures."""

    place: str
    form: Format
    top: Any
    run: Any

    def found(self, name: str) -> tuple[str, Any]:
        """The first path of a figure that leads to a value, and the value; None where none does."""
        paths = self.form.values.get(name, ())
        for path in paths:
            value = _at(self.top, path[2:]) if path.startswith("$.") else _at(self.run, path)
            if value is not None:
                return path, value
        return (paths[0] if paths else name), None

    def number(self, name: str) -> float | None:
        """A figure above 0; None where the run has none."""
        paths = self.form.values.get(name, ())
        if paths and " / " in paths[0]:
            above, below = (self._above_0(path, _at(self.run, path)) for path in
                            paths[0].split(" / "))  # fmt: skip
            return above / below
        path, value = self.found(name)
        if value is None:
            if path in self.run and name in (TOKENS, *TIMES):  # null is no measurement
                self._above_0(path, value)
            return None
        return self._above_0(path, value) * self._scale(name, path)

    def required(self, name: str) -> float:
        """A figure above 0 that every run has."""
        value = self.number(name)
        if value is None:
            path, _ = self.found(name)
            raise InputError(f"{self.place}: {path}: required key of {self.form.title} is missing")
        return value

    def name(self) -> str:
        """The model that the run names, or empty."""
        _, value = self.found("model")
        first = value[0] if isinstance(value, list) and value else value
        first = first.get("name") if isinstance(first, Mapping) else first
        return first if isinstance(first, str) else ""

    def _scale(self, name: str, path: str) -> float:
        """What turns a time into milliseconds, where the run states its unit."""
        if not self.form.unit or name not in TIMES:
            return 1.0
        unit = _at(self.run, f"{path.rpartition('.')[0]}.{self.form.unit}")
        if unit is not None and unit not in UNITS:
            raise InputError(f"{self.place}: {path}: unit {unit!r}: expected {', '.join(UNITS)}")
        return UNITS[unit] if unit is not None else 1.0

    def _above_0(self, path: str, value: Any) -> float:
        if value is None and path not in self.run:
            raise InputError(f"{self.place}: {path}: required key of {self.form.title} is missing")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
            raise InputError(f"{self.place}: {path} = {value!r}: expected a number above 0")
        return value


def _row(reader: _Reader) -> tuple[dict[str, Any], set[str]]:
    """Inputs and measurements of a run, and what was assumed."""
    row: dict[str, Any] = {
        "prompt_tokens": max(round(reader.required("prompt_tokens")), 1),
        "decode_steps": max(round(reader.required("decode_steps")), 1),
        TOKENS: reader.required(TOKENS),
        "serving": "continuous",
    }
    row |= {name: value for name in TIMES if (value := reader.number(name)) is not None}
    assumed = {MEAN_LENGTHS}
    scales = {"ttft_ms": 1000.0, "tpot_ms": 1000.0, "ttft_seconds": 1.0, "tpot_seconds": 1.0}
    seconds = {name.partition("_")[0]: row[name] / scales[name] for name in TIMES if name in row}
    if (limit := reader.number("limit")) is not None:
        row["batch_size"] = round(limit)
    elif (mean := reader.number("concurrency")) is not None:
        row["batch_size"] = max(round(mean), 1)
        assumed.add("the batch size is the mean concurrency of the benchmark")
    elif {"ttft", "tpot"} <= seconds.keys():
        busy = seconds["ttft"] + seconds["tpot"] * (row["decode_steps"] - 1)
        row["batch_size"] = max(round(row[TOKENS] / row["decode_steps"] * busy), 1)
        assumed.add("the batch size is requests/s times seconds per request (Little's law)")
    else:
        needed = ", ".join(reader.found(name)[0] for name in ("limit", "ttft_ms", "tpot_ms"))
        raise InputError(f"{reader.place}: expected the concurrency, or TTFT and TPOT: {needed}")
    for name in SIZES:
        _, size = reader.found(name)
        if isinstance(size, int) and not isinstance(size, bool):
            row[name] = size
    for name in (name for name in INPUTS if name in row):
        checked_value(INPUTS[name], row[name], f"{reader.place}: {name} = {row[name]}")
    return row, assumed


def _groups(reader: _Reader) -> str:
    """What a run says of several data-parallel groups."""
    path, groups = reader.found("groups")
    return f"{reader.place}: {path} = {groups}" if groups not in (None, 1) else ""
