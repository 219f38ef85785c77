"""Compares predicted TTFT and TPOT with the public serving rows of the extra `silicon`.

A row is one benchmark of a server: model, system, serving engine, formats, layout, lengths,
concurrency, measured TTFT and TPOT. Duplicates of a measurement count once. A hash of its
configuration assigns a row to the training half, to which constants were fitted, or to the
held-out half.
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
"""Microseconds per millisecond."""
CONFIGS = {
    "Llama-3.1-70B": "meta-llama--Meta-Llama-3.1-70B",
    "Llama-3.1-8B-Instruct": "meta-llama--Meta-Llama-3.1-8B",
    "Llama-3.1-8B-Instruct-FP8": "meta-llama--Meta-Llama-3.1-8B",
    "DeepSeek-R1-NVFP4": "nvidia--DeepSeek-V3.1-NVFP4",
    "Qwen3-32B-NVFP4": "Qwen--Qwen3-32B",
    "GLM-5": "nvidia--GLM-5-NVFP4",
}
"""Model of a row to its config in the extra, where the names differ."""
QUANTISED = {"fp8": "fp8-tensor", "fp8_block": "fp8", "nvfp4": "nvfp4", "int4_wo": "int4"}
"""Name of a weight format in the rows to ours, for configs without one."""
UNQUANTISED_CACHE = ("gpt-oss", "sglang")
"""Models and engines whose default KV cache is bf16 even for quantised models."""
BURSTY = "gap-analysis/data"
"""In the source of rows whose load generator sends few requests, which arrive in waves."""
LARGEST_TENSOR = 8
"""Largest attention tensor parallelism; larger values in rows count the devices of all groups."""
OVERFULL = 0.5
"""TTFT / decode time above which requests queue for a full engine."""
ABOVE_LIMIT = "more requests than the serving engine runs at once; the limit is in no column"


class Served(NamedTuple):
    """One row, predicted; times in ms."""

    engine: str
    system: str
    model: str
    precision: str
    load: str
    aggregated: bool
    judged: bool
    """Whether it is held out."""
    full: bool
    """Whether its requests queue for a full engine, whose limit is unknown."""
    output: int
    batch: float
    """Sequences per rank of attention data parallelism."""
    step: float
    prefill: float
    """Prefill time of one request alone."""
    tpot: float
    ttft: float
    plain_tpot: float
    """Prediction without constants fitted to serving rows."""
    plain_ttft: float
    measured_tpot: float
    measured_ttft: float


class Rows(NamedTuple):
    """Predicted rows, and the reasons why other rows were not predicted."""

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
    predicted: dict[tuple[float, float], Served] = {}
    reasons: Counter[str] = Counter()
    doubles = 0
    for row in table.iter_rows(named=True):
        key = (row["silicon_ttft_ms"], row["silicon_tpot_ms"])
        if key in predicted:
            doubles += 1
            continue
        try:
            predicted[key] = _predicted(row)
            reasons[ABOVE_LIMIT] += predicted[key].full
        except InputError as error:
            reasons[str(error)] += 1
    return Rows(list(predicted.values()), reasons, doubles)


def _config(path: str, precision: str | None) -> str:
    """Path of the config of a model in the extra, or the name of a shipped model."""
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
    raise InputError("no config for the model")


@lru_cache
def _model(path: str, precision: str | None) -> Model:
    return load_model(_config(path, precision))


def _layout(row: dict[str, Any], phase: str = "") -> Layout:
    """Layout of a row.

    Some columns hold squares: "tp8_ep8" is 64 x (8, 8), and "dp4" of an engine that splits experts
    over data-parallel ranks is 4 x 4.
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
        raise InputError("the layout counts the devices of several groups")
    return Layout(tensor, min(experts, tensor * data), 1, data)


def _formats(row: dict[str, Any], model: Model, device: str) -> dict[str, str]:
    """Formats of a row: those of the checkpoint if it is quantised, else those of the row."""
    quantised = row["gemm_quant_mode"] is not None
    plain = any(name in (row["backend"], row["model_path"].split("/")[1]) or
                name in row["model_path"] for name in UNQUANTISED_CACHE)  # fmt: skip
    formats = {"cache_format": "fp8" if quantised and not plain else "bf16"}
    checkpoint = model.architecture.checkpoint
    if any(checkpoint[:3]):
        formats["activation_format"] = FORMAT_NAMES[checkpoint.activation]
        if FORMAT_NAMES[checkpoint.experts] == "mxfp4" and device.startswith(("b", "gb")):
            formats["activation_format"] = "fp8"  # kernels of Blackwell for mxfp4 weights
    elif quantised:
        mixed = row["moe_quant_mode"] == "fp8_block"
        name = QUANTISED["fp8_block" if mixed else row["gemm_quant_mode"]]
        usual = {"nvfp4": "nvfp4", "int4": "bf16"}.get(name, "fp8")
        formats |= {"weight_format": name, "activation_format": usual}
    return formats


class _Group(NamedTuple):
    """A group of devices that serves a model in a layout."""

    model: Model
    layout: Layout
    speeds: Speeds
    ideal: Speeds

    def prefill(self, tokens: int, ideal: bool = False) -> float:
        """Time of a prefill of one request, ms; with `ideal`, by the data sheet."""
        arch, speeds = self.model.architecture, self.ideal if ideal else self.speeds
        prefill = Pass(1.0, tokens, 0, decode=0)
        return prefill_us(arch, (0, 0), self.layout, prefill, speeds) / MILLISECOND

    def step(self, batch: float, tokens: int, output: int) -> float:
        """Mean time of a decode step over `output` steps after `tokens` tokens, ms."""
        arch = self.model.architecture
        step = step_of(arch, (0, 0), self.layout, max(batch, 1.0), self.speeds)
        return step.total(tokens, output) / output / MILLISECOND


def _group(row: dict[str, Any], target: TimingTarget, phase: str) -> _Group:
    model = _model(row["model_path"], row["precision"])
    layout = _layout(row, phase)
    if not model.architecture.routings:
        layout = layout._replace(expert=1)
    if layout_problem(model, layout):
        raise InputError("the layout does not divide the heads of the model")
    formats = _formats(row, model, target.device.name)
    point: Point = checked_point(model, formats)
    ideal = timing_target(target.device, target.framework, ROOFLINE)
    arch = model.architecture
    return _Group(model, layout, speeds_of(arch, point, target), speeds_of(arch, point, ideal))


@lru_cache
def _target(system: str, engine: str) -> TimingTarget:
    devices = {load_device(name).measured: name for name in known("devices")}
    return timing_target(load_device(devices[system]), engine)


def _predicted(row: dict[str, Any]) -> Served:
    target = _target(row["system"], row["backend"])
    load = BURSTS if BURSTY in row["silicon_data_source"] else STEADY
    engine = serving_engine_of(target, load)
    tokens, output = row["isl"], row["osl"]
    concurrency = re.search(r"silicon_concurrency=([0-9]+)", row["silicon_data_source"])
    aggregated = row["mode"] == "agg"
    if aggregated:
        group = _group(row, target, "")
        batch = max(1.0, row["batch_size"] / group.layout.data)
        step, prefill = group.step(batch, tokens, output), group.prefill(tokens)
        whole = row["silicon_ttft_ms"] + output * row["silicon_tpot_ms"]
        if batch * group.prefill(tokens, ideal=True) > whole:
            raise InputError("measured faster than the data sheet allows for its columns")
        times = _steady_state(step, prefill, batch, output, engine)
        plain = _steady_state(step, prefill, batch, output, IDEAL_SERVING_ENGINE)
    else:
        if row["prefill_num_workers"] is None or row["decode_num_workers"] is None:
            raise InputError("disaggregated serving without the number of workers")
        if concurrency is None:
            raise InputError("disaggregated serving without the concurrency")
        first, then = _group(row, target, "prefill_"), _group(row, target, "decode_")
        prefill_workers = row["prefill_num_workers"] * first.layout.data
        decode_workers = row["decode_num_workers"] * then.layout.data
        prefill = first.prefill(tokens)
        step, waited, batch = disaggregated(
            lambda batch: then.step(batch, tokens, output), prefill, float(concurrency[1]),
            output, prefill_workers, decode_workers,
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


def _steady_state(
    step: float, prefill: float, batch: float, output: int, engine: ServingEngine
) -> tuple[float, float]:
    """TPOT and TTFT with continuous batching, ms."""
    step, prefill = step * MILLISECOND, prefill * MILLISECOND
    tpot = continuous_tpot(step, prefill, batch, output, engine)
    ttft = continuous_ttft(step, prefill, prefill, batch, engine)
    return tpot / MILLISECOND, ttft / MILLISECOND


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
    """Number of rows, mean and median errors, %, and median ratios, by the columns `names`."""
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
