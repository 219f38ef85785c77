"""Fit a host constant and one factor to measured runs; errors are measured on held-out runs."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.errors import InputError

MIN_RUNS = 3
"""Least runs with a measured TPOT, or whole time, for a fit."""
HUBER_SCALE = 0.1
"""Scale of Huber's loss, in log ratios; the same as for kernel rates."""
MAX_HOST_S = 1.0

Floats = NDArray[np.float64]


class Calibration(NamedTuple):
    """The fit `measured = factor * predicted + host` of the time per token."""

    of: str
    """Fitted time: "tpot", or "whole" (per token) where runs have no TPOT."""
    runs: int
    host_ms: float
    """Milliseconds added to each decode step."""
    factor: float
    """Factor on predicted times."""
    before_median: float
    """Median error of the prediction before the fit, %; `before_mean` is the mean."""
    before_mean: float
    left_median: float
    """Median held-out error, %: each run is predicted by a fit to the others."""
    left_mean: float
    all_median: float
    """Median error of the fit to all runs, on these runs, %."""


def calibrate(source: str, runs: pl.DataFrame) -> Calibration:
    """Fit the runs of `compare`; `source` names them in messages.

    Raises
    ------
    InputError
        When there are too few runs, or scipy is not installed.
    """
    of = "tpot"
    known = runs.drop_nulls(["measured_tpot_s", "predicted_tpot_s"])
    if known.height < MIN_RUNS:
        of, known = "whole", runs.drop_nulls("measured_whole_s").filter(pl.col("decode_steps") > 0)
    if known.height < MIN_RUNS:
        raise InputError(
            f"{source}: {known.height} runs with a measured time: expected at least {MIN_RUNS} "
            "for --calibrate"
        )
    steps = known["decode_steps"].to_numpy() if of == "whole" else np.ones(known.height)
    predicted = known[f"predicted_{of}_s"].to_numpy() / steps
    measured = known[f"measured_{of}_s"].to_numpy() / steps
    host, factor = _fit(predicted, measured)
    held_out = np.empty(known.height)
    for i in range(known.height):
        rest = np.arange(known.height) != i
        rest_host, rest_factor = _fit(predicted[rest], measured[rest])
        alone = rest_factor * predicted[i : i + 1] + rest_host
        held_out[i] = _errors(alone, measured[i : i + 1])[0]
    before, after = _errors(predicted, measured), _errors(factor * predicted + host, measured)
    return Calibration(of, known.height, host * 1000, factor, *_summary(before),
                       *_summary(held_out), _summary(after)[0])  # fmt: skip


def _fit(predicted: Floats, measured: Floats) -> tuple[float, float]:
    """Host seconds per step, and the factor, by Huber's loss of log ratios."""
    try:
        from scipy.optimize import least_squares
    except ModuleNotFoundError:
        raise InputError(
            "compare: scipy is not installed: expected the extra, pip install "
            "'sweepengine[silicon]'"
        ) from None

    def log_ratios(values: Floats) -> Any:
        return np.log((np.exp(values[1]) * predicted + values[0]) / measured)

    start = [1e-5, float(np.log(np.median(measured / predicted)))]
    bounds = ([0.0, np.log(0.01)], [MAX_HOST_S, np.log(100.0)])
    start[1] = float(np.clip(start[1], np.log(0.011), np.log(99.0)))
    fit = least_squares(log_ratios, start, loss="huber", f_scale=HUBER_SCALE, bounds=bounds,
                        x_scale=[1e-4, 0.1])  # fmt: skip
    return float(fit.x[0]), float(np.exp(fit.x[1]))


def _errors(predicted: Floats, measured: Floats) -> Floats:
    errors: Floats = np.abs(predicted / measured - 1) * 100
    return errors


def _summary(errors: Floats) -> tuple[float, float]:
    """Median and mean."""
    return float(np.median(errors)), float(errors.mean())
