"""The published charts: a plan for each, by phase."""

from typing import NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.devices import TERA
from sweepengine.data.models import Model
from sweepengine.formulas.layers import decoder_ends
from sweepengine.query.sources import Source


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
    """Phases whose tensor FLOPs torch measured."""
    stage: str = ""
    """Phase of the report that shows it."""


def plans(source: Source, model: Model) -> list[Plan]:
    """Return the charts of the phases that the grid of a source reports."""
    charts = []
    for stage in source.stages:
        if stage == "vision":
            of_stage = _vision_plans()
        elif stage == "prefill":
            of_stage = _prefill_plans(source, model)
        else:
            of_stage = _decode_plans(source)
        charts += [plan._replace(stage=stage) for plan in of_stage]
    return charts


def _vision_plans() -> list[Plan]:
    stages = ("vision",)
    return [
        *_phase_plans("vision", "Vision", stages, "vision"),
        Plan("vision_activation_memory", "Vision activation memory", "GiB",
             (Curve(pl.col("vision_activation_bytes") / metrics.GIB),)),
    ]  # fmt: skip


def _prefill_plans(source: Source, model: Model) -> list[Plan]:
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
        *_phase_plans(name, what, stages, "vision_prefill"),
        Plan(f"{name}_components", f"{what} by component", "TFLOP", components),
        Plan(f"{name}_activation_memory", f"{what} activation memory", "GiB",
             (Curve(activations / metrics.GIB),)),
        Plan(f"{name}_kv_cache", "KV cache after prefill", "GiB",
             (Curve(pl.col("prefill_kv_cache_bytes") / metrics.GIB),)),
    ]  # fmt: skip
    if source.targets.ttft_s is not None:
        need = metrics.required_tflops_for_ttft(source.targets.ttft_s, stages)
        title = f"For the first token after {source.targets.ttft_s:g} s, {what.lower()}"
        charts.append(Plan("required_for_ttft", title, "TFLOP/s", (Curve(need),)))
    return charts


def _decode_plans(source: Source) -> list[Plan]:
    stages = ("decode",)
    per_step = metrics.flops(stages) / pl.col("decode_steps") / 1e9
    charts = [
        Plan("decode_flops_per_step", "One decode step", "GFLOP", (Curve(per_step),)),
        *_phase_plans("decode", "Decode, all steps", stages, "decode"),
        Plan("decode_activation_memory", "Decode activation memory", "MiB",
             (Curve(pl.col("decode_activation_bytes") / 2**20),)),
        Plan("decode_kv_cache", "KV cache after decoding", "GiB",
             (Curve(pl.col("decode_kv_cache_bytes") / metrics.GIB),)),
        Plan("kv_cache_by_shape", "KV cache by input shape", "GiB",
             (Curve(pl.col("prefill_kv_cache_bytes") / metrics.GIB, "after prefill"),
              Curve(pl.col("decode_kv_cache_bytes") / metrics.GIB, "after decoding"))),
    ]  # fmt: skip
    if source.targets.tpot_s is not None:
        need = metrics.required_tflops_for_tpot(source.targets.tpot_s)
        title = f"For a token every {source.targets.tpot_s * 1000:g} ms, decode"
        charts.append(Plan("required_for_tpot", title, "TFLOP/s", (Curve(need),)))
    return charts


def _phase_plans(name: str, what: str, stages: tuple[str, ...], measured: str) -> list[Plan]:
    """Return the charts of all phases: FLOPs, traffic, intensity, and the split by cores."""
    moved = metrics.total("activation_io_bytes", stages) * metrics.BITS_PER_BYTE / TERA
    intensity = metrics.arithmetic_intensity(stages, per="bit")
    cores = (
        Curve(metrics.total("tensor_flops", stages) / TERA, "tensor cores"),
        Curve(metrics.total("cuda_flops", stages) / TERA, "CUDA cores"),
    )
    return [
        Plan(f"{name}_flops", what, "TFLOP", (Curve(metrics.flops(stages) / TERA),),
             measured=measured, stages=stages),
        Plan(f"{name}_activation_io", f"{what} activation I/O", "Tb", (Curve(moved),)),
        Plan(f"{name}_intensity", f"{what} arithmetic intensity", "FLOP/bit", (Curve(intensity),)),
        Plan(f"{name}_split", f"{what} on tensor and CUDA cores", "TFLOP", cores, True),
    ]  # fmt: skip
