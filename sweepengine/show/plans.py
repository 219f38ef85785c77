"""The published charts: a plan for each, by phase."""

from typing import NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.devices import GIGA, TERA
from sweepengine.data.models import Model
from sweepengine.formulas.layers import decoder_ends
from sweepengine.query.sources import Source

TERAS = pl.lit(1 / TERA)
FOLDED = ("_activation_io", "_kv_cache", "decode_flops", "decode_activation_memory",
          "required_for_ttft", "required_for_tpot")  # fmt: skip
"""Ends of names of charts that follow from others, and are folded but for published figures."""


class Curve(NamedTuple):
    """One curve of a chart: a measure, drawn once, or once for each attention."""

    measure: pl.Expr
    name: str = ""
    """Title of the curve; empty: one curve for each attention."""


class Plan(NamedTuple):
    """What a line chart shows."""

    name: str
    what: str
    """Subject of the title."""
    unit: str
    curves: tuple[Curve, ...]
    logarithmic: bool = False
    measured: str = ""
    """Column of `data.measurements.measured_stages` to draw too."""
    stages: tuple[str, ...] = ()
    """Phases whose tensor FLOPs another count is compared with."""
    per: pl.Expr = TERAS
    """Factor that makes the unit of the chart of FLOPs."""
    stage: str = ""
    """Phase of the report that shows it."""
    folded: bool = False
    """Whether a page shows it on demand."""


class Units(NamedTuple):
    """Units of an accounting: its own where figures are compared with published ones."""

    traffic: str
    traffic_bytes: float
    memory: str
    memory_bytes: float
    small: str
    small_bytes: float
    per: str


OURS = Units("TB", 1e12, "GB", GIGA, "MB", 1e6, "byte")
PUBLISHED = Units("Tb", TERA / metrics.BITS_PER_BYTE, "GiB", metrics.GIB, "MiB", 2**20, "bit")


def units_of(model: Model) -> Units:
    """Return the units in which figures of a model are drawn."""
    return PUBLISHED if model.architecture.convention.sums_activations else OURS


def plans(source: Source, model: Model) -> list[Plan]:
    """Return the charts of the phases that the grid of a source reports.

    The published figures are drawn all; of other accountings those that follow from others are
    folded.
    """
    units, charts = units_of(model), []
    for stage in source.stages:
        if stage == "vision":
            of_stage = _vision_plans(units)
        elif stage == "prefill":
            of_stage = _prefill_plans(source, model, units)
        else:
            of_stage = _decode_plans(source, units)
        charts += [plan._replace(stage=stage) for plan in of_stage]
    if units is PUBLISHED:
        return charts
    return [plan._replace(folded=plan.folded or plan.name.endswith(FOLDED)) for plan in charts]


def _vision_plans(units: Units) -> list[Plan]:
    stages = ("vision",)
    return [
        *_phase_plans("vision", "Vision", stages, "vision", units),
        Plan("vision_activation_memory", "Vision activation memory", units.memory,
             (Curve(pl.col("vision_activation_bytes") / units.memory_bytes),)),
    ]  # fmt: skip


def _prefill_plans(source: Source, model: Model, units: Units) -> list[Plan]:
    stages = tuple(stage for stage in source.stages_there if stage != "decode")
    name, what = "_".join(stages), " + ".join(stages).capitalize()
    arch = model.architecture
    columns = [pl.col(f"{stage}_activation_bytes") for stage in stages]
    summed = arch.convention.sums_activations
    activations = pl.sum_horizontal(columns) if summed else pl.max_horizontal(columns)
    # The FLOPs of the head are proportional to tokens.
    tokens = pl.col("context_tokens").cast(pl.Int64) - pl.col("cached_tokens")
    tokens -= pl.col("shared_tokens")
    head = decoder_ends(arch.backbone, 1).head.tensor_flops * tokens * pl.col("batch_size")
    vision = (Curve(metrics.flops(("vision",)) / TERA, "vision"),) if "vision" in stages else ()
    components = (
        *vision,
        Curve((metrics.flops(("prefill",)) - head) / TERA, "decoder"),
        Curve(head / TERA, "LM head"),
    )
    charts = [
        *_phase_plans(name, what, stages, "vision_prefill", units),
        Plan(f"{name}_components", f"{what} by component", "TFLOP", components),
        Plan(f"{name}_activation_memory", f"{what} activation memory", units.memory,
             (Curve(activations / units.memory_bytes),)),
        Plan(f"{name}_kv_cache", "KV cache after prefill", units.memory,
             (Curve(pl.col("prefill_kv_cache_bytes") / units.memory_bytes),)),
    ]  # fmt: skip
    if source.targets.ttft_s is not None:
        need = metrics.required_tflops_for_ttft(source.targets.ttft_s, stages)
        title = f"For the first token after {source.targets.ttft_s:g} s, {what.lower()}"
        per = pl.lit(1 / source.targets.ttft_s / TERA)
        charts.append(Plan("required_for_ttft", title, "TFLOP/s", (Curve(need),),
                           measured="vision_prefill", stages=stages, per=per))  # fmt: skip
    return charts


def _decode_plans(source: Source, units: Units) -> list[Plan]:
    stages = ("decode",)
    giga_steps = 1 / pl.col("decode_steps") / GIGA
    after_prefill = pl.col("prefill_kv_cache_bytes") / units.memory_bytes
    after_decoding = pl.col("decode_kv_cache_bytes") / units.memory_bytes
    by_shape: tuple[Curve, ...] = (
        Curve(after_prefill, "after prefill"),
        Curve(after_decoding, "after decoding"),
    )
    if units is PUBLISHED:
        by_shape += (Curve(after_prefill + after_decoding, "sum of both"),)
    charts = [
        Plan("decode_flops_per_step", "One decode step", "GFLOP",
             (Curve(metrics.flops(stages) * giga_steps),),
             measured="decode", stages=stages, per=giga_steps),
        *_phase_plans("decode", "Decode, all steps", stages, "decode", units),
        Plan("decode_activation_memory", "Decode activation memory", units.small,
             (Curve(pl.col("decode_activation_bytes") / units.small_bytes),)),
        Plan("decode_kv_cache", "KV cache after decoding", units.memory,
             (Curve(after_decoding),)),
        Plan("kv_cache_by_shape", "KV cache by input shape", units.memory, by_shape),
    ]  # fmt: skip
    if source.targets.tpot_s is not None:
        need = metrics.required_tflops_for_tpot(source.targets.tpot_s)
        title = f"For a token every {source.targets.tpot_s * 1000:g} ms, decode"
        per = 1 / pl.col("decode_steps") / source.targets.tpot_s / TERA
        charts.append(Plan("required_for_tpot", title, "TFLOP/s", (Curve(need),),
                           measured="decode", stages=stages, per=per))  # fmt: skip
    return charts


def _phase_plans(
    name: str, what: str, stages: tuple[str, ...], measured: str, units: Units
) -> list[Plan]:
    """Return the charts of all phases: FLOPs, traffic, intensity, and the split by cores."""
    moved = metrics.total("activation_io_bytes", stages) / units.traffic_bytes
    intensity = metrics.arithmetic_intensity(stages, per=units.per)
    cores = (
        Curve(metrics.total("tensor_flops", stages) / TERA, "tensor cores"),
        Curve(metrics.total("cuda_flops", stages) / TERA, "CUDA cores"),
    )
    return [
        Plan(f"{name}_flops", what, "TFLOP", (Curve(metrics.flops(stages) / TERA),),
             measured=measured, stages=stages),
        Plan(f"{name}_activation_io", f"{what} activation I/O", units.traffic, (Curve(moved),)),
        Plan(f"{name}_intensity", f"{what} arithmetic intensity", f"FLOP/{units.per}",
             (Curve(intensity),)),
        Plan(f"{name}_split", f"{what} on tensor and CUDA cores", "TFLOP", cores, True,
             folded=True),
    ]  # fmt: skip
