"""A host constant and one factor from measured runs, judged on runs that no fit saw."""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.errors import InputError

LEAST = 3
"""Runs with a measured TPOT, or whole time, that a fit needs."""
HUBER = 0.1
"""Of log ratios, as for rates."""
LARGEST_HOST_S = 1.0

Floats = NDArray[np.float64]


class Calibration(NamedTuple):
    """`factor * predicted + host` for each step, fitted to measured times between tokens."""

    of: str
    """Which time: "tpot", or "whole" a token where runs have no TPOT."""
    runs: int
    host_ms: float
    """Of each step."""
    factor: float
    """On predicted times."""
    before_median: float
    """Error of the prediction itself, %."""
    before_mean: float
    left_median: float
    """Error of each run by a fit to all others, %."""
    left_mean: float
    all_median: float
    """Of the fit to all runs, on the same runs, %."""


def calibrate(source: str, runs: pl.DataFrame) -> Calibration:
    """Fit runs of `compare`.

    Raises
    ------
    InputError
        When there are too few runs, or scipy is not installed.
    """
    of = "tpot"
    known = runs.drop_nulls(["measured_tpot_s", "predicted_tpot_s"])
    if known.height < LEAST:
        of, known = "whole", runs.drop_nulls("measured_whole_s").filter(pl.col("decode_steps") > 0)
    if known.height < LEAST:
        raise InputError(
            f"{source}: {known.height} runs with a measured time: expected at least {LEAST} "
            "for --calibrate"
        )
    steps = known["decode_steps"].to_numpy() if of == "whole" else np.ones(known.height)
    predicted = known[f"predicted_{of}_s"].to_numpy() / steps
    measured = known[f"measured_{of}_s"].to_numpy() / steps
    host, factor = _fit(predicted, measured)
    left = np.empty(known.height)
    for i in range(known.height):
        others = np.arange(known.height) != i
        own_host, own = _fit(predicted[others], measured[others])
        left[i] = _errors(own * predicted[i : i + 1] + own_host, measured[i : i + 1])[0]
    before, after = _errors(predicted, measured), _errors(factor * predicted + host, measured)
    return Calibration(
        of, known.height, host * 1000, factor, *_summary(before), *_summary(left),
        _summary(after)[0],
    )  # fmt: skip


def _fit(predicted: Floats, measured: Floats) -> tuple[float, float]:
    """Host seconds of a step, and the factor: Huber's loss of log ratios."""
    try:
        from scipy.optimize import least_squares
    except ModuleNotFoundError:
        raise InputError(
            "compare: scipy is not installed: expected the extra, pip install "
            "'sweepengine[silicon]'"
        ) from None

    def off(values: Floats) -> Any:
        return np.log((np.exp(values[1]) * predicted + values[0]) / measured)

    start = [1e-5, float(np.log(np.median(measured / predicted)))]
    bounds = ([0.0, np.log(0.01)], [LARGEST_HOST_S, np.log(100.0)])
    start[1] = float(np.clip(start[1], np.log(0.011), np.log(99.0)))
    found = least_squares(off, start, loss="huber", f_scale=HUBER, bounds=bounds,
                          x_scale=[1e-4, 0.1])  # fmt: skip
    return float(found.x[0]), float(np.exp(found.x[1]))


def _errors(predicted: Floats, measured: Floats) -> Floats:
    found: Floats = np.abs(predicted / measured - 1) * 100
    return found


def _summary(errors: Floats) -> tuple[float, float]:
    return float(np.median(errors)), float(errors.mean())
