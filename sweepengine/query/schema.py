"""Columns of points as a person or a program asks for them: type, unit and meaning."""

from collections.abc import Sequence
from typing import NamedTuple

from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import MODEL_AXIS
from sweepengine.grid.columns import AXIS_TEXTS, COLUMNS, RANGES
from sweepengine.query.sources import Source

KINDS = {
    **dict.fromkeys(INPUTS, "input"),
    **{text.name: "text of inputs" for text in AXIS_TEXTS},
    MODEL_AXIS: "input",
}

_NULLS = {"mode": "sizes of no mode", **dict.fromkeys(RANGES, "no measured run like it")}


class Described(NamedTuple):
    """One column."""

    name: str
    kind: str
    """"input", "text of inputs" or "output"."""
    dtype: str
    """Name of a Polars type; an Enum is text, with a dictionary in Parquet."""
    unit: str
    meaning: str
    null: str
    """What null stands for; empty: the column has none."""

    @property
    def stated(self) -> str:
        """Its meaning, and what null stands for."""
        return f"{self.meaning}; null: {self.null}" if self.null else self.meaning


def every_column() -> list[Described]:
    """All columns that points can have: inputs, texts of joint axes, outputs."""
    return [
        Described(
            column.name,
            KINDS.get(column.name, "output"),
            column.dtype,
            column.unit,
            column.meaning,
            _null(column.name),
        )
        for column in COLUMNS
    ]


def columns_of(sources: Sequence[Source]) -> list[Described]:
    """Columns of the points of a grid or a dataset, which may have several models.

    Parameters
    ----------
    sources : sequence of Source
        One for each model.
    """
    names = {name for source in sources for name in source.columns}
    found = [column for column in every_column() if column.name in names]
    if len(sources) > 1:
        model = Described(MODEL_AXIS, "input", "String", "", "name of the model", "")
        found = [model, *found]
    return found


def _null(name: str) -> str:
    if name in INPUTS:
        return str(INPUTS[name].zero)
    return _NULLS.get(name, "")
