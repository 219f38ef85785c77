"""Compares times with measured operators, their sums, measured serving and published throughputs.

Shipped rates and constants are used; nothing is fitted here. Each error is compared with the error
that was recorded when they were fitted.
"""

from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.basis import SERVING_ERRORS
from sweepengine.data.devices import load_device
from sweepengine.data.rates import ideal, load_rates, shipped_rates
from sweepengine.validation.calibration import errors, predicted_us, units_of
from sweepengine.validation.measured_operators import KINDS, Tables, shipped_tables
from sweepengine.validation.measured_steps import STEPS_TABLE, StepCase, measured_steps
from sweepengine.validation.published_throughputs import Throughput, throughputs
from sweepengine.validation.served import Rows, as_frame, errors_by, read_rows

TOLERANCE = 1.0
"""Percentage points by which an error may exceed the recorded one."""
DISAGGREGATED = "disaggregated"
JUDGED = ("tpot_median", "tpot_mean", "ttft_median", "ttft_mean")


class OperatorErrors(NamedTuple):
    """Errors of one kind of operator on held-out rows, %."""

    device: str
    framework: str
    kind: str
    format: str
    rows: int
    median: float
    p90: float
    roofline_median: float
    roofline_p90: float
    recorded_median: float
    recorded_p90: float

    @property
    def worse(self) -> bool:
        """Whether the median exceeds the recorded one by more than `TOLERANCE`."""
        return self.median > self.recorded_median + TOLERANCE


class Silicon(NamedTuple):
    """All results of `validate --silicon`."""

    operators: list[OperatorErrors]
    steps: list[StepCase]
    served: Rows
    published: list[Throughput]

    @property
    def step_median(self) -> float:
        """Median error of passes, %."""
        return float(pl.Series([case.error for case in self.steps]).median() or 0.0)  # type: ignore[arg-type]

    def served_errors(self, *names: str, full: bool = False) -> list[dict[str, Any]]:
        """Errors of held-out rows of aggregated serving, %.

        Parameters
        ----------
        names : str
            Columns to group by.
        full : bool
            Whether to include rows whose requests queue for a full engine.
        """
        judged = as_frame(self.served).filter("aggregated", "judged")
        return list(errors_by(judged if full else judged.filter(~pl.col("full")), *names))

    def recorded_errors(self) -> dict[str, dict[str, Any]]:
        """Errors of serving to record, %: of all rows, by engine, and of disaggregated serving."""
        recorded = {"all": self.served_errors()[0]}
        recorded |= {errors["engine"]: errors for errors in self.served_errors("engine")}
        disaggregated = as_frame(self.served).filter("judged", ~pl.col("aggregated"))
        return recorded | {DISAGGREGATED: next(iter(errors_by(disaggregated)))}

    def operators_by_kind(self) -> list[dict[str, Any]]:
        """Errors of operators by serving engine, kind and format, means over devices, %."""
        grouped = pl.DataFrame(self.operators).group_by("kind", "format", "framework")
        errors = pl.mean("median", "p90", "roofline_median", "roofline_p90")
        means = grouped.agg(pl.len().alias("devices"), pl.col("rows").sum(), errors)
        return means.sort("framework", "kind", "format").to_dicts()

    @property
    def problems(self) -> list[str]:
        """One line for each error that exceeds the recorded one by more than `TOLERANCE`."""
        problems = [
            f"{e.device}, {e.framework}, {e.kind} {e.format}: {e.median:.1f} %, recorded "
            f"{e.recorded_median:.1f} %"
            for e in self.operators
            if e.worse
        ]
        for name, measured in self.recorded_errors().items():
            problems += [
                f"serving, {name}, {key}: {measured[key]:.1f} %, recorded "
                f"{SERVING_ERRORS[name][key]:.1f} %"
                for key in JUDGED
                if measured[key] > SERVING_ERRORS[name][key] + TOLERANCE
            ]
        if self.step_median > SERVING_ERRORS[STEPS_TABLE]["median"] + TOLERANCE:
            recorded = SERVING_ERRORS[STEPS_TABLE]["median"]
            problems.append(f"passes: {self.step_median:.1f} %, recorded {recorded:.1f} %")
        return problems

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "operators": [errors._asdict() for errors in self.operators],
            "steps": [case._asdict() for case in self.steps],
            "served": [row._asdict() for row in self.served.served],
            "not_predicted": dict(self.served.reasons),
            "doubles": self.served.doubles,
            "published": [one._asdict() for one in self.published],
            "problems": self.problems,
        }


def operator_errors() -> list[OperatorErrors]:
    """Errors of the shipped rates on held-out rows of the tables.

    Raises
    ------
    InputError
        When the extra `silicon` is not installed.
    """
    results = []
    kinds = {kind.name: kind for kind in KINDS}
    for (name, framework), path in shipped_rates().items():
        device = load_device(name)
        tables = Tables(shipped_tables(), device.measured or "")
        for kind_name, fits in load_rates(path).fits.items():
            kind = kinds[kind_name]
            for label, measured in tables.read(kind, framework).items():
                fit, units = fits[label], units_of(kind, label, device)
                held_out = ~measured.training
                shapes, times = measured.shapes[held_out], measured.microseconds[held_out]
                ours = errors(predicted_us(kind, fit, shapes, units), times)
                sheet = errors(units.times(shapes, ideal(units.form)), times)
                results.append(
                    OperatorErrors(name, framework, kind_name, label, len(times), *ours, *sheet,
                                   fit.median, fit.p90)
                )  # fmt: skip
    return results


def measure() -> Silicon:
    """Run all comparisons, which takes a few minutes."""
    return Silicon(operator_errors(), measured_steps(), read_rows(), throughputs())


def recorded(silicon: Silicon) -> str:
    """Errors of serving and of passes in the format of data/measured/served.toml."""
    lines = ["# Errors of `validate --silicon` on held-out rows when rates were fitted, %."]
    for name, errors_of in silicon.recorded_errors().items():
        lines += ["", f"[{name}]", *(f"{key} = {errors_of[key]:.2f}" for key in JUDGED)]
    return "\n".join([*lines, "", f"[{STEPS_TABLE}]", f"median = {silicon.step_median:.2f}", ""])


if __name__ == "__main__":  # prints data/measured/served.toml, after rates or constants changed
    print(recorded(Silicon([], measured_steps(), read_rows(), [])), end="")
