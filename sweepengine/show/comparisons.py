"""The answer of `compare` in a terminal."""

from typing import Any

import polars as pl

from sweepengine.grid.points import phases_of
from sweepengine.grid.shorthand import layout_text
from sweepengine.measured.compare import COMPARED_TIMES, Compared
from sweepengine.show.cells import cell
from sweepengine.show.terminal import print_table, say

TIME_TITLES = {"ttft": "TTFT", "tpot": "TPOT", "whole": "whole request"}


def show_comparison(comparison: Compared, top: int) -> None:
    """Print assumptions, warnings, `top` runs, MFU and MBU, the gap, and a calibration."""
    runs, model = comparison.runs, comparison.model
    for text in comparison.assumed:
        say(f"assumed: {text}")
    for text in comparison.warnings:
        say(f"warning: {text}")
    rows = []
    for i, run in enumerate(runs.head(top).to_dicts()):
        cells = [str(i), _workload(run)]
        for name in COMPARED_TIMES:
            cells += [_ms(run[f"measured_{name}_s"]), _ms(run[f"predicted_{name}_s"]),
                      _number(run[f"{name}_ratio"], ".2f")]  # fmt: skip
        rows.append(tuple(cells))
    columns = ["run", "workload"]
    for name in COMPARED_TIMES:
        columns += [f"{TIME_TITLES[name]} ms", "predicted ms", "ratio"]
    keep = [i for i, _ in enumerate(columns) if i < 2 or any(row[i - (i - 2) % 3] for row in rows)]
    shown = f", {top} of {runs.height}" if runs.height > top else ""
    print_table(f"{model.name} on {comparison.device.name}{shown}",
                [tuple(row[i] for i in keep) for row in rows],
                tuple(columns[i] for i in keep))  # fmt: skip
    _show_utilization(comparison, top)
    if comparison.gap.height:
        say()
        gap = [(row["stage"], row["operator"], f"{row['of_gap']:.1%}")
               for row in comparison.gap.to_dicts() if abs(row["of_gap"]) >= 0.005]  # fmt: skip
        print_table("Time beyond the data sheet's lower bound, mean over runs", gap,
                    ("phase", "operator", "share"))  # fmt: skip
    if (fit := comparison.calibration) is not None:
        say(f"calibrated on {fit.runs} runs: {fit.factor:.3f} x predicted + {fit.host_ms:.3f} ms "
            f"per step ({TIME_TITLES[fit.of]})")  # fmt: skip
        before = f"{fit.before_median:.1f} % median, {fit.before_mean:.1f} % mean"
        after = f"{fit.left_median:.1f} % median, {fit.left_mean:.1f} % mean"
        say(f"error before calibration {before}; after it, on held-out runs, {after}")
    say(comparison.basis)


def _show_utilization(comparison: Compared, top: int) -> None:
    """Print MFU and MBU of phases, with the counts and peaks that they follow from."""
    stages = [stage for stage in phases_of(comparison.model)
              if comparison.runs[f"{stage}_mfu"].is_not_null().any()]  # fmt: skip
    rows = []
    for i, run in enumerate(comparison.runs.head(top).to_dicts()):
        rows += [
            (
                str(i),
                stage,
                f"{run[f'{stage}_numerator_flops']:,}",
                f"{run[f'{stage}_peak_flops_per_s'] / 1e12:,g}",
                f"{run[f'{stage}_mfu']:.1%}",
                f"{run[f'{stage}_numerator_bytes']:,.0f}",
                f"{run[f'{stage}_mbu']:.1%}",
            )
            for stage in stages
            if run[f"{stage}_mfu"] is not None
        ]
    if rows:
        say()
        print_table("MFU and MBU of the busiest device", rows,
                    ("run", "phase", "tensor FLOPs", "dense peak TFLOP/s", "MFU", "bytes moved",
                     "MBU"))  # fmt: skip
    whole = comparison.runs.drop_nulls("whole_mfu")
    if whole.height:
        mfu, mbu = whole.select(pl.median("whole_mfu", "whole_mbu")).row(0)
        say(f"whole requests: median MFU {mfu:.1%}, median MBU {mbu:.1%}")


def _workload(run: dict[str, Any]) -> str:
    prompt = run.get("prompt_tokens", run["context_tokens"])
    text = f"prompt {prompt:,}, K {run['decode_steps']:,}, B {run['batch_size']:,}"
    layout = layout_text(run)
    return f"{text}, {layout}" if layout else text


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else cell(float(f"{seconds * 1000:.4g}"))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"
