"""Fits the constants of serving engines to the training half of the serving rows.

    python -m sweepengine.validation.served_constants

prints the constants in the format of data/serving_engines/*.toml. The loss is Huber's on log
ratios. TPOT determines `host_ms` and `interference`; TTFT determines `first_ms` and `burst`, for
each load.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize

from sweepengine.data.speeds import BURSTS, STEADY
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.validation.calibration import HUBER
from sweepengine.validation.served import as_frame, read_rows

LOADS = (STEADY, BURSTS)
START = {"tpot": (0.4, 1.0, 1.0), "ttft": (60.0, 0.1, 0.1)}


def _loss(ratios: NDArray[np.float64]) -> float:
    """Sum of Huber's loss of log ratios."""
    off = np.abs(np.log(ratios))
    return float(np.where(off < HUBER, off * off / 2, HUBER * (off - HUBER / 2)).sum())


def _constants(rows: pl.DataFrame, what: str) -> tuple[float, float, float]:
    """A constant, ms, and the shares of other requests' prefills at steady load and in bursts."""
    step, alone, batch = (rows[name].to_numpy() for name in ("step", "prefill", "batch"))
    others = batch * alone / (rows["output"].to_numpy() if what == "tpot" else 1.0)
    base = step if what == "tpot" else step + alone
    bursts = (rows["load"] == BURSTS).to_numpy()
    measured = rows[f"measured_{what}"].to_numpy()

    def off(logs: NDArray[np.float64]) -> float:
        fixed, steady, bursty = np.exp(logs)
        return _loss((base + fixed + np.where(bursts, bursty, steady) * others) / measured)

    logs = np.log(START[what])
    for _ in range(4):
        simplex = np.vstack([logs, *(logs + 0.5 * row for row in np.eye(len(logs)))])
        options = {"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-6, "maxfev": 4000}
        logs = minimize(off, logs, method="Nelder-Mead", options=options).x
    fixed, steady, bursty = (float(f"{value:.3g}") for value in np.exp(logs))
    return fixed, steady, bursty


def main() -> None:
    """Print the constants of each serving engine."""
    frame = as_frame(read_rows()).filter("aggregated", ~pl.col("judged"), ~pl.col("full"))
    for framework in FRAMEWORKS:
        rows = frame.filter(pl.col("engine") == framework)
        host, *interference = _constants(rows, "tpot")
        first, *burst = _constants(rows, "ttft")
        print(f"[{framework}]\nhost_ms = {host}\nfirst_ms = {first}")
        for load, b, e in zip(LOADS, burst, interference, strict=True):
            print(f"{load} = {{ burst = {b}, interference = {e} }}")


if __name__ == "__main__":
    main()
