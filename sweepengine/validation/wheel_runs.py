"""Serving rows of the extra `silicon` as judged runs."""

from math import isnan
from typing import NamedTuple

import numpy as np

from sweepengine.data.error_classes import DATA_SHEET, FACTORS, FAMILY, GENERATION
from sweepengine.data.serving_engines import BURSTS
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.grid.shorthand import layout_name
from sweepengine.validation.judged import JudgedRun
from sweepengine.validation.served import Rows, Served
from sweepengine.validation.served_constants import medians_of, predicted_left_out
from sweepengine.validation.served_rows import FILE

MILLI = 1e3


class WheelRuns(NamedTuple):
    """Rows whose requests do not queue for a full engine."""

    runs: tuple[JudgedRun, ...]
    """As predicted by default."""
    variants: tuple[JudgedRun, ...]
    """The held-out rows of aggregated serving once more, predicted with less: without their family,
    without their generation, and by the data sheet."""


def wheel_runs(rows: Rows) -> WheelRuns:
    """Judge rows; constants are fitted anew for families and generations that are left out."""
    kept = [row for row in rows.served if not row.full]
    runs = [_run(row, FACTORS if row.has_factors else FAMILY, row.tpot, row.ttft) for row in kept]
    variants = []
    for framework in FRAMEWORKS:
        mine = [row for row in kept if row.engine == framework and row.aggregated]
        fitted = [*mine, *medians_of(framework)]
        training = np.array([not row.judged for row in fitted])
        for basis, groups in (
            (FAMILY, [row.family for row in fitted]),
            (GENERATION, [row.family.generation for row in fitted]),
        ):
            tpot, ttft = (of[: len(mine)] for of in predicted_left_out(fitted, training, groups))
            variants += [
                _run(row, basis, *times)
                for row, *times in zip(mine, tpot.tolist(), ttft.tolist(), strict=True)
                if row.judged and (basis == GENERATION or row.has_factors)
            ]
        variants += [
            _run(row, DATA_SHEET, row.sheet_tpot, row.sheet_ttft) for row in mine if row.judged
        ]
    return WheelRuns(tuple(runs), tuple(variants))


def _run(row: Served, basis: str, tpot: float, ttft: float) -> JudgedRun:
    """A row predicted so; times in ms."""
    return JudgedRun(
        collection="wheel",
        source=FILE,
        engine=row.engine,
        device=row.device,
        model=row.model,
        kind=row.kind,
        layout=layout_name(row.layout),
        load="one" if row.single else "burst" if row.load == BURSTS else "steady",
        speculative=False,
        disaggregated=not row.aggregated,
        judging=row.judged,
        ttft_measured=row.measured_ttft / MILLI,
        ttft_predicted=None if isnan(ttft) else ttft / MILLI,
        tpot_measured=row.measured_tpot / MILLI,
        tpot_predicted=tpot / MILLI,
        basis=basis,
    )
