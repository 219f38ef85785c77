"""Fits the rates of a device's operators to measured tables, and judges them on rows unseen."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sweepengine.data.devices import Device, load_device
from sweepengine.data.errors import InputError
from sweepengine.data.outputs import write_text
from sweepengine.data.rates import (
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
"""Of log(predicted / measured), from which on the loss grows linearly."""
STARTS: tuple[dict[str, float], ...] = (
    {},
    {"latency": 0.02, "latency_keys": 200.0, "block": 3.0, "query": 0.02, "flops": 0.3,
     "warm_bytes": 1e8},
    {"latency": 0.003, "query": 0.3, "flops": 0.1, "launch": 12.0, "pad": 400.0, "token": 0.01,
     "expert": 0.5, "warm_bytes": 3e7},
)  # fmt: skip
"""Where fits begin beside the declared starts: kernels differ in what binds them."""
DIGITS = 6
"""Of a rate in a file."""


class Errors(NamedTuple):
    """Of |predicted / measured - 1|, %."""

    median: float
    p90: float


def errors(predicted: Floats, measured: Floats) -> Errors:
    """Median and 90th percentile of the relative error, %."""
    off = 100 * np.abs(predicted / measured - 1)
    return Errors(round(float(np.median(off)), 2), round(float(np.quantile(off, 0.9)), 2))


def calibrate(device: Device, framework: str, folder: Path | None = None) -> RatesFile:
    """Fit every kind of operator that was measured on a device under a framework.

    Parameters
    ----------
    device : Device
    framework : str
        One of `measured_operators.FRAMEWORKS`.
    folder : Path, optional
        Measurements of a user's own, in the columns of the tables; those of the extra `silicon`
        without.

    Raises
    ------
    InputError
        When there are no measurements.
    """
    if folder is None and device.measured is None:
        raise InputError(
            f"{device.name}: was not measured: expected --data DIR, or a device whose file says "
            "rates.measured"
        )
    tables = Tables(folder or shipped_tables(), "" if folder else device.measured or "")
    fits: dict[str, dict[str, Fit]] = {}
    for kind in KINDS:
        found = {
            name: fitted(kind, name, measured, device)
            for name, measured in tables.read(kind, framework).items()
        }
        if found:
            fits[kind.name] = found
    if not fits:
        raise InputError(
            f"{tables.folder}: holds no measurements of {device.name} under {framework}: expected "
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


def fitted(kind: Kind, name: str, measured: Measured, device: Device) -> Fit:
    """Rates of one kind in one format: the best fit of several starts, on the training rows."""
    weights, activations = operands(name)
    scales, size = scales_of(device, activations), weight_bytes(weights)
    form = kind.rates
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

    for start in _starts(free, names):
        logs = np.clip(np.log(start), low + 1e-6, high - 1e-6)
        found: Any = least_squares(
            residuals, logs, loss="huber", f_scale=HUBER, bounds=(low, high), max_nfev=300
        )
        if best is None or found.cost < best[0] * (1 - 1e-9):
            best = found.cost, rates(found.x)
    assert best is not None, "there is a start"
    kept = {n: float(f"{best[1][n]:.{DIGITS}g}") for n in free}
    judged = measured.shapes[~train], measured.microseconds[~train]
    ours = errors(_times(form, judged[0], kept, scales, size), judged[1])
    sheet = errors(_times(form, judged[0], ideal(form), scales, size), judged[1])
    return Fit(
        version=measured.version,
        rows=len(train),
        judged=int((~train).sum()),
        median=ours.median,
        p90=ours.p90,
        roofline_median=sheet.median,
        roofline_p90=sheet.p90,
        rates=kept,
    )


def _starts(free: dict[str, Any], names: list[str]) -> Iterator[Floats]:
    for other in STARTS:
        yield np.array([other.get(n, free[n].start) for n in names])


def _times(
    form: type, shapes: Floats, rates: dict[str, float], scales: Scales, size: float
) -> Floats:
    return operator_times(shapes, resolved(form, rates, scales, size))


def as_toml(file: RatesFile) -> str:
    """A rates file's text."""
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


def write(
    devices: list[str], frameworks: list[str], folder: Path, say: Callable[[str], None]
) -> None:
    """Write the rates files of devices, as they are shipped."""
    for device in devices:
        for framework in frameworks:
            found = calibrate(load_device(device), framework)
            path = folder / f"{device}-{framework}.toml"
            write_text(path, as_toml(found))
            say(f"{path}")
