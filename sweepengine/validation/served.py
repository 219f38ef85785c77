"""Compares predicted TTFT and TPOT with the public serving rows of the extra `silicon`."""

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
from sweepengine.grid.plain import step_figures
from sweepengine.grid.points import checked_point
from sweepengine.grid.timed import prefill_us, step_of
from sweepengine.validation.measured_operators import silicon_folder
from sweepengine.validation.served_rows import ABOVE_LIMIT, ServedRow, Workers, read_served

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
    read = read_served(path)
    predicted, reasons = [], Counter(read.reasons)
    for row in read.rows:
        try:
            predicted.append(_predicted(row))
        except InputError as error:
            reasons[str(error)] += 1
    reasons[ABOVE_LIMIT] += sum(row.full for row in predicted)
    return Rows(predicted, reasons, read.doubles)


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


def _formats(row: ServedRow, model: Model, device: str) -> dict[str, str]:
    """Formats of a row: those of the checkpoint if it is quantised, else those of the row."""
    quantised = row.weights != ""
    plain = any(name in (row.engine, row.model) or name in row.path for name in UNQUANTISED_CACHE)
    formats = {"cache_format": "fp8" if quantised and not plain else "bf16"}
    checkpoint = model.architecture.checkpoint
    if any(checkpoint[:3]):
        formats["activation_format"] = FORMAT_NAMES[checkpoint.activation]
        if FORMAT_NAMES[checkpoint.experts] == "mxfp4" and device.startswith(("b", "gb")):
            formats["activation_format"] = "fp8"  # kernels of Blackwell for mxfp4 weights
    elif quantised:
        mixed = row.expert_weights == "fp8_block"
        name = QUANTISED["fp8_block" if mixed else row.weights]
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


def _group(row: ServedRow, target: TimingTarget, workers: Workers) -> _Group:
    model, layout = _model(row.path, row.precision), workers.layout
    if not model.architecture.routings:
        layout = layout._replace(expert=1)
    if layout_problem(model, layout):
        raise InputError("the layout does not divide the heads of the model")
    point: Point = checked_point(model, _formats(row, model, target.device.name))
    arch = model.architecture
    weights = step_figures(
        arch, 0, 0, 1, 1, point.weight_format, point.cache_format, layout
    ).weights
    if weights.held_bytes > target.device.memory_bytes:
        raise InputError("the weights are larger than the memory of the devices of the row")
    ideal = timing_target(target.device, target.framework, ROOFLINE)
    return _Group(model, layout, speeds_of(arch, point, target), speeds_of(arch, point, ideal))


@lru_cache
def _target(system: str, engine: str) -> TimingTarget:
    devices = {load_device(name).measured: name for name in known("devices")}
    return timing_target(load_device(devices[system]), engine)


def _predicted(row: ServedRow) -> Served:
    target = _target(row.system, row.engine)
    engine = serving_engine_of(target, row.load)
    tokens, output = row.prompt, row.output
    if row.aggregated:
        group, batch = _group(row, target, row.decode), row.batch
        step, prefill = group.step(batch, tokens, output), group.prefill(tokens)
        whole = row.measured_ttft + output * row.measured_tpot
        if batch * group.prefill(tokens, ideal=True) > whole:
            raise InputError("measured faster than the data sheet allows for its columns")
        times = _steady_state(step, prefill, batch, output, engine)
        plain = _steady_state(step, prefill, batch, output, IDEAL_SERVING_ENGINE)
    else:
        first, then = _group(row, target, row.prefill), _group(row, target, row.decode)
        prefill = first.prefill(tokens)
        step, waited, batch = disaggregated(
            lambda batch: then.step(batch, tokens, output), prefill, row.concurrency, output,
            row.prefill.ranks, row.decode.ranks,
        )  # fmt: skip
        times = (step, engine.first / MILLISECOND + waited)
        plain = (step, waited)
    return Served(
        row.engine,
        row.system,
        row.model,
        row.precision,
        row.load,
        row.aggregated,
        row.judged,
        row.full,
        output,
        batch,
        step,
        prefill,
        *times,
        *plain,
        row.measured_tpot,
        row.measured_ttft,
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
