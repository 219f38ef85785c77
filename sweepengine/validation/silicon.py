"""Compares times with measured operators, their sums, measured serving and published throughputs.

Shipped rates and constants are used; constants are fitted anew only to judge runs without their
family or generation. Each error is compared with the recorded one.
`python -m sweepengine.validation.silicon` records those of servers and of passes.
"""

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sweepengine.data.devices import load_device
from sweepengine.data.error_classes import (
    FAMILY,
    TIMES,
    ClassKey,
    Figures,
    Recorded,
    error_table,
)
from sweepengine.data.rates import ideal, load_rates, shipped_rates
from sweepengine.validation.calibration import errors, predicted_us, units_of
from sweepengine.validation.error_table import (
    COLLECTION_KEYS,
    classes_of,
    collections_of,
    recorded_of,
    written,
)
from sweepengine.validation.judged import JudgedRun
from sweepengine.validation.measured_operators import Tables, shipped_tables
from sweepengine.validation.measured_steps import STEPS_TABLE, StepCase, measured_steps
from sweepengine.validation.operator_kinds import KINDS
from sweepengine.validation.published_throughputs import Throughput, throughputs
from sweepengine.validation.real_runs import real_rows
from sweepengine.validation.served import Rows, as_frame, errors_by, read_rows
from sweepengine.validation.served_speculation import speculative_runs
from sweepengine.validation.wheel_runs import wheel_runs

ERROR_TABLE = error_table()
TOLERANCE = 1.0
"""Percentage points by which an error may exceed the recorded one."""
JUDGED = ("median", "p90")


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
    runs: tuple[JudgedRun, ...]
    """Measured runs of all collections, as predicted by default."""
    variants: tuple[JudgedRun, ...]
    """Held-out runs once more, as predicted with less (`error_classes.BASES`)."""
    classes: dict[ClassKey, Recorded]
    """Errors by class, as points look them up."""
    collections: dict[tuple[str, ...], Recorded]
    """Errors by collection, mode, kind of model, serving engine and generation."""

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

    @property
    def known(self) -> Recorded:
        """Errors of the held-out rows of aggregated serving without drafts, as by default."""
        wheel = [run for run in self.runs if run.judging and run.collection == "wheel"]
        return recorded_of([r for r in wheel if not (r.disaggregated or r.speculative)])

    @property
    def left_out(self) -> Recorded:
        """Errors of those of them that have a factor, with their family left out of the fit."""
        own = [run for run in self.variants if run.basis == FAMILY and not run.speculative]
        return recorded_of(own)

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
        recorded = {tuple(row.get(name, "") for name in ClassKey._fields): row
                    for row in ERROR_TABLE["classes"]}  # fmt: skip
        problems += _grown("class", self.classes, recorded)
        recorded = {tuple(row.get(name, "") for name in COLLECTION_KEYS): row
                    for row in ERROR_TABLE["collections"]}  # fmt: skip
        problems += _grown("collection", self.collections, recorded)
        steps = ERROR_TABLE[STEPS_TABLE]["median"]
        if self.step_median > steps + TOLERANCE:
            problems.append(f"passes: {self.step_median:.1f} %, recorded {steps:.1f} %")
        return problems

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "operators": [errors._asdict() for errors in self.operators],
            "steps": [case._asdict() for case in self.steps],
            "served": [row._asdict() for row in self.served.served],
            "runs": [run._asdict() for run in self.runs],
            "collections": [
                dict(zip(COLLECTION_KEYS, names, strict=True)) | _as_dict(errors)
                for names, errors in self.collections.items()
            ],
            "classes": [key._asdict() | _as_dict(errors) for key, errors in self.classes.items()],
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


def _as_dict(errors: Recorded) -> dict[str, Any]:
    figures = {what: getattr(errors, what) for what in TIMES}
    return {"runs": errors.runs} | {what: f and f._asdict() for what, f in figures.items()}


def _grown(
    of: str, measured: Mapping[Any, Recorded], recorded: Mapping[tuple[str, ...], dict[str, Any]]
) -> Iterator[str]:
    """One line for each class whose runs, or whose errors by more than `TOLERANCE`, differ.

    Parameters
    ----------
    of : str
        What the classes are, for messages.
    measured : mapping of tuple of str to Recorded
    recorded : mapping of tuple of str to dict
        Rows of data/measured/error_classes.toml.
    """
    for key in sorted({*measured, *recorded}):
        name = f"{of} of {', '.join(filter(None, key))}"
        if key not in measured or key not in recorded:
            yield f"{name}: {'not recorded' if key in measured else 'recorded, but has no runs'}"
            continue
        errors, row = measured[key], recorded[key]
        if errors.runs != row["runs"]:
            yield f"{name}: {errors.runs} runs, recorded {row['runs']}"
        for what in TIMES:
            now, before = getattr(errors, what), row.get(what)
            if now is None or before is None:
                continue
            for figure in JUDGED:
                was, found = getattr(Figures(*before), figure), getattr(now, figure)
                if found > was + TOLERANCE:
                    yield f"{name}, {what} {figure}: {found:.1f} %, recorded {was:.1f} %"


def measure() -> Silicon:
    """Run all comparisons, which takes a few minutes."""
    return judged(operator_errors(), throughputs())


def judged(operators: list[OperatorErrors], published: list[Throughput]) -> Silicon:
    """All comparisons with measured passes and servers, beside these."""
    rows = read_rows()
    wheel, speculative = wheel_runs(rows), speculative_runs()
    runs = (*wheel.runs, *speculative.runs, *real_rows())
    variants = (*wheel.variants, *speculative.variants)
    return Silicon(
        operators,
        measured_steps(),
        rows,
        published,
        runs,
        variants,
        classes_of((*runs, *variants)),
        collections_of(runs),
    )


def main() -> None:
    """Judge all runs, and write data/measured/error_classes.toml."""
    silicon = judged([], [])
    split = recorded_of([run for run in silicon.runs if run.judging and run.disaggregated])
    lines = written(silicon.classes, silicon.collections, split, silicon.step_median)
    path = Path(str(resources.files("sweepengine.data"))) / "measured" / "error_classes.toml"
    path.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
