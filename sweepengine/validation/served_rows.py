"""Reads the public serving rows of the extra `silicon`.

A row is one benchmark of a server: model, system, serving engine, formats, layout, lengths,
concurrency, measured TTFT and TPOT. Duplicates of a measurement count once. A hash of its
configuration assigns a row to the training half, to which constants were fitted, or to the held-out
half. What rows do not state stands in `data/measured` (served_rows.toml and
disaggregated_layouts.csv).
"""

import csv
import hashlib
import re
from collections import Counter
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from sweepengine.data.errors import InputError
from sweepengine.data.files import shipped_table
from sweepengine.data.serving_engines import BURSTS, STEADY
from sweepengine.formulas.layout import Layout
from sweepengine.grid.shorthand import read_layout
from sweepengine.validation.measured_operators import shipped_tables

FILE = "silicon_sample.csv"
WHEEL = "wheel"
"""The collection of its rows."""
BURSTY = "gap-analysis/data"
"""In the source of rows whose load generator sends few requests, which arrive in waves."""
DRAWN = 0.9
"""Mean length of a request over the nominal one, where a load generator draws 0.8 to 1 of it."""
LARGEST_TENSOR = 8
"""Largest attention tensor parallelism; larger values in rows count the devices of all groups."""
OVERFULL = 0.5
"""TTFT / decode time above which requests queue for a full engine."""
DIGITS = 4
"""Significant digits of times in which rows of one measurement agree."""
ABOVE_LIMIT = "more requests than the serving engine runs at once; the limit is in no column"
SPECULATIVE = "decodes speculatively, which no column states"
MORE_SHARDS = "more shards of experts than devices, as the row is read"
SEVERAL_GROUPS = "the layout counts the devices of several groups"
NO_WORKERS = "disaggregated serving without the number of workers"
NO_CONCURRENCY = "disaggregated serving without the concurrency"
_MEASURED = resources.files("sweepengine.data") / "measured"
_FACTS: Final[dict[str, list[dict[str, Any]]]] = shipped_table("measured", "served_rows.toml")


class Workers(NamedTuple):
    """Groups of devices that serve a model alike."""

    groups: int
    layout: Layout

    @property
    def ranks(self) -> int:
        """Ranks of attention data parallelism of all groups."""
        return self.groups * self.layout.data


class ServedRow(NamedTuple):
    """One measurement of a server."""

    collection: str
    """"wheel", "inferencex" or "real"."""
    source: str
    """What names the row, or the page that it stands on."""
    engine: str
    system: str
    path: str
    """Owner and name of the model."""
    precision: str
    weights: str
    """Weight format of the row, empty where it states none."""
    expert_weights: str
    load: str
    judged: bool
    """Whether it is held out."""
    prompt: int
    """Mean tokens of a prompt, as of the next."""
    output: int
    concurrency: float
    """Requests under way."""
    batch: float
    """Sequences per rank of attention data parallelism; 0 in disaggregated serving."""
    prefill: Workers
    decode: Workers
    """The same as `prefill` in aggregated serving."""
    aggregated: bool
    settings: dict[str, float]
    """Settings of the serving engine that differ from its defaults."""
    measured_tpot: float
    """ms, as the next."""
    measured_ttft: float

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.path.split("/")[1]

    @property
    def full(self) -> bool:
        """Whether its requests queue for a full engine, whose limit is unknown."""
        return self.aggregated and self.measured_ttft > OVERFULL * self.output * self.measured_tpot


class ReadRows(NamedTuple):
    """Rows that can be predicted, why others cannot, and the number of duplicates."""

    rows: list[ServedRow]
    reasons: Counter[str]
    doubles: int


def read_served(path: Path | None = None) -> ReadRows:
    """Read every row of the file, each measurement once.

    Raises
    ------
    InputError
        When the extra `silicon` is not installed.
    """
    rows, reasons = [], Counter[str]()
    measurements = measurements_of(path)
    for same in measurements:
        if drafting_fact(same) is not None:
            reasons[SPECULATIVE] += 1
            continue
        try:
            rows.append(row_of(same))
        except InputError as error:
            reasons[str(error)] += 1
    return ReadRows(rows, reasons, sum(len(same) - 1 for same in measurements))


def measurements_of(path: Path | None) -> list[list[dict[str, Any]]]:
    """Rows of the file by measurement."""
    table = pl.read_csv(path or shipped_tables() / FILE, infer_schema_length=None)
    measurements: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for raw in table.iter_rows(named=True):
        times = (f"{raw[f'silicon_{name}_ms']:.{DIGITS}g}" for name in ("ttft", "tpot"))
        measurements.setdefault((*times, raw["isl"], raw["osl"]), []).append(raw)
    return list(measurements.values())


def drafting_fact(same: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The fact by which a measurement of aggregated serving decodes speculatively, if any."""
    if same[0]["mode"] != "agg":
        return None
    return next(
        (fact for fact in _FACTS["speculative"] for one in same if _matches(fact, one)), None
    )


def row_of(same: list[dict[str, Any]]) -> ServedRow:
    """The measurement that these rows of the file are of."""
    raw = same[0]
    if raw["mode"] == "agg":
        workers = Workers(1, _layout(raw, ""))
        return served_row(raw, workers, workers)
    return served_row(raw, *_workers(same))


def served_row(
    raw: dict[str, Any], prefill: Workers, decode: Workers, collection: str = WHEEL
) -> ServedRow:
    """A measurement, read from a row in the columns of the public file.

    Parameters
    ----------
    raw : dict
    prefill, decode : Workers
        The same where serving is aggregated.
    collection : str

    Raises
    ------
    InputError
        When serving is disaggregated and the row states no concurrency.
    """
    aggregated = raw["mode"] == "agg"
    bursts = BURSTY in raw["silicon_data_source"]
    drawn = 1.0 if bursts else DRAWN
    concurrency = _stated(raw, r"silicon_concurrency=([0-9]+)")
    batch = 0.0
    if aggregated:
        groups = decode.layout.data
        if bursts or not concurrency:
            batch = float(raw["batch_size"])
            concurrency = str(batch * groups)
        batch = max(1.0, float(concurrency) / groups)
    elif not concurrency:
        raise InputError(NO_CONCURRENCY)
    laid_out = (prefill.groups, *prefill.layout, decode.groups, *decode.layout)
    configuration = (raw["backend"], model_of(raw["model_path"]), raw["system"], raw["precision"],
                     raw["isl"], raw["osl"], float(concurrency), *laid_out)  # fmt: skip
    return ServedRow(
        collection=collection,
        source=raw["id"],
        engine=raw["backend"],
        system=raw["system"],
        path=raw["model_path"],
        precision=raw["precision"] or "bf16",
        weights=raw["gemm_quant_mode"] or "",
        expert_weights=raw["moe_quant_mode"] or "",
        load=BURSTS if bursts else STEADY,
        judged=half_of(configuration),
        prompt=round(drawn * raw["isl"]),
        output=round(drawn * raw["osl"]),
        concurrency=float(concurrency),
        batch=batch,
        prefill=prefill,
        decode=decode,
        aggregated=aggregated,
        settings=_settings(raw),
        measured_tpot=raw["silicon_tpot_ms"],
        measured_ttft=raw["silicon_ttft_ms"],
    )


def half_of(configuration: tuple[Any, ...]) -> bool:
    """Whether rows of a configuration are held out, by its hash."""
    return hashlib.sha256(repr(configuration).encode()).digest()[0] % 2 == 1


def _settings(raw: dict[str, Any]) -> dict[str, float]:
    """Settings of the serving engine of a row that differ from its defaults."""
    settings: dict[str, float] = {}
    for fact in _FACTS["settings"]:
        if _matches(fact, raw):
            settings |= fact["set"]
    return settings


def model_of(path: str) -> str:
    """Name of a model without its owner and its format: "DeepSeek-R1-NVFP4" is "DeepSeek"."""
    name = path.split("/")[1]
    if name.startswith("DeepSeek"):
        return "DeepSeek"
    return re.sub(r"-(FP8|NVFP4)$", "", name)


def _stated(raw: dict[str, Any], pattern: str) -> str:
    """What a pattern finds in the source of a row; empty where it finds nothing."""
    found = re.search(pattern, raw["silicon_data_source"])
    return found[1] if found else ""


def _matches(fact: dict[str, Any], raw: dict[str, Any]) -> bool:
    """Whether a fact of `served_rows.toml` is one of this row."""
    date = _stated(raw, r"measured=([0-9]+-[0-9]+-[0-9]+)")
    texts = {
        "models": raw["model_path"].split("/")[1],
        "systems": raw["system"],
        "precisions": raw["precision"] or "",
        "versions": raw["backend_version"] or "",
        "dates": date,
    }
    numbers = {"prompt": raw["isl"], "answer": raw["osl"], "tensor": raw["tp_size"],
               "experts": raw["moe_ep_size"]}  # fmt: skip
    low, high = fact.get("concurrency", (0, float("inf")))
    return (
        fact["engine"] == raw["backend"]
        and low <= float(_stated(raw, r"silicon_concurrency=([0-9]+)") or 0) <= high
        and date >= fact.get("since", "")
        and all(
            any(text.startswith(start) for start in fact[key])
            for key, text in texts.items()
            if key in fact
        )
        and all(
            value in (fact[key] if isinstance(fact[key], list) else [fact[key]])
            for key, value in numbers.items()
            if key in fact
        )
    )


@lru_cache
def _known_workers() -> dict[str, dict[str, str]]:
    """Rows of disaggregated_layouts.csv by the row of the public file that they are about."""
    text = (_MEASURED / "disaggregated_layouts.csv").read_text(encoding="utf-8")
    return {row["id"]: row for row in csv.DictReader(text.splitlines()[3:])}


def _workers(same: list[dict[str, Any]]) -> tuple[Workers, Workers]:
    """Prefill and decode workers of disaggregated serving."""
    for raw in same:
        if known := _known_workers().get(raw["id"]):
            if known["speculative"] == "true":
                raise InputError(SPECULATIVE)
            prefill, decode = (
                Workers(int(known[f"{phase}_workers"]), read_layout(known[f"{phase}_layout"]))
                for phase in ("prefill", "decode")
            )
            return prefill, decode
    raw = same[0]
    if raw["prefill_num_workers"] is None or raw["decode_num_workers"] is None:
        raise InputError(NO_WORKERS)
    prefill, decode = (
        Workers(raw[f"{phase}num_workers"], _layout(raw, phase))
        for phase in ("prefill_", "decode_")
    )
    return prefill, decode


def _layout(raw: dict[str, Any], phase: str) -> Layout:
    """Layout of a row.

    Some columns hold squares: "tp8_ep8" is 64 x (8, 8), and "dp4" of an engine that splits experts
    over data-parallel ranks is 4 x 4.
    """
    tensor, data, slices, experts = (
        int(raw[f"{phase}{name}"] or 1)
        for name in ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    )
    square = slices == experts and slices > 1
    if square and data == 1 and tensor == slices * slices:
        return Layout(slices, slices, 1, 1)
    if square and tensor == 1 and data == slices * slices:
        return Layout(1, slices, 1, slices)
    if tensor == data > 1 and slices == 1 and experts == tensor * tensor:
        return Layout(1, tensor, 1, tensor)
    if tensor > LARGEST_TENSOR and experts == 1:
        raise InputError(SEVERAL_GROUPS)
    if slices * experts > tensor * data:
        raise InputError(MORE_SHARDS)
    return Layout(tensor, experts, 1, data)
