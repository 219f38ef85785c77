"""Fits rates of operators to measured tables; errors are measured on held-out rows."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sweepengine.data.devices import Device
from sweepengine.data.errors import InputError
from sweepengine.data.rates import (
    FORMS,
    RATES_SCHEMA_VERSION,
    Fit,
    RatesFile,
    Scales,
    fields_of,
    ideal,
    operands,
    resolved,
    scales_of,
    weight_bytes,
)
from sweepengine.engine.operator_times import operator_times
from sweepengine.validation.measured_operators import (
    KINDS,
    Kind,
    Measured,
    Tables,
    shipped_tables,
)

Floats = NDArray[np.float64]
HUBER = 0.1
"""|log(predicted / measured)| above which the loss grows linearly."""
STARTS: tuple[dict[str, float], ...] = (
    {},
    {"latency": 0.02, "latency_keys": 200.0, "block": 3.0, "query": 0.02, "flops": 0.3,
     "warm_bytes": 1e8},
    {"latency": 0.003, "query": 0.3, "flops": 0.1, "launch": 12.0, "pad": 400.0, "token": 0.01,
     "expert": 0.5, "warm_bytes": 3e7},
)  # fmt: skip
"""Starting points of a fit, as changes to the declared start."""
DIGITS = 6
"""Significant digits of a rate in a file."""


class Errors(NamedTuple):
    """Median and 90th percentile of |predicted / measured - 1|, %."""

    median: float
    p90: float


def errors(predicted: Floats, measured: Floats) -> Errors:
    """Median and 90th percentile of the relative error, %."""
    off = 100 * np.abs(predicted / measured - 1)
    return Errors(round(float(np.median(off)), 2), round(float(np.quantile(off, 0.9)), 2))


def calibrate(device: Device, framework: str, folder: Path | None = None) -> RatesFile:
    """Fit the rates of every measured kind of operator of a device.

    Parameters
    ----------
    device : Device
    framework : str
        The serving engine, one of `formulas.speeds.FRAMEWORKS`.
    folder : Path, optional
        Tables of the user, with the columns of the public tables; by default those of the extra
        `silicon`.

    Raises
    ------
    InputError
        When there are no measurements.
    """
    if folder is None and device.measured is None:
        raise InputError(
            f"{device.name}: no measured tables: expected --data DIR, or a device whose file has "
            "rates.measured"
        )
    tables = Tables(folder or shipped_tables(), "" if folder else device.measured or "")
    fits: dict[str, dict[str, Fit]] = {}
    for kind in KINDS:
        by_format = {
            name: _fitted(kind, name, measured, device)
            for name, measured in tables.read(kind, framework).items()
        }
        if by_format:
            fits[kind.name] = by_format
    if not fits:
        raise InputError(
            f"{tables.folder}: no measurements of {device.name} with {framework}: expected "
            f"{', '.join(dict.fromkeys(kind.table for kind in KINDS))} as NAME_perf.parquet or .csv"
        )
    source = "aiconfigurator-core 0.12.0, measured tables" if folder is None else "own measurements"
    return RatesFile(
        schema_version=RATES_SCHEMA_VERSION,
        device=device.name,
        framework=framework,
        source=source,
        fits=fits,
    )


def _fitted(kind: Kind, name: str, measured: Measured, device: Device) -> Fit:
    """The best fit of one kind of operator in format `name`, with its errors on held-out rows."""
    weights, activations = operands(name)
    scales, size = scales_of(device, activations), weight_bytes(weights)
    form = FORMS[kind.name]
    train = measured.training
    shapes, times = measured.shapes[train], measured.microseconds[train]
    best: tuple[float, dict[str, float]] | None = None
    free = {n: r for n, r in fields_of(form).items() if n != "weight_bytes"}
    fixed: dict[str, float] = {}
    if form.__name__ == "GemmRates" and name == "bf16":
        fixed = {"quantise": 0.0, "quantise_pad": 0.0}
    names = [n for n in free if n not in fixed]
    low = np.log([free[n].least for n in names])
    high = np.log([free[n].most for n in names])

    def rates(logs: Floats) -> dict[str, float]:
        return dict(zip(names, np.exp(logs).tolist(), strict=True)) | fixed

    def residuals(logs: Floats) -> Floats:
        return np.log(_times(form, shapes, rates(logs), scales, size) / times)

    for changes in STARTS:
        start = np.array([changes.get(n, free[n].start) for n in names])
        logs = np.clip(np.log(start), low + 1e-6, high - 1e-6)
        solution: Any = least_squares(
            residuals, logs, loss="huber", f_scale=HUBER, bounds=(low, high), max_nfev=300
        )
        if best is None or solution.cost < best[0] * (1 - 1e-9):
            best = solution.cost, rates(solution.x)
    assert best is not None, "STARTS is not empty"
    rounded = {n: float(f"{best[1][n]:.{DIGITS}g}") for n in free}
    held_out, held_out_us = measured.shapes[~train], measured.microseconds[~train]
    ours = errors(_times(form, held_out, rounded, scales, size), held_out_us)
    sheet = errors(_times(form, held_out, ideal(form), scales, size), held_out_us)
    return Fit(
        version=measured.version,
        rows=len(train),
        judged=int((~train).sum()),
        median=ours.median,
        p90=ours.p90,
        roofline_median=sheet.median,
        roofline_p90=sheet.p90,
        rates=rounded,
    )


def _times(
    form: type, shapes: Floats, rates: dict[str, float], scales: Scales, size: float
) -> Floats:
    return operator_times(shapes, resolved(form, rates, scales, size))


def as_toml(file: RatesFile) -> str:
    """Text of a rates file."""
    lines = [
        f"schema_version = {file.schema_version}",
        f'device = "{file.device}"',
        f'framework = "{file.framework}"',
        f'source = "{file.source}"',
    ]
    for kind, by_format in file.fits.items():
        for name, fit in by_format.items():
            lines += ["", f"[fits.{kind}.{name}]"]
            for key, value in fit.model_dump().items():
                lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    return f'"{value}"' if isinstance(value, str) else repr(value)
