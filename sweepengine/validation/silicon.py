"""Times beside silicon: measured operators, sums of them, measured serving, published throughputs.

Nothing here is fitted; rates and constants are those that ship. Each error stands beside the one
that was recorded when they were made.
"""

from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import load_device
from sweepengine.data.rates import (
    ideal,
    load_rates,
    operands,
    resolved,
    scales_of,
    shipped_rates,
    weight_bytes,
)
from sweepengine.data.speeds import SERVED
from sweepengine.engine.operator_times import operator_times
from sweepengine.validation.calibration import errors
from sweepengine.validation.measured_operators import KINDS, Tables, shipped_tables
from sweepengine.validation.measured_steps import STEPS_TABLE, StepCase, measured_steps
from sweepengine.validation.published_throughputs import Throughput, throughputs
from sweepengine.validation.served import Rows, as_frame, errors_by, read_rows

TOLERANCE = 1.0
"""Points that an error may be worse than the recorded one."""
DISAGGREGATED = "disaggregated"
JUDGED = ("tpot_median", "tpot_mean", "ttft_median", "ttft_mean")
ERROR_MEASURES = ("median", "p90")


class OperatorErrors(NamedTuple):
    """Errors of one kind of operator on rows that its fit did not see, %."""

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
        """Whether it is worse than recorded by more than a point."""
        return self.median > self.recorded_median + TOLERANCE


class Silicon(NamedTuple):
    """Everything that `validate --silicon` found."""

    operators: list[OperatorErrors]
    steps: list[StepCase]
    served: Rows
    published: list[Throughput]

    @property
    def step_median(self) -> float:
        """Median error of steps, %."""
        return float(pl.Series([case.error for case in self.steps]).median() or 0.0)  # type: ignore[arg-type]

    def served_errors(self, *names: str, full: bool = False) -> list[dict[str, Any]]:
        """Errors of aggregated rows of the judging half, by columns; `full`: all of them."""
        judged = as_frame(self.served).filter("aggregated", "judged")
        return list(errors_by(judged if full else judged.filter(~pl.col("full")), *names))

    def recorded_errors(self) -> dict[str, dict[str, Any]]:
        """Errors of serving that are kept beside times: of all rows, by engine, disaggregated."""
        found = {"all": self.served_errors()[0]}
        found |= {errors["engine"]: errors for errors in self.served_errors("engine")}
        split = as_frame(self.served).filter("judged", ~pl.col("aggregated"))
        return found | {DISAGGREGATED: next(iter(errors_by(split)))}

    def operators_by_kind(self) -> list[dict[str, Any]]:
        """Errors of operators by framework, kind and format, means over devices."""
        grouped = pl.DataFrame(self.operators).group_by("kind", "format", "framework")
        errors = pl.mean("median", "p90", "roofline_median", "roofline_p90")
        found = grouped.agg(pl.len().alias("devices"), pl.col("rows").sum(), errors)
        return found.sort("framework", "kind", "format").to_dicts()

    @property
    def problems(self) -> list[str]:
        """What is worse than recorded, a line each."""
        found = [
            f"{e.device}, {e.framework}, {e.kind} {e.format}: {e.median:.1f} %, recorded "
            f"{e.recorded_median:.1f} %"
            for e in self.operators
            if e.worse
        ]
        for name, errors_found in self.recorded_errors().items():
            found += [
                f"served, {name}, {key}: {errors_found[key]:.1f} %, recorded "
                f"{SERVED[name][key]:.1f} %"
                for key in JUDGED
                if errors_found[key] > SERVED[name][key] + TOLERANCE
            ]
        if self.step_median > SERVED[STEPS_TABLE]["median"] + TOLERANCE:
            recorded = SERVED[STEPS_TABLE]["median"]
            found.append(f"steps: {self.step_median:.1f} %, recorded {recorded:.1f} %")
        return found

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
    """Errors of the shipped rates on the judging rows of the tables.

    Raises
    ------
    InputError
        When the extra `silicon` is not installed.
    """
    found = []
    kinds = {kind.name: kind for kind in KINDS}
    for (name, framework), path in shipped_rates().items():
        device = load_device(name)
        tables = Tables(shipped_tables(), device.measured or "")
        for kind_name, fits in load_rates(path).fits.items():
            kind = kinds[kind_name]
            for label, measured in tables.read(kind, framework).items():
                weights, activations = operands(label)
                scales, size = scales_of(device, activations), weight_bytes(weights)
                judged = ~measured.training
                shapes, times = measured.shapes[judged], measured.microseconds[judged]
                ours, sheet = (
                    errors(operator_times(shapes, resolved(kind.rates, rates, scales, size)), times)
                    for rates in (fits[label].rates, ideal(kind.rates))
                )
                fit = fits[label]
                found.append(
                    OperatorErrors(name, framework, kind_name, label, len(times), *ours, *sheet,
                                   fit.median, fit.p90)
                )  # fmt: skip
    return found


def measure() -> Silicon:
    """All comparisons; a few minutes."""
    return Silicon(operator_errors(), measured_steps(), read_rows(), throughputs())


def recorded(found: Silicon) -> str:
    """Errors of serving and of steps as data/measured/served.toml holds them."""
    lines = ["# Errors that `validate --silicon` found when rates and constants were made, %."]
    for name, one in found.recorded_errors().items():
        lines += ["", f"[{name}]", *(f"{key} = {one[key]:.2f}" for key in JUDGED)]
    return "\n".join([*lines, "", f"[{STEPS_TABLE}]", f"median = {found.step_median:.2f}", ""])


if __name__ == "__main__":  # prints data/measured/served.toml, after rates or constants changed
    print(recorded(measure()), end="")
