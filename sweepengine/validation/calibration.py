"""Fits rates of operators to measured tables; errors are measured on held-out rows."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from sweepengine.data.devices import Device
from sweepengine.data.errors import InputError
from sweepengine.data.fits import Fit, Kernel, Rates
from sweepengine.data.rates import (
    FORMS,
    RATES_SCHEMA_VERSION,
    RatesFile,
    Scales,
    fields_of,
    ideal,
    operands,
    resolved,
    scales_of,
    weight_bytes,
)
from sweepengine.engine import progress
from sweepengine.engine.operator_times import operator_times
from sweepengine.validation.measured_operators import (
    MIN_ROWS,
    MIN_SHAPES,
    Measured,
    Tables,
    shipped_tables,
)
from sweepengine.validation.operator_kinds import KINDS, Kind, table_names

Floats = NDArray[np.float64]
HUBER = 0.1
"""|log(predicted / measured)| above which the loss grows linearly."""
STARTS: tuple[dict[str, float], ...] = (
    {},
    {"latency": 0.02, "latency_keys": 200.0, "block": 3.0, "query": 0.02, "flops": 0.3,
     "warm_bytes": 1e8, "token_moves": 1e-6, "pair_moves": 1e-6, "inner_moves": 1e-6},
    {"latency": 0.003, "query": 0.3, "flops": 0.1, "launch": 12.0, "pad": 400.0, "token": 0.01,
     "expert": 0.5, "warm_bytes": 3e7, "activations": 0.1},
)  # fmt: skip
"""Starting points of a fit, as changes to the declared start."""
SAME = 1e-9
"""Relative difference of times that no rate causes."""
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
    progress.begin("kinds of operators", len(KINDS))
    for kind in KINDS:
        progress.advance()
        by_format = {
            name: _fitted(kind, name, measured, device)
            for name, measured in tables.read(kind, framework).items()
        }
        if by_format:
            fits[kind.name] = by_format
    if not fits:
        raise InputError(
            f"{tables.folder}: no measurements of {device.name} with {framework}: expected "
            f"{', '.join(table_names(framework))} as NAME_perf.csv or .parquet, of at least "
            f"{MIN_ROWS} rows of {MIN_SHAPES} shapes"
        )
    source = "aiconfigurator-core 0.12.0, measured tables" if folder is None else "own measurements"
    return RatesFile(
        schema_version=RATES_SCHEMA_VERSION,
        device=device.name,
        framework=framework,
        source=source,
        fits=fits,
    )


class Units(NamedTuple):
    """What turns the rates of a kind of operator in a format into absolute figures."""

    form: type
    scales: Scales
    weight_bytes: float
    slower: float = 1.0
    """How many times as long everything takes where rates are borrowed."""

    def times(self, shapes: Floats, rates: Rates) -> Floats:
        """Microseconds of shapes by rates as a file holds them."""
        absolute = resolved(self.form, rates, self.scales, self.weight_bytes, self.slower)
        return operator_times(shapes, absolute)


def units_of(kind: Kind, name: str, device: Device) -> Units:
    """Units of a kind of operator in format `name` on a device."""
    weights, activations = operands(name)
    return Units(FORMS[kind.name], scales_of(device, activations), weight_bytes(weights))


def predicted_us(kind: Kind, kernels: Fit, shapes: Floats, units: Units) -> Floats:
    """Microseconds of shapes by the kernels that a serving engine runs for them.

    Parameters
    ----------
    kind : Kind
    kernels : Fit
        Rates by kernel.
    shapes : float64 array, shape (N, sizes of a shape)
    units : Units

    Returns
    -------
    float64 array, shape (N,)
    """
    split = shapes[:, kind.split] > 1 if kind.split >= 0 else np.zeros(len(shapes))
    decide = np.column_stack([shapes[:, list(kind.key)], split])
    out = np.empty(len(shapes))
    for row in np.unique(decide, axis=0):
        of_row = (decide == row).all(axis=1)
        kernel = kernels.kernel_for(tuple(int(n) for n in row[:-1]), bool(row[-1]))
        out[of_row] = _kernel_us(kind, kernel, shapes[of_row], units)
    return out


def _many(kind: Kind, shapes: Floats) -> NDArray[np.bool_]:
    """Whether a MoE kernel meets more tokens than there are experts."""
    if kind.many is None:
        return np.zeros(len(shapes), np.bool_)
    tokens, experts = kind.many
    return shapes[:, tokens] > shapes[:, experts]


def _kernel_us(kind: Kind, kernel: Kernel, shapes: Floats, units: Units) -> Floats:
    few, many = (units.times(shapes, rates) for rates in kernel.all_rates)
    return np.where(_many(kind, shapes), many, few)


def _fitted(kind: Kind, name: str, measured: Measured, device: Device) -> Fit:
    """The best fit of one kind of operator in format `name`, with its errors on held-out rows."""
    units, train = units_of(kind, name, device), measured.training
    names = np.array(measured.kernels)
    found, counts = np.unique(names, return_counts=True)
    kernels: list[Kernel] = []
    for kernel in found[np.argsort(-counts, kind="stable")]:
        of_kernel = names == kernel
        fitted = of_kernel & train
        parts = [_many(kind, measured.shapes) == many for many in (False, True)]
        if min(int((part & fitted).sum()) for part in parts) < MIN_ROWS / 2:
            parts = [np.ones(len(train), np.bool_)]
        rates = [
            _searched(units, name, measured.shapes[part & fitted],
                      measured.microseconds[part & fitted])
            for part in parts
        ]  # fmt: skip
        kernels.append(Kernel(
            name=str(kernel),
            **_dispatch(kind, measured.shapes, of_kernel, first=not kernels),
            rates=rates[0],
            rates_many=rates[1] if len(rates) > 1 else None,
        ))  # fmt: skip
    held_out, held_out_us = measured.shapes[~train], measured.microseconds[~train]
    fit = Fit(
        version=measured.version,
        rows=len(train),
        judged=int((~train).sum()),
        median=0.0,
        p90=0.0,
        roofline_median=0.0,
        roofline_p90=0.0,
        kernels=tuple(kernels),
    )
    ours = errors(predicted_us(kind, fit, held_out, units), held_out_us)
    sheet = errors(units.times(held_out, ideal(units.form)), held_out_us)
    return fit.model_copy(update={
        "median": ours.median, "p90": ours.p90,
        "roofline_median": sheet.median, "roofline_p90": sheet.p90,
    })  # fmt: skip


def _dispatch(
    kind: Kind, shapes: Floats, of_kernel: NDArray[np.bool_], first: bool
) -> dict[str, Any]:
    """When a serving engine runs a kernel: `shapes` and `expert_parallel` of `Kernel`.

    Parameters
    ----------
    kind : Kind
    shapes : float64 array, shape (N, sizes of a shape)
        Of all kernels.
    of_kernel : bool array, shape (N,)
        Rows of this kernel.
    first : bool
        Whether it is the kernel of most rows, which runs for shapes of no other kernel too.
    """
    if not kind.key:
        return {}
    decide = [tuple(int(n) for n in row) for row in shapes[:, list(kind.key)]]
    mine = {key for key, here in zip(decide, of_kernel, strict=True) if here}
    others = {key for key, here in zip(decide, of_kernel, strict=True) if not here}
    if kind.split >= 0 and mine & others:
        return {"expert_parallel": bool((shapes[of_kernel, kind.split] > 1).all())}
    return {} if first else {"shapes": tuple(sorted(mine))}


def _searched(units: Units, name: str, shapes: Floats, times: Floats) -> Rates:
    """The best rates of one kernel, of all starting points.

    A rate that no row depends on keeps its start: no row with more than four devices says how
    fast eight are.
    """
    free = {n: r for n, r in fields_of(units.form).items() if n != "weight_bytes"}
    fixed = {n: r.start for n, r in free.items() if r.least == r.most}
    if units.form.__name__ == "GemmRates" and name == "bf16":
        fixed = {"quantise": 0.0, "quantise_pad": 0.0}
    names = [n for n in free if n not in fixed]
    low = np.log([free[n].least for n in names])
    high = np.log([free[n].most for n in names])

    def rates(logs: Floats) -> Rates:
        return dict(zip(names, np.exp(logs).tolist(), strict=True)) | fixed

    def residuals(logs: Floats) -> Floats:
        return np.log(units.times(shapes, rates(logs)) / times)

    best: tuple[float, Rates] | None = None
    for changes in STARTS:
        start = np.array([changes.get(n, free[n].start) for n in names])
        logs = np.clip(np.log(start), low + 1e-6, high - 1e-6)
        solution: Any = least_squares(
            residuals, logs, loss="huber", f_scale=HUBER, bounds=(low, high), max_nfev=300
        )
        if best is None or solution.cost < best[0] * (1 - 1e-9):
            best = solution.cost, rates(solution.x)
    assert best is not None, "STARTS is not empty"
    settled = best[1]
    times_at = partial(units.times, shapes)
    for rate in names:
        at_start = settled | {rate: free[rate].start}
        if np.allclose(times_at(at_start), times_at(settled), rtol=SAME, atol=0):
            settled = at_start
    return {n: float(f"{settled[n]:.{DIGITS}g}") for n in free}


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
            table = f"fits.{kind}.{name}"
            lines += ["", f"[{table}]", *_keys(fit.model_dump(exclude={"kernels"}))]
            for kernel in fit.kernels:
                lines += ["", f"[[{table}.kernels]]"]
                lines += _keys(kernel.model_dump(exclude_defaults=True))
    return "\n".join(lines) + "\n"


def _keys(values: dict[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in values.items()]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
