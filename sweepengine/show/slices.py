"""The slice of a source that a chart shows: each input that it does not draw has one value."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from sweepengine.query.folds import Fold, folded
from sweepengine.query.sources import Source
from sweepengine.show.layouts import LAYOUT_COLUMNS, PRECISION_COLUMNS, layout_label

LENGTHS = ("text_tokens", "prompt_tokens", "decode_steps")
"""Inputs that are held at their middle value; others at their first one."""
TITLES = {"batch_size": "batch"}
"""Titles of inputs that are not their names."""
PREFERRED = {"attention": "flash"}
"""Values at which an input is held where the source has them."""


class Slice(NamedTuple):
    """A source, the inputs that vary in it, and a point at which charts hold them."""

    source: Source
    varying: tuple[str, ...]
    point: dict[str, Any]
    """All inputs of the point, which is one of the source."""

    def varies(self, *names: str) -> bool:
        """Tell whether one of the inputs has several values."""
        return any(name in self.varying for name in names)

    def at(self, point: dict[str, Any]) -> "Slice":
        """Return the slice through another point of the source."""
        return self._replace(point={name: point[name] for name in self.point})

    def points(self, drawn: Collection[str]) -> pl.LazyFrame:
        """Return the points whose inputs, but for the drawn ones, are those of the point."""
        kept = self.source.points
        for name in self.varying:  # one condition an input: each drops values of its axis
            if name not in drawn:
                kept = kept.filter(pl.col(name).eq_missing(pl.lit(self.point[name])))
        return kept

    def text(self, drawn: Collection[str]) -> str:
        """Describe what is held: "batch 1, 500 decode steps, tp4"; empty if nothing is."""
        held = [name for name in self.varying if name not in drawn]
        laid = [name for name in held if name in (*LAYOUT_COLUMNS, *PRECISION_COLUMNS)]
        texts = [self._value(name) for name in held if name not in laid]
        return ", ".join([*texts, *([layout_label(self.source, self.point)] if laid else [])])

    def _value(self, name: str) -> str:
        value = self.point[name]
        number = f"{value:,}" if isinstance(value, int) else f"{value}"
        return f"{TITLES.get(name, name.replace('_', ' '))} {number}"


def slice_of(source: Source) -> Slice:
    """Return the slice of a source through a typical point.

    Lengths are held at their middle value, other inputs at their first one; steps above 0 and
    flash attention where there are some. Each value is chosen among the points that have those
    chosen before, so that a point with all of them exists.
    """
    points, varying = source.points, _varying(source)
    for name in varying:
        values = points.select(pl.col(name).unique().sort()).pipe(source.collected)[name].to_list()
        points = points.filter(pl.col(name).eq_missing(pl.lit(_typical(name, values))))
    row = points.select(source.inputs).pipe(source.collected).row(0, named=True)
    return Slice(source, varying, row)


def _typical(name: str, values: list[Any]) -> Any:
    if name == "decode_steps":
        values = [value for value in values if value] or values
    if name in LENGTHS:
        return values[len(values) // 2]
    return PREFERRED[name] if PREFERRED.get(name) in values else values[0]


def _varying(source: Source) -> tuple[str, ...]:
    names = source.inputs
    if source.grid is not None:
        ends = {name: np.ptp(axis.values[:, i])
                for axis in source.grid.axes for i, name in enumerate(axis.columns)}  # fmt: skip
        return tuple(name for name in names if ends[name])
    folds = [Fold(f"{name}:{how}", pl.col(name).to_physical(), how)
            for name in names for how in ("min", "max")]  # fmt: skip
    folds += [Fold(f"{name}:{which}", of, "any") for name in names
             for which, of in (("null", pl.col(name).is_null()),
                               ("known", pl.col(name).is_not_null()))]  # fmt: skip
    row = folded(source, [], folds).row(0, named=True)
    return tuple(
        name
        for name in names
        if row[f"{name}:min"] != row[f"{name}:max"]
        or (row[f"{name}:null"] and row[f"{name}:known"])
    )
