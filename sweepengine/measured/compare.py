"""Compare measured runs with predictions: MFU, MBU, predicted times, and the gap by operator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.costs.timeline import timeline
from sweepengine.costs.titles import DRAFT_PREFILL, PHASES_OF_STEPS
from sweepengine.data.acceptance import acceptance_text
from sweepengine.data.basis import basis
from sweepengine.data.devices import Device, load_device
from sweepengine.data.error_classes import Case
from sweepengine.data.errors import InputError
from sweepengine.data.files import known
from sweepengine.data.models import Model, load_model
from sweepengine.data.speeds import TimingTarget, on_devices, timing_target
from sweepengine.engine.frames import evaluate
from sweepengine.engine.named import drafts_of, named_drafts
from sweepengine.grid.points import checked_point, phases_of
from sweepengine.measured.benchmark_files import TOKENS
from sweepengine.measured.calibrated import Calibration, calibrate
from sweepengine.measured.measured_runs import (
    CLAIMED,
    read_runs,
    runs_of,
)
from sweepengine.measured.run_points import model_of, points_of, served
from sweepengine.search.declarations import checked
from sweepengine.search.options import CompareOptions

GAP_RUNS = 200
"""Most runs whose gap is split by operator; of more runs every n-th is taken."""
SAME_FIGURE = 0.02
"""Relative difference up to which two figures of data sheets count as equal."""
COMPARED_TIMES = ("ttft", "tpot", "whole")


class Compared(NamedTuple):
    """Measured runs and their predictions."""

    model: Model
    device: Device
    runs: pl.DataFrame
    """A row per run: its inputs; for each of `COMPARED_TIMES` `measured_X_s`, `predicted_X_s` and
    `X_ratio` (predicted / measured); for each phase `X_numerator_flops`, `X_numerator_bytes`,
    `X_peak_flops_per_s`, `X_mfu` and `X_mbu` per device, where its time was measured."""
    gap: pl.DataFrame
    """Share, by phase and operator, of the gap between measured time and the data sheet's least
    time; `unexplained` is measured minus predicted time."""
    warnings: tuple[str, ...]
    calibration: Calibration | None
    basis: str
    assumed: tuple[str, ...]
    """Assumptions."""

    def as_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return {
            "model": self.model.name,
            "device": self.device.name,
            "runs": self.runs.to_dicts(),
            "gap": self.gap.to_dicts(),
            "warnings": self.warnings,
            "calibration": self.calibration._asdict() if self.calibration else None,
            "basis": self.basis,
            "assumed": self.assumed,
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
        Device of the runs.
    model : Model, str or Path, optional
        Model of the runs; a benchmark's JSON may name a shipped one.
    options : CompareOptions

    Raises
    ------
    InputError
        When the runs, the model or the device are not valid.
    """
    checked("compare", options)
    loaded = load_model(model) if model is not None else None
    kind = load_device(device)
    table = (
        runs_of(runs, "runs")
        if isinstance(runs, pl.DataFrame)
        else read_runs(runs, kind.name, options.framework)
    )
    table = served(table, options)
    loaded = loaded or load_model(model_of(table))
    timing = timing_target(kind, options.framework, options.times)
    points, loaded = named_drafts(points_of(table, loaded, device, options), loaded)
    drafts = drafts_of(points)
    case = Case(speculative=bool(drafts))
    try:
        costs = evaluate(points, loaded, options.times or "")
    except InputError as error:
        raise InputError(f"{table.source}: {error}") from None
    joined = _measured(table.measured, costs, loaded, kind)
    if inconsistent := _too_fast(joined, kind, loaded):
        raise InputError(f"{table.source}: {inconsistent}")
    timed = on_devices(loaded, [kind], options.times or "")
    return Compared(
        model=loaded,
        device=kind,
        runs=joined,
        gap=_gap(points, joined, timed, timing),
        warnings=(*_sparse(kind), *_reported(joined)),
        calibration=calibrate(table.source, joined) if options.calibrate else None,
        basis=basis(loaded.architecture, timing, table.continuous, case),
        assumed=(*table.assumed, *(acceptance_text(*draft) for draft in drafts)),
    )


def _measured(
    measured: pl.DataFrame, costs: pl.DataFrame, model: Model, device: Device
) -> pl.DataFrame:
    """Add predictions, ratios, MFU and MBU to runs.

    Parameters
    ----------
    measured : polars.DataFrame, N rows
        `Runs.measured`, seconds.
    costs : polars.DataFrame, N rows
        The same runs evaluated.
    model : Model
    device : Device
    """
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
    phases = phases_of(model)
    seconds = {
        "vision": run["vision"],
        "prefill": pl.coalesce(run["prefill"], pl.when(static).then(ttft)),
        "decode": decode,
    }
    # A TTFT without a separate time of the towers is that of both phases, and so is its numerator.
    before_decode = [phase for phase in phases if phase != "decode"]
    bandwidth = metrics.bandwidth(device)
    shares = []
    for phase in phases:
        joint = before_decode if phase == "prefill" else [phase]
        separate = run["prefill"].is_not_null() | pl.lit(len(joint) == 1)
        flops = pl.when(separate).then(pl.col(f"{phase}_tensor_flops")).otherwise(
            metrics.total("tensor_flops", joint)
        )  # fmt: skip
        moved = pl.when(separate).then(metrics.moved_bytes([phase])).otherwise(
            metrics.moved_bytes(joint)
        )  # fmt: skip
        peak, measured_phase = metrics.tensor_peak(device, phase), seconds[phase].is_not_null()
        shares += [
            pl.when(measured_phase).then(flops).alias(f"{phase}_numerator_flops"),
            pl.when(measured_phase).then(moved).alias(f"{phase}_numerator_bytes"),
            peak.alias(f"{phase}_peak_flops_per_s"),
            (flops / (seconds[phase] * peak)).alias(f"{phase}_mfu"),
            (moved / (seconds[phase] * bandwidth)).alias(f"{phase}_mbu"),
        ]
    work, bytes_all = metrics.total("tensor_flops", phases), metrics.moved_bytes(phases)
    whole = pl.col("measured_whole_s")
    peak = metrics.tensor_peak(device, "decode")
    return frame.with_columns(
        *shares,
        (work / (whole * peak)).alias("whole_mfu"),
        (bytes_all / (whole * bandwidth)).alias("whole_mbu"),
    )


def _sparse(device: Device) -> list[str]:
    """Warnings of peaks that are twice the dense peak of a shipped device of equal bandwidth."""
    return [
        f"{device.name}: its {kind} peak is twice that of {shipped.name}, at the same bandwidth: "
        "check whether it is the sparse peak (MFU uses dense peaks)"
        for shipped in map(load_device, known("devices"))
        if abs(shipped.bytes_per_s / device.bytes_per_s - 1) < SAME_FIGURE
        for kind in shipped.peaks
        if abs(device.peaks.get(kind, 0.0) / shipped.peaks[kind] / 2 - 1) < SAME_FIGURE
    ]


def _too_fast(runs: pl.DataFrame, device: Device, model: Model) -> str:
    """What is inconsistent of the first run that is faster than the peaks allow; empty: none is."""
    shares = [
        f"{phase}_{kind}" for phase in (*phases_of(model), "whole") for kind in ("mfu", "mbu")
    ]
    for row, run in enumerate(runs.select("serving", "devices", *shares).rows(named=True)):
        beyond = {name: run[name] for name in shares if (run[name] or 0.0) > 1 + SAME_FIGURE}
        if beyond:
            name, share = max(beyond.items(), key=lambda item: item[1])
            return (
                f"run {row}: {name.replace('_', ' ').upper()} of {share:.2f}: faster than "
                f"{run['devices']} {device.name} can be with a batch that is served "
                f"{run['serving']}: check the device, --layout, the batch size and --serving"
            )
    return ""


def _reported(runs: pl.DataFrame) -> list[str]:
    """Warnings of reported MFUs that differ from ours."""
    warnings = []
    for row, (reported, ours) in enumerate(runs.select(f"run_{CLAIMED}", "whole_mfu").rows()):
        if reported and ours:
            ratio = ours / reported
            if abs(ratio / 2 - 1) < 5 * SAME_FIGURE:
                warnings.append(f"run {row}: the reported MFU is half of ours: check whether it "
                                "uses the sparse peak")  # fmt: skip
            elif ratio < 0.6 or ratio > 1.7:
                warnings.append(f"run {row}: the reported MFU is {reported:.3f}, ours {ours:.3f}: "
                                "check its count of FLOPs and of devices")  # fmt: skip
    return warnings


def _gap(
    points: pl.DataFrame, runs: pl.DataFrame, model: Model, timing: TimingTarget
) -> pl.DataFrame:
    """`Compared.gap`, the mean over runs.

    Parameters
    ----------
    points : polars.DataFrame, N rows
        Inputs of the runs.
    runs : polars.DataFrame, N rows
        `Compared.runs`.
    model : Model
        On the device.
    timing : TimingTarget
    """
    device = {"device": model.device_names[0]}
    sums: dict[tuple[str, str], float] = {}
    counts: dict[str, int] = {}
    for i in range(0, runs.height, -(-runs.height // GAP_RUNS)):
        point = checked_point(model, points.row(i, named=True) | device)
        operators = timeline(model, point, timing).operators
        for span, (measured, predicted, phases) in _times_of(runs.row(i, named=True)).items():
            timed = [operator for operator in operators if operator.stage in phases]
            gap = measured - sum(operator.seconds * operator.of_peak for operator in timed)
            if gap <= 0:
                continue
            counts[span] = counts.get(span, 0) + 1
            shares = [(item.operator, item.seconds * (1 - item.of_peak)) for item in timed]
            host = predicted - sum(operator.seconds for operator in timed)
            shares += [("host, overlap and waiting", host), ("unexplained", measured - predicted)]
            for name, seconds in shares:
                sums[span, name] = sums.get((span, name), 0.0) + seconds / gap
    rows = [
        {"stage": span, "operator": name, "of_gap": share / counts[span]}
        for (span, name), share in sums.items()
    ]
    schema = {"stage": pl.String, "operator": pl.String, "of_gap": pl.Float64}
    return pl.DataFrame(rows, schema=schema).sort("stage", "of_gap", descending=[True, True])


def _times_of(run: Mapping[str, Any]) -> dict[str, tuple[float, float, tuple[str, ...]]]:
    """Measured and predicted seconds of a run by phase or "whole", and the phases they span."""
    steps, before = run["decode_steps"], ("vision", "prefill", DRAFT_PREFILL)
    times: dict[str, tuple[float, float, tuple[str, ...]]] = {}
    if run["measured_ttft_s"]:
        times["prefill"] = (run["measured_ttft_s"], run["predicted_ttft_s"], before)
    if run["measured_tpot_s"] and steps:
        spent = (run["measured_tpot_s"] * steps, run["predicted_tpot_s"] * steps)
        times["decode"] = (*spent, PHASES_OF_STEPS)
    if not times and run["measured_whole_s"]:
        whole = run["measured_whole_s"], run["predicted_whole_s"]
        times["whole"] = (*whole, (*before, *PHASES_OF_STEPS))
    return times
