"""Compares measurements of a user's device with predictions: operators, and passes of modules.

`benchmarks/on_gpu` makes such folders: tables of operators in the columns of the public ones, and
passes.csv. Nothing is fitted, and no error is recorded to compare with.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.fits import Fit, Rates
from sweepengine.data.kernels import ModelKernels, Shapes
from sweepengine.data.rates import ideal
from sweepengine.data.speeds import TimingTarget, timing_target
from sweepengine.validation.calibration import errors, predicted_us, units_of
from sweepengine.validation.measured_operators import Measured, Tables
from sweepengine.validation.measured_passes import PASSES, PassCase, compared_passes
from sweepengine.validation.operator_kinds import KINDS, Kind, table_names

NO_RATES = "data sheet"
"""Source of a prediction where a device has no rates of a kind of operator."""
NO_SHAPES = Shapes((), False, ())


class OperatorCase(NamedTuple):
    """Errors of one kind of operator in one format, %, over all measured shapes."""

    kind: str
    format: str
    rows: int
    rates: str
    """Device and serving engine whose rates are taken; or `NO_RATES`."""
    ratio: float
    """Median of predicted / measured."""
    median: float
    p90: float
    sheet_median: float
    """Of the data sheet: peaks reached, no launch time."""
    sheet_p90: float


class MeasuredFolder(NamedTuple):
    """All measurements of a folder with predictions."""

    folder: Path
    target: TimingTarget
    operators: list[OperatorCase]
    passes: list[PassCase]

    def medians(self) -> list[dict[str, Any]]:
        """Median ratio and error of passes, by model, pass and mode."""
        cases = pl.DataFrame(
            [(c.measured.model, c.measured.what, c.measured.mode, c.ratio, c.error)
             for c in self.passes],
            schema={"model": pl.String, "what": pl.String, "mode": pl.String, "ratio": pl.Float64,
                    "error": pl.Float64},
            orient="row",
        )  # fmt: skip
        grouped = cases.group_by("model", "what", "mode", maintain_order=True)
        return grouped.agg(pl.len().alias("cases"), pl.median("ratio", "error")).to_dicts()

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "device": self.target.device.name,
            "framework": self.target.framework,
            "times": self.target.times,
            "operators": [case._asdict() for case in self.operators],
            "passes": [
                case.measured.model_dump()
                | {"predicted_microseconds": case.predicted, "ratio": case.ratio}
                for case in self.passes
            ],
            "medians": self.medians(),
        }


def compare_folder(folder: Path, device: str, framework: str) -> MeasuredFolder:
    """Compare a folder with what is predicted for a device.

    Parameters
    ----------
    folder : Path
    device : str
        Name or file.
    framework : str
        Serving engine whose rates are taken, one of `FRAMEWORKS`.

    Raises
    ------
    InputError
        When the device is not known, a table is not valid, or the folder has none.
    """
    target = timing_target(load_device(device), framework)
    path = folder / PASSES
    passes = list(compared_passes(path, target)) if path.exists() else []
    operators = list(_operators(Tables(folder, ""), target))
    if not passes and not operators:
        tables = (f"{name}_perf.csv" for name in table_names(framework))
        raise InputError(
            f"{folder}: nothing measured: expected rows of {', '.join((PASSES, *tables))}"
        )
    return MeasuredFolder(folder, target, operators, passes)


def _operators(tables: Tables, target: TimingTarget) -> Iterator[OperatorCase]:
    kernels = ModelKernels(target.rates, target.framework, target.device, NO_SHAPES)
    for kind in KINDS:
        for name, measured in tables.read(kind, target.framework, 1, 1).items():
            yield _compared(kind, name, measured, kernels)


def _compared(kind: Kind, name: str, measured: Measured, kernels: ModelKernels) -> OperatorCase:
    """Errors of a kind of operator in format `name`, by the first rates that points take."""
    device, framework = kernels.device, kernels.framework
    units, shapes = units_of(kind, name, device), measured.shapes
    sheet = predicted = units.times(shapes, ideal(units.form))
    source = NO_RATES
    for file in kernels.files:
        if (fit := file.fits.get(kind.name, {}).get(name)) is not None:
            slower = device.slower_under(framework) if kernels.is_borrowed(file) else 1.0
            predicted = predicted_us(kind, _cold(fit), shapes, units._replace(slower=slower))
            source = f"{file.device}, {file.framework}"
            break
    found = errors(predicted, measured.microseconds)
    of_sheet = errors(sheet, measured.microseconds)
    ratio = float(pl.Series(predicted / measured.microseconds).median() or 0.0)  # type: ignore[arg-type]
    return OperatorCase(kind.name, name, len(shapes), source, ratio, *found, *of_sheet)


def _cold(fit: Fit) -> Fit:
    """Rates with cold caches, as points take them."""

    def cold(rates: Rates | None) -> Rates | None:
        return rates | {"warm": 0.0} if rates is not None and "warm" in rates else rates

    kernels = tuple(
        kernel.model_copy(
            update={"rates": cold(kernel.rates), "rates_many": cold(kernel.rates_many)}
        )
        for kernel in fit.kernels
    )
    return fit.model_copy(update={"kernels": kernels})
