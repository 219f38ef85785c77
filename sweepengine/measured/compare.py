"""Measured runs beside the model: shares of the peaks, predicted times, and where the gap lies."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.costs.timeline import timeline
from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, basis, on_devices, timing_target
from sweepengine.engine.frames import evaluate
from sweepengine.grid.axes import AXES
from sweepengine.grid.points import checked_point, phases_of
from sweepengine.grid.shorthand import joint_values
from sweepengine.measured.calibrated import Calibration, calibrate
from sweepengine.measured.measured_runs import (
    CLAIMED,
    TOKENS,
    Runs,
    read_runs,
    runs_of,
    shipped_model,
)
from sweepengine.search.declarations import checked
from sweepengine.search.options import CompareOptions

GAP_RUNS = 200
"""Runs whose gap is looked at operator by operator; of more evenly spread ones."""
SAME = 0.02
"""Part by which two figures of data sheets may differ and be the same."""
COMPARED_TIMES = ("ttft", "tpot", "whole")


class Compared(NamedTuple):
    """Runs beside what the model says of them."""

    model: Model
    device: Device
    runs: pl.DataFrame
    """A row a run: its inputs; for each of `COMPARED_TIMES` `measured_X_s`, `predicted_X_s` and
    `X_ratio` (predicted / measured); for each stage `X_numerator_flops`, `X_numerator_bytes`,
    `X_peak_flops_per_s`, `X_mfu` and `X_mbu` of a device where its time was measured."""
    gap: pl.DataFrame
    """By stage and operator: part of what runs take beyond the data sheet's least time that it
    explains; `unexplained` is what measured times have beyond predicted ones."""
    warnings: tuple[str, ...]
    calibration: Calibration | None
    basis: str
    said: tuple[str, ...]
    """What was assumed."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "model": self.model.name,
            "device": self.device.name,
            "runs": self.runs.to_dicts(),
            "gap": self.gap.to_dicts(),
            "warnings": self.warnings,
            "calibration": self.calibration._asdict() if self.calibration else None,
            "basis": self.basis,
            "assumed": self.said,
        }


def find_comparison(
    runs: Path | pl.DataFrame,
    device: Device | str | Path,
    model: Model | str | Path | None = None,
    options: CompareOptions = CompareOptions(),  # noqa: B008 -- immutable
) -> Compared:
    """Compare runs with predictions.

    Parameters
    ----------
    runs : Path or polars.DataFrame
        CSV or Parquet, or the JSON of a serving benchmark (`measured.measured_runs`).
    device : Device, str or Path
        That they ran on.
    model : Model, str or Path, optional
        That they ran; a benchmark's JSON may name a shipped one.
    options : CompareOptions

    Raises
    ------
    InputError
        When the runs, the model or the device are not valid.
    """
    checked("compare", options)
    loaded = load_model(model) if model is not None else None
    found = runs_of(runs, "runs") if isinstance(runs, pl.DataFrame) else read_runs(runs)
    loaded = loaded or load_model(_model_of(found))
    card = load_device(device)
    place = timing_target(card, options.framework, options.times)
    points = _points(found, loaded, device, options)
    try:
        costs = evaluate(points, loaded, options.times or "")
    except InputError as error:
        raise InputError(f"{found.source}: {error}") from None
    joined = _measured(found.measured, costs, loaded, card)
    continuous = found.continuous
    warnings = (*_sparse(card), *_too_fast(joined, costs, card, loaded))
    fitted = calibrate(found.source, joined) if options.calibrate else None
    assumed = (
        *found.said,
        f"serving: {'continuous' if continuous else 'static unless a run says'}",
    )
    timed = on_devices(loaded, [card], options.times or "")
    return Compared(
        model=loaded,
        device=card,
        runs=joined,
        gap=_gap(points, joined, timed, place),
        warnings=warnings,
        calibration=fitted,
        basis=basis(loaded.architecture, place, continuous),
        said=assumed,
    )


def _model_of(runs: Runs) -> str:
    """The shipped model that runs name."""
    if runs.model and (found := shipped_model(runs.model)):
        return found
    said = f' and "{runs.model}" is none of the shipped ones' if runs.model else ""
    raise InputError(
        f"{runs.source}: no --model is said{said}: expected --model, a file or one of "
        f"{', '.join(known('models'))}"
    )


def _points(
    runs: Runs, model: Model, device: Device | str | Path, options: CompareOptions
) -> pl.DataFrame:
    """Inputs of runs on the device; prompts of models with vision are text beside an image."""
    frame = runs.inputs
    if model.has_vision and "prompt_tokens" in frame.columns:
        frame = frame.rename({"prompt_tokens": "text_tokens"})
    named = device.name if isinstance(device, Device) else str(device)
    extra: dict[str, Any] = {"device": named, "framework": options.framework, "decode_steps": 100}
    if options.layout is not None:
        sizes = joint_values(model, "layout", options.layout, "compare: layout")
        if "layout" not in frame.columns:
            extra |= zip(AXES["layout"].columns, sizes, strict=True)
    return frame.with_columns(
        pl.lit(value).alias(name) for name, value in extra.items() if name not in frame.columns
    )


def _measured(
    measured: pl.DataFrame, costs: pl.DataFrame, model: Model, device: Device
) -> pl.DataFrame:
    """Runs with predictions, ratios and shares of the peaks."""
    frame = costs.hstack(measured.rename({name: f"run_{name}" for name in measured.columns}))
    steps, batch = pl.col("decode_steps"), pl.col("batch_size")
    run = {
        name: pl.col(f"run_{name}_seconds")
        for name in (*COMPARED_TIMES, "vision", "prefill", "decode")
    }
    alone = run["prefill"] + (run["vision"] if model.has_vision else 0.0)
    static = pl.col("serving") == "static"
    decode = pl.coalesce(run["decode"], run["tpot"] * steps)
    ttft = pl.coalesce(run["ttft"], pl.when(static).then(alone))
    tpot = pl.coalesce(run["tpot"], pl.when(steps > 0).then(run["decode"] / steps))
    by_rate = batch * steps / pl.col(f"run_{TOKENS}")
    frame = frame.with_columns(
        measured_ttft_s=ttft,
        measured_tpot_s=tpot,
        measured_whole_s=pl.coalesce(run["whole"], ttft + decode, by_rate),
        predicted_ttft_s=pl.col("ttft_seconds"),
        predicted_tpot_s=pl.when(steps > 0).then(pl.col("tpot_seconds")),
        predicted_whole_s=pl.col("ttft_seconds") + steps * pl.col("tpot_seconds"),
    ).with_columns(
        (pl.col(f"predicted_{name}_s") / pl.col(f"measured_{name}_s")).alias(f"{name}_ratio")
        for name in COMPARED_TIMES
    )
    stages = phases_of(model)
    seconds = {
        "vision": run["vision"],
        "prefill": pl.coalesce(run["prefill"], pl.when(static).then(ttft)),
        "decode": decode,
    }
    # A TTFT without the towers' own time is of both: work of both is in the numerator.
    both = [stage for stage in stages if stage != "decode"]
    parts = {"vision": ["vision"], "decode": ["decode"]}
    found = []
    for stage in stages:
        joined = both if stage == "prefill" else parts[stage]
        apart = run["prefill"].is_not_null() | pl.lit(stage != "prefill" or len(both) == 1)
        flops = pl.when(apart).then(pl.col(f"{stage}_tensor_flops")).otherwise(
            metrics.total("tensor_flops", joined)
        )  # fmt: skip
        moved = pl.when(apart).then(metrics.moved_bytes([stage])).otherwise(
            metrics.moved_bytes(joined)
        )  # fmt: skip
        peak = metrics.tensor_peak(device, stage)
        found += [
            pl.when(seconds[stage].is_not_null()).then(flops).alias(f"{stage}_numerator_flops"),
            pl.when(seconds[stage].is_not_null()).then(moved).alias(f"{stage}_numerator_bytes"),
            peak.alias(f"{stage}_peak_flops_per_s"),
            (flops / (seconds[stage] * peak)).alias(f"{stage}_mfu"),
            (moved / (seconds[stage] * device.bytes_per_s)).alias(f"{stage}_mbu"),
        ]
    work, bytes_all = metrics.total("tensor_flops", stages), metrics.moved_bytes(stages)
    whole = pl.col("measured_whole_s")
    peak = metrics.tensor_peak(device, "decode")
    return frame.with_columns(
        *found,
        (work / (whole * peak)).alias("whole_mfu"),
        (bytes_all / (whole * device.bytes_per_s)).alias("whole_mbu"),
    )


def _sparse(device: Device) -> list[str]:
    """Whether a device file's peak is twice the dense one of a shipped device that it resembles."""
    return [
        f"{device.name}: its {kind} peak is twice that of {other.name}, which has the same "
        "bandwidth: is it the sparse one? MFU is of dense peaks"
        for other in map(load_device, known("devices"))
        if abs(other.bytes_per_s / device.bytes_per_s - 1) < SAME
        for kind in other.peaks
        if abs(device.peaks.get(kind, 0.0) / other.peaks[kind] / 2 - 1) < SAME
    ]


def _too_fast(runs: pl.DataFrame, costs: pl.DataFrame, device: Device, model: Model) -> list[str]:
    """Runs that are faster than peaks allow, and reports whose MFU has another denominator."""
    found = []
    shares = [
        f"{stage}_{kind}" for stage in (*phases_of(model), "whole") for kind in ("mfu", "mbu")
    ]
    for row, run in enumerate(runs.select(*shares, f"run_{CLAIMED}").rows(named=True)):
        beyond = {name: run[name] for name in shares if (run[name] or 0.0) > 1 + SAME}
        if beyond:
            name, share = max(beyond.items(), key=lambda one: one[1])
            found.append(
                f"run {row}: {name.replace('_', ' ').upper()} of {share:.2f}: faster than "
                f"{runs['devices'][row]} {device.name} can be: is a world size forgotten "
                "(--layout), or a batch?"
            )
        claimed, ours = run[f"run_{CLAIMED}"], run["whole_mfu"]
        if claimed and ours:
            ratio = ours / claimed
            if abs(ratio / 2 - 1) < 5 * SAME:
                found.append(f"run {row}: its MFU is half of ours: is its peak the sparse one?")
            elif ratio < 0.6 or ratio > 1.7:
                found.append(f"run {row}: its MFU of {claimed:.3f} is {ours:.3f} by this count: "
                             "another numerator, or a world size")  # fmt: skip
    return found


def _gap(
    points: pl.DataFrame,
    runs: pl.DataFrame,
    model: Model,
    place: TimingTarget,
) -> pl.DataFrame:
    """Part of each operator in what runs take beyond the least time, mean over runs."""
    chosen = range(0, runs.height, -(-runs.height // GAP_RUNS))
    on = {"device": model.device_names[0]}
    kept: dict[tuple[str, str], float] = {}
    judged: dict[str, int] = {}
    for i in chosen:
        point = checked_point(model, points.row(i, named=True) | on)
        run = runs.row(i, named=True)
        operators = timeline(model, point, place).operators
        for stage, (measured, predicted, parts) in _times_of(run).items():
            mine = [one for one in operators if one.stage in parts]
            gap = measured - sum(one.seconds * one.of_peak for one in mine)
            if gap <= 0:
                continue
            judged[stage] = judged.get(stage, 0) + 1
            shares = [(one.operator, one.seconds * (1 - one.of_peak)) for one in mine]
            around = predicted - sum(one.seconds for one in mine)
            shares += [("host and waiting", around), ("unexplained", measured - predicted)]
            for name, seconds in shares:
                kept[stage, name] = kept.get((stage, name), 0.0) + seconds / gap
    rows = [
        {"stage": stage, "operator": name, "of_gap": part / judged[stage]}
        for (stage, name), part in kept.items()
    ]
    schema = {"stage": pl.String, "operator": pl.String, "of_gap": pl.Float64}
    return pl.DataFrame(rows, schema=schema).sort("stage", "of_gap", descending=[True, True])


def _times_of(run: Mapping[str, Any]) -> dict[str, tuple[float, float, tuple[str, ...]]]:
    """Measured and predicted seconds of a run, and the stages whose operators they hold."""
    steps, before = run["decode_steps"], ("vision", "prefill")
    found: dict[str, tuple[float, float, tuple[str, ...]]] = {}
    if run["measured_ttft_s"]:
        found["prefill"] = (run["measured_ttft_s"], run["predicted_ttft_s"], before)
    if run["measured_tpot_s"] and steps:
        spent = (run["measured_tpot_s"] * steps, run["predicted_tpot_s"] * steps)
        found["decode"] = (*spent, ("decode",))
    if not found and run["measured_whole_s"]:
        whole = run["measured_whole_s"], run["predicted_whole_s"]
        found["whole"] = (*whole, (*before, "decode"))
    return found
