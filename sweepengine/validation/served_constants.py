"""Fits the constants of serving engines and the factors of families to serving rows.

    python -m sweepengine.validation.served_constants

rewrites data/serving_engines/*.toml and data/measured/family_factors.toml from the training half of
the rows. The loss is Huber's on log ratios. TPOT determines `overlap`, `launch_us` and
`sequence_us`; TTFT determines the constants that `FITTED` names.
Constants enter the formulas linearly, so a column of the design is what the formula says where one
constant is 1 and the others are 0.
"""

from collections.abc import Callable, Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sweepengine.data.family_factors import Family
from sweepengine.data.serving_engines import BURSTS, ENGINES, MILLI, RANKS, SETTINGS, STEADY
from sweepengine.formulas.serving import IDEAL_SERVING_ENGINE
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.validation.calibration import HUBER
from sweepengine.validation.real_runs import INFERENCEX, read_public
from sweepengine.validation.served import Served, read_rows, states_mean
from sweepengine.validation.served_files import factors_text, with_constants
from sweepengine.validation.served_rows import WHEEL

Floats = NDArray[np.float64]
NOTHING = IDEAL_SERVING_ENGINE._replace(overlap=0.0, steps=0.0)
OF_STEPS = {"overlap": "overlap", "sequence_us": "sequence"}
"""Constant of every load to its field of `ServingEngine`."""
OF_LOADS = {"first_ms": "first", "burst": "burst", "steps": "steps", RANKS: "ranks",
            "prompt_ms": "prompt", "sequence_ms": "queue"}  # fmt: skip
"""Constant of a load likewise."""


class Loads(NamedTuple):
    """Constants of TTFT that a serving engine has; all others are 0."""

    steady: tuple[str, ...]
    """Under a steady load."""
    bursts: tuple[str, ...]
    """That bursts do not share with a steady load."""
    means: tuple[str, ...] = ()
    """That are larger for rows of the mean TTFT than for those of the median."""


FITTED = {
    "vllm": Loads(("burst", "steps", "prompt_ms", "sequence_ms"), ("first_ms",)),
    "trtllm": Loads(("steps", RANKS, "wait", "prompt_ms"), ("first_ms", "burst"), ("burst",)),
    "sglang": Loads(("first_ms", "look", "prompt_ms"), ("steps",), ("burst", "steps")),
}
"""By serving engine: the sets that predict families that were left out best (docs/times.md)."""
IN_MS = ("first_ms", "sequence_ms")
STARTS = (0.3, 0.05)
SHRINK = {"tpot": (2, 3), "ttft": (3, 3)}
"""Rows at which a factor of a family, and of its layout, is half of what they say."""
DIGITS = 3


class Fitted(NamedTuple):
    """Constants of one serving engine, and what they predict for all of its rows, ms.

    TTFT is NaN of a load without training rows, which has no constants.
    """

    constants: dict[str, Any]
    means: dict[str, float]
    """What mean TTFT has beyond the median; empty unless fitted rows state both."""
    tpot: Floats
    ttft: Floats


def fitted_to(design: Floats, base: Floats, measured: Floats) -> Floats:
    """Constants, none below 0, at which `base + design @ constants` is closest to `measured`.

    One that no row depends on is 0.

    Parameters
    ----------
    design : float64 array, shape (N, constants)
    base, measured : float64 array, shape (N,)
    """
    sizes = design.mean(axis=0)
    scale = np.divide(np.median(measured), sizes, out=np.zeros(len(sizes)), where=sizes > 0)
    columns, fixed = design * scale / measured[:, None], base / measured

    def loss(values: Floats) -> tuple[float, Floats]:
        ratio = fixed + columns @ values
        off = np.log(ratio)
        size = np.abs(off)
        lost = np.where(size < HUBER, off * off / 2, HUBER * (size - HUBER / 2)).sum()
        slope = np.clip(off, -HUBER, HUBER) / ratio
        return float(lost), slope @ columns

    options = {"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-9}
    bounds = [(1e-9, None)] * design.shape[1]
    found = [
        minimize(loss, np.full(design.shape[1], start), jac=True, bounds=bounds,
                 method="L-BFGS-B", options=options)
        for start in STARTS
    ]  # fmt: skip
    return np.asarray(min(found, key=lambda one: one.fun).x * scale)


def _design(
    rows: Sequence[Served], of: Callable[[Served, Any], float], fields: list[str], nothing: Any
) -> Floats:
    """What each constant adds to a prediction, shape (N, constants).

    Parameters
    ----------
    rows : sequence of Served
    of : callable
        Predicts a row.
    fields : list of str
        Of `ServingEngine`.
    nothing : ServingEngine
        With all of them 0.
    """
    engines = [nothing._replace(**{field: 1.0}) for field in fields]
    base: Floats = np.array([[of(row, nothing)] for row in rows])
    predicted: Floats = np.array([[of(row, engine) for engine in engines] for row in rows])
    return predicted - base


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}") if value > 1e-6 else 0.0


def fit_engine(rows: Sequence[Served], training: NDArray[np.bool_]) -> Fitted:
    """Constants of the serving engine of some rows.

    TPOT is fitted to the extra's rows, TTFT to all: under a steady load the extra's rows state
    means and InferenceX's medians, and what means have beyond is fitted with the rest.

    Parameters
    ----------
    rows : sequence of Served
        Of one serving engine.
    training : bool array, shape (N,)
        Rows that are fitted.
    """
    extra = np.array([row.collection == WHEEL for row in rows])

    nothing = NOTHING._replace(least=ENGINES[rows[0].engine]["pass_layer_us"])

    def tpot(row: Served, engine: Any) -> float:
        return row.work.seconds(0.0, engine)[0]

    measured = np.array([row.measured_tpot for row in rows])
    base = np.array([tpot(row, nothing) for row in rows])
    launches = np.array([[row.work.launches / MILLI] for row in rows])
    design = np.hstack([_design(rows, tpot, list(OF_STEPS.values()), nothing), launches])
    fitted = training & extra
    values = fitted_to(design[fitted], base[fitted], measured[fitted])
    names = (*OF_STEPS, "launch_us")
    constants: dict[str, Any] = {
        name: _rounded(value) for name, value in zip(names, values, strict=True)
    }
    step = design @ np.array([constants[name] for name in names])
    predicted, means = np.full(len(rows), np.nan), dict[str, float]()
    for load in (STEADY, BURSTS):
        chosen = np.array([row.load == load for row in rows])
        if not (training & chosen).any():
            continue
        of_load = [row for row, taken in zip(rows, chosen, strict=True) if taken]
        own = getattr(FITTED[rows[0].engine], load)
        steady = constants.get(STEADY, {})
        known = {name: steady[name] for name in steady if name not in own}
        constants[load], added, predicted[chosen] = _fit_load(
            of_load, step[chosen], training[chosen], own, known
        )
        means |= added
    return Fitted(constants, means, base + step, predicted)


def _fit_load(
    rows: list[Served],
    step: Floats,
    training: NDArray[np.bool_],
    own: Sequence[str],
    known: dict[str, float],
) -> tuple[dict[str, float], dict[str, float], Floats]:
    """Constants of one load, what means have beyond them, and TTFT that both predict, ms.

    Parameters
    ----------
    rows : list of Served
        Of one serving engine.
    step : float64 array, shape (N,)
        A step of the serving engine, ms.
    training : bool array, shape (N,)
    own : sequence of str
        Constants that are fitted.
    known : dict of str to float
        Constants that stand.
    """
    steps = {id(row): value * MILLI for row, value in zip(rows, step, strict=True)}

    def ttft(row: Served, engine: Any) -> float:
        work = row.work._replace(kernels=steps[id(row)], launches=0.0)
        return work.seconds(0.0, engine._replace(overlap=1.0))[1]

    engine = ENGINES[rows[0].engine]
    nothing = NOTHING._replace(least=engine["pass_layer_us"])
    units = np.array([MILLI if name in IN_MS else 1.0 for name in OF_LOADS])
    columns = _design(rows, ttft, list(OF_LOADS.values()), nothing) * units
    column = dict(zip(OF_LOADS, columns.T, strict=True))
    for setting, constant in SETTINGS.items():
        taken = np.array([row.settings.get(setting, engine.get(setting, 0)) for row in rows])
        column[constant] = column["steps"] * taken
    column[RANKS] *= [row.layout.data > 1 for row in rows]
    base = np.array([ttft(row, nothing) for row in rows])
    base += sum((value * column[name] for name, value in known.items()), np.zeros(len(rows)))
    are_means = np.array([states_mean(row) for row in rows])
    added = FITTED[rows[0].engine].means if len(set(are_means[training])) > 1 else ()
    design = np.column_stack(
        [*(column[name] for name in own), *(column[name] * are_means for name in added)]
    )
    measured = np.array([row.measured_ttft for row in rows])
    fitted = fitted_to(design[training], base[training], measured[training])
    values = [_rounded(value) for value in fitted]
    found = dict(zip(own, values[: len(own)], strict=True))
    means = dict(zip(added, values[len(own) :], strict=True))
    return found, means, base + design @ np.array(values)


def family_factors(
    rows: Sequence[Served], ratios: dict[str, Floats], training: NDArray[np.bool_]
) -> dict[Family, dict[str, Any]]:
    """Factors of each family and of its layouts, shrunk by the number of rows.

    TTFT counts rows of means and of medians; TPOT the extra's alone, so that it is judged on
    InferenceX's as runs that nobody fitted.

    Parameters
    ----------
    rows : sequence of Served
    ratios : dict of str to float64 array, shape (N,)
        Measured over predicted "tpot" and "ttft".
    training : bool array, shape (N,)
    """
    found: dict[Family, dict[str, Any]] = {}
    chosen = sorted(
        np.flatnonzero(training).tolist(), key=lambda i: (rows[i].family, rows[i].layout)
    )
    for family, of_family in groupby(chosen, key=lambda i: rows[i].family):
        members = list(of_family)
        row: dict[str, Any] = {"model": rows[members[0]].model, "rows": len(members)}
        logs = {}
        for what, (half, _) in SHRINK.items():
            logs[what] = shrunk(_logs(rows, ratios, what, members), half)
            row[what] = _factor(logs[what])
        row["layouts"] = []
        for layout, of_layout in groupby(members, key=lambda i: rows[i].layout):
            same = list(of_layout)
            both = [
                _factor(logs[what] + shrunk(
                    [log - logs[what] for log in _logs(rows, ratios, what, same)], half
                ))
                for what, (_, half) in SHRINK.items()
            ]  # fmt: skip
            row["layouts"].append([layout.tensor, layout.expert, layout.data, *both])
        found[family] = row
    return found


def _logs(
    rows: Sequence[Served], ratios: dict[str, Floats], what: str, chosen: Sequence[int]
) -> list[float]:
    """Logarithms of the ratios of chosen rows that a factor of "tpot" or "ttft" counts."""
    counted = [i for i in chosen if what == "ttft" or rows[i].collection == WHEEL]
    return [float(np.log(ratios[what][i])) for i in counted]


def shrunk(logs: list[float], half: int) -> float:
    """The median, shrunk towards 0: half of it where there are `half` values; 0 of none."""
    return len(logs) / (len(logs) + half) * median(logs) if logs else 0.0


def _factor(log: float) -> float:
    return round(float(np.exp(log)), 3)


def predicted_left_out(
    rows: Sequence[Served], training: NDArray[np.bool_], groups: Sequence[Any]
) -> tuple[Floats, Floats]:
    """TPOT and TTFT of all rows by constants that were fitted without the group of each, ms.

    Parameters
    ----------
    rows : sequence of Served
        Of one serving engine.
    training : bool array, shape (N,)
    groups : sequence, length N
    """
    tpot, ttft = np.empty(len(rows)), np.empty(len(rows))
    for group in sorted(set(groups)):
        inside = np.array([other == group for other in groups])
        fitted = fit_engine(rows, training & ~inside)
        tpot[inside], ttft[inside] = fitted.tpot[inside], fitted.ttft[inside]
    return tpot, ttft


def medians_of(framework: str) -> list[Served]:
    """Rows of InferenceX on measured devices, which state the median TTFT."""
    return [
        row
        for run, row in read_public().runs
        if row.collection == INFERENCEX
        and (row.engine, row.aggregated, row.full) == (framework, True, False)
        and not run.borrowed
    ]


def main() -> None:
    """Fit all constants and factors, and write them to their files."""
    data = Path(str(resources.files("sweepengine.data")))
    served = [row for row in read_rows().served if row.aggregated and not row.full]
    families: dict[Family, dict[str, Any]] = {}
    means: dict[str, dict[str, float]] = {}
    for framework in FRAMEWORKS:
        rows = [row for row in served if row.engine == framework] + medians_of(framework)
        training = np.array([not row.judged for row in rows])
        fitted = fit_engine(rows, training)
        path = data / "serving_engines" / f"{framework}.toml"
        path.write_text(with_constants(path.read_text("utf-8"), fitted.constants), "utf-8")
        if fitted.means:
            means[framework] = fitted.means
        ratios = {
            "tpot": np.array([row.measured_tpot for row in rows]) / fitted.tpot,
            "ttft": np.array([row.measured_ttft for row in rows]) / fitted.ttft,
        }
        families |= family_factors(rows, ratios, training)
    lines = "\n".join(factors_text(families, means)) + "\n"
    (data / "measured" / "family_factors.toml").write_text(lines, "utf-8")


if __name__ == "__main__":
    main()
