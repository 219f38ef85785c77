"""Served times beside measured ones: the public rows of the extra `silicon`.

A row is one benchmark of a server: model, system, engine, formats, layout, lengths, concurrency,
and the TTFT and TPOT that a load generator saw. Rows that are one measurement are taken once. Which
half a row is in follows from a hash of its configuration; constants were fitted on the first alone.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import (
    BURSTS,
    STEADY,
    TimingTarget,
    serving_engine_of,
    speeds_of,
    timing_target,
)
from sweepengine.formulas.formats import FORMAT_NAMES
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import Point
from sweepengine.formulas.serving import (
    IDEAL_SERVING_ENGINE,
    ServingEngine,
    continuous_tpot,
    continuous_ttft,
    disaggregated,
)
from sweepengine.formulas.speeds import ROOFLINE, Speeds
from sweepengine.formulas.tokens import Pass
from sweepengine.grid.checks import layout_problem
from sweepengine.grid.points import checked_point
from sweepengine.grid.timed import prefill_us, step_of
from sweepengine.validation.measured_operators import shipped_tables, silicon_folder

FILE = "silicon_sample.csv"
MILLISECOND = 1e3
"""Microseconds."""
CONFIGS = {
    "Llama-3.1-70B": "meta-llama--Meta-Llama-3.1-70B",
    "Llama-3.1-8B-Instruct": "meta-llama--Meta-Llama-3.1-8B",
    "Llama-3.1-8B-Instruct-FP8": "meta-llama--Meta-Llama-3.1-8B",
    "DeepSeek-R1-NVFP4": "nvidia--DeepSeek-V3.1-NVFP4",
    "Qwen3-32B-NVFP4": "Qwen--Qwen3-32B",
    "GLM-5": "nvidia--GLM-5-NVFP4",
}
"""Configs of models that the wheel has under other names."""
QUANTISED = {"fp8": "fp8-tensor", "fp8_block": "fp8", "nvfp4": "nvfp4", "int4_wo": "int4"}
"""What the rows call a format of weights that the config leaves out."""
UNQUANTISED_CACHE = ("gpt-oss", "sglang")
"""Models and engines whose cache stays in bf16 unless told otherwise, quantised or not."""
BURSTY = "gap-analysis/data"
"""In the source of rows whose load generator sends few requests: they come in waves."""
LARGEST_TENSOR = 8
"""Devices that an engine splits attention over; rows that say more count those of all groups."""


OVERFULL = 0.5
"""TTFT, as a share of the decode time, above which requests queue for an engine that is full."""
ABOVE_LIMIT = "more requests than the engine runs at once, which no column says"


class Served(NamedTuple):
    """One row, predicted; times in ms."""

    engine: str
    system: str
    model: str
    precision: str
    load: str
    aggregated: bool
    judged: bool
    """Whether it is of the half that no constant saw."""
    full: bool
    """Whether its requests queue for an engine that is full: no column says how many it runs."""
    output: int
    batch: float
    """Of a rank of attention data parallelism."""
    step: float
    prefill: float
    """Of one request alone."""
    tpot: float
    ttft: float
    plain_tpot: float
    """With nothing fitted on served rows."""
    plain_ttft: float
    measured_tpot: float
    measured_ttft: float


class Rows(NamedTuple):
    """All rows: those predicted, and why others were not."""

    served: list[Served]
    reasons: Counter[str]
    doubles: int


def read_rows(path: Path | None = None) -> Rows:
    """Predict every row of the file.

    Raises
    ------
    InputError
        When the extra `silicon` is not installed.
    """
    table = pl.read_csv(path or shipped_tables() / FILE, infer_schema_length=None)
    found: dict[tuple[float, float], Served] = {}
    reasons: Counter[str] = Counter()
    doubles = 0
    for row in table.iter_rows(named=True):
        key = (row["silicon_ttft_ms"], row["silicon_tpot_ms"])
        if key in found:
            doubles += 1
            continue
        try:
            found[key] = _predicted(row)
            reasons[ABOVE_LIMIT] += found[key].full
        except InputError as error:
            reasons[str(error)] += 1
    return Rows(list(found.values()), reasons, doubles)


def _config(path: str, precision: str | None) -> str:
    """A model's config in the wheel, or the name of one that ships with us."""
    owner, base = path.split("/")
    configs = silicon_folder("model_configs")
    quantised = "DeepSeek-V3.1" if base.startswith("DeepSeek") else base
    names = [f"nvidia--{quantised}-NVFP4"] if precision == "fp4" else []
    names += [CONFIGS[base]] if base in CONFIGS else [f"{owner}--{base}"]
    for name in names:
        if (file := configs / f"{name}_config.json").is_file():
            return str(file)
    if base in known("models"):
        return base
    raise InputError("no config of the model")


@lru_cache
def _model(path: str, precision: str | None) -> Model:
    return load_model(_config(path, precision))


def _layout(row: dict[str, Any], phase: str = "") -> Layout:
    """Layout of a row, as its name says where its columns multiply sizes by themselves.

    "tp8_ep8" stands as 64 x (8, 8); "dp4" of an engine that splits experts over it as 4 x 4.
    """
    tensor, data, slices, experts = (
        int(row[f"{phase}{name}"] or 1)
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
        raise InputError("its layout counts the devices of several groups")
    return Layout(tensor, min(experts, tensor * data), 1, data)


def _formats(row: dict[str, Any], model: Model, device: str) -> dict[str, str]:
    """Formats of a row: the checkpoint's own, or what the row says of an unquantised one."""
    quantised = row["gemm_quant_mode"] is not None
    plain = any(name in (row["backend"], row["model_path"].split("/")[1]) or
                name in row["model_path"] for name in UNQUANTISED_CACHE)  # fmt: skip
    found = {"cache_format": "fp8" if quantised and not plain else "bf16"}
    own = model.architecture.checkpoint
    if any(own[:3]):
        found["activation_format"] = FORMAT_NAMES[own.activation]
        if FORMAT_NAMES[own.experts] == "mxfp4" and device.startswith(("b", "gb")):
            found["activation_format"] = "fp8"  # Blackwell's kernels take fp8 beside mxfp4
    elif quantised:
        mixed = row["moe_quant_mode"] == "fp8_block"
        name = QUANTISED["fp8_block" if mixed else row["gemm_quant_mode"]]
        usual = {"nvfp4": "nvfp4", "int4": "bf16"}.get(name, "fp8")
        found |= {"weight_format": name, "activation_format": usual}
    return found


class _Group(NamedTuple):
    """A group of devices that serves: a model in a layout at a place."""

    model: Model
    layout: Layout
    speeds: Speeds
    ideal: Speeds

    def prefill(self, tokens: int) -> float:
        arch = self.model.architecture
        one = Pass(1.0, tokens, 0, decode=0)
        return prefill_us(arch, (0, 0), self.layout, one, self.speeds) / MILLISECOND

    def least_prefill(self, tokens: int) -> float:
        arch = self.model.architecture
        one = Pass(1.0, tokens, 0, decode=0)
        return prefill_us(arch, (0, 0), self.layout, one, self.ideal) / MILLISECOND

    def step(self, batch: float, tokens: int, output: int) -> float:
        arch = self.model.architecture
        step = step_of(arch, (0, 0), self.layout, max(batch, 1.0), self.speeds)
        return step.total(tokens, output) / output / MILLISECOND


def _group(row: dict[str, Any], place: TimingTarget, phase: str) -> _Group:
    model = _model(row["model_path"], row["precision"])
    layout = _layout(row, phase)
    if not model.architecture.routings:
        layout = layout._replace(expert=1)
    if layout_problem(model, layout):
        raise InputError("its layout does not divide the model's heads")
    formats = _formats(row, model, place.device.name)
    point: Point = checked_point(model, formats)
    ideal = timing_target(place.device, place.framework, ROOFLINE)
    arch = model.architecture
    return _Group(model, layout, speeds_of(arch, point, place), speeds_of(arch, point, ideal))


@lru_cache
def _place(system: str, engine: str) -> TimingTarget:
    devices = {load_device(name).measured: name for name in known("devices")}
    return timing_target(load_device(devices[system]), engine)


def _predicted(row: dict[str, Any]) -> Served:
    place = _place(row["system"], row["backend"])
    load = BURSTS if BURSTY in row["silicon_data_source"] else STEADY
    engine = serving_engine_of(place, load)
    tokens, output = row["isl"], row["osl"]
    said = re.search(r"silicon_concurrency=([0-9]+)", row["silicon_data_source"])
    aggregated = row["mode"] == "agg"
    if aggregated:
        group = _group(row, place, "")
        batch = max(1.0, row["batch_size"] / group.layout.data)
        step, prefill = group.step(batch, tokens, output), group.prefill(tokens)
        whole = row["silicon_ttft_ms"] + output * row["silicon_tpot_ms"]
        if batch * group.least_prefill(tokens) > whole:
            raise InputError("measured faster than the data sheet allows for its columns")
        times = _served(step, prefill, batch, output, engine)
        plain = _served(step, prefill, batch, output, IDEAL_SERVING_ENGINE)
    else:
        if row["prefill_num_workers"] is None or row["decode_num_workers"] is None:
            raise InputError("disaggregated without the number of workers")
        if said is None:
            raise InputError("disaggregated without the concurrency")
        first, then = _group(row, place, "prefill_"), _group(row, place, "decode_")
        prefill_workers = row["prefill_num_workers"] * first.layout.data
        decode_workers = row["decode_num_workers"] * then.layout.data
        prefill, concurrency = first.prefill(tokens), float(said[1])
        step, waited, batch = disaggregated(
            lambda batch: then.step(batch, tokens, output), prefill, concurrency, output,
            prefill_workers, decode_workers,
        )  # fmt: skip
        times = (step, engine.first / MILLISECOND + waited)
        plain = (step, waited)
    key = (row["backend"], row["model_path"], row["system"], row["precision"], tokens, output,
           row["batch_size"], row["tp_size"], row["moe_ep_size"], row["decode_tp_size"],
           row["decode_batch_size"])  # fmt: skip
    judged = hashlib.sha256(repr(key).encode()).digest()[0] % 2 == 1
    return Served(
        row["backend"],
        row["system"],
        row["model_path"].split("/")[1],
        row["precision"] or "bf16",
        load,
        aggregated,
        judged,
        aggregated and row["silicon_ttft_ms"] > OVERFULL * output * row["silicon_tpot_ms"],
        output,
        batch,
        step,
        prefill,
        *times,
        *plain,
        row["silicon_tpot_ms"],
        row["silicon_ttft_ms"],
    )


def _served(
    step: float, prefill: float, batch: float, output: int, engine: ServingEngine
) -> tuple[float, float]:
    """TPOT and TTFT of a continuous batch, ms."""
    us = MILLISECOND
    tpot = continuous_tpot(step * us, prefill * us, batch, output, engine)
    alone = prefill * us
    return tpot / us, continuous_ttft(step * us, alone, alone, batch, engine) / us


def as_frame(rows: Rows) -> pl.DataFrame:
    """Predicted rows with their errors, %."""

    def error(predicted: str, measured: str) -> pl.Expr:
        return 100 * (pl.col(predicted) / pl.col(f"measured_{measured}") - 1).abs()

    return pl.DataFrame(rows.served).with_columns(
        error("tpot", "tpot").alias("tpot_error"),
        error("ttft", "ttft").alias("ttft_error"),
        error("plain_tpot", "tpot").alias("plain_tpot_error"),
        error("plain_ttft", "ttft").alias("plain_ttft_error"),
        (pl.col("tpot") / pl.col("measured_tpot")).alias("tpot_ratio"),
        (pl.col("ttft") / pl.col("measured_ttft")).alias("ttft_ratio"),
    )


def errors_by(frame: pl.DataFrame, *names: str) -> Iterator[dict[str, Any]]:
    """Mean and median errors and median ratio of rows, by the values of columns."""
    measures = [
        pl.len().alias("rows"),
        *(
            getattr(pl.col(f"{prefix}{what}_error"), how)().alias(f"{prefix}{what}_{how}")
            for prefix in ("", "plain_")
            for what in ("tpot", "ttft")
            for how in ("mean", "median")
        ),
        pl.col("tpot_ratio").median(),
        pl.col("ttft_ratio").median(),
    ]
    grouped = frame.group_by(*names).agg(measures).sort(*names) if names else frame.select(measures)
    yield from grouped.iter_rows(named=True)
