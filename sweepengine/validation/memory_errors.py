"""Errors of the memory model on logged starts of serving engines, by class, against recorded ones.

Shipped constants are used; nothing is fitted here. `python -m sweepengine.validation.memory_errors`
prints data/measured/memory_errors.toml, after rows, constants or formulas changed.
"""

from typing import Any, Final, NamedTuple

import polars as pl

from sweepengine.data.files import shipped_table
from sweepengine.validation.engine_starts import LARGE_POOL, Rows, as_frame, errors_by, read_starts
from sweepengine.validation.measured_operators import silicon_folder

TOLERANCE = 1.0
"""Percentage points by which an error may exceed the recorded one."""
CLASSES = ("pools", "half", "engine", "version", "kind", "tensor")
"""Columns that rows are grouped by."""
JUDGED = ("median", "p90")
RECORDED: Final = shipped_table("measured", "memory_errors.toml")
"""Rows, median and 90th percentile of errors, %, by class and figure."""


class ClassErrors(NamedTuple):
    """Errors of one figure on rows of one class, %."""

    column: str
    """One of `CLASSES`; "all" for all rows."""
    value: str
    figure: str
    rows: int
    median: float
    p90: float
    signed: float
    """Median of ours over measured - 1."""

    @property
    def name(self) -> str:
        """Name of the class in the file of recorded errors."""
        return f"{self.column} {self.value}".strip()

    @property
    def problem(self) -> str:
        """How it is worse than recorded; empty if it is not."""
        recorded = RECORDED.get(self.name, {}).get(self.figure)
        if recorded is None:
            return f"{self.name}, {self.figure}: not recorded"
        if self.rows != recorded["rows"]:
            return f"{self.name}, {self.figure}: {self.rows} rows, recorded {recorded['rows']}"
        worse = [
            f"{key} {getattr(self, key):.1f} %, recorded {recorded[key]:.1f} %"
            for key in JUDGED
            if getattr(self, key) > recorded[key] + TOLERANCE
        ]
        return f"{self.name}, {self.figure}: {'; '.join(worse)}" if worse else ""


class MemoryErrors(NamedTuple):
    """All results of `validate --memory`."""

    rows: Rows
    classes: list[ClassErrors]

    @property
    def problems(self) -> list[str]:
        """One line for each error that exceeds the recorded one by more than `TOLERANCE`."""
        return [one.problem for one in self.classes if one.problem]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "rows": as_frame(self.rows).to_dicts(),
            "not_compared": dict(self.rows.reasons),
            "classes": [one._asdict() for one in self.classes],
            "problems": self.problems,
        }


def measure() -> MemoryErrors:
    """Compare all rows.

    Raises
    ------
    InputError
        When the extra `silicon` is not installed, which has the configs of some models.
    """
    silicon_folder("model_configs")
    rows = read_starts()
    large = pl.when("large").then(pl.lit(f"of {LARGE_POOL:.0f} GiB or more"))
    frame = as_frame(rows).with_columns(
        pools=large.otherwise(pl.lit("smaller, or not logged")),
        version=pl.col("engine") + " " + pl.col("version"),
        tensor=pl.lit("tp") + pl.col("tensor").cast(pl.String),
    )
    classes = [ClassErrors(column="all", value="", **one) for one in errors_by(frame)]
    for column in CLASSES:
        classes += [
            ClassErrors(column=column, value=one.pop(column), **one)
            for one in errors_by(frame, column)
        ]
    return MemoryErrors(rows, classes)


def recorded(errors: MemoryErrors) -> str:
    """Errors in the format of data/measured/memory_errors.toml."""
    lines = ["# Errors of `validate --memory` when its rows or constants last changed, %."]
    for one in errors.classes:
        lines += ["", f'["{one.name}"."{one.figure}"]', f"rows = {one.rows}"]
        lines += [f"{key} = {getattr(one, key):.3f}" for key in JUDGED]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(recorded(measure()), end="")
