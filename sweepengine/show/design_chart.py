"""The answer of `design` as a chart: contours of latency and cost over two figures."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from sweepengine.search.design import DESIGN, DESIGN_FIGURES, Designs
from sweepengine.show.look import BLUE, GREY, HEIGHT, VERMILION, WIDTH, figure, styled

CONTOURS = 6
"""Contours of latency, and of cost."""


def plane(answer: Designs) -> tuple[str, str, pl.DataFrame]:
    """Return the two figures of the axes, and the designs that equal the best in the others."""
    varied = [name for name in DESIGN_FIGURES if answer.designs[name].n_unique() > 1]
    at = answer.best_value or answer.designs.row(0, named=True)
    x, y = (varied[1], varied[0]) if len(varied) > 1 else (varied[0], "")
    alike = [pl.col(name) == at[name] for name in DESIGN_FIGURES if name not in (x, y)]
    return x, y, answer.designs.filter(*alike)


def designs_chart(answer: Designs) -> alt.TopLevelMixin:
    """Draw contours of latency and cost over two figures, and the designs as dots."""
    x, y, designs = plane(answer)
    best = answer.best_value
    title = "No design meets the targets"
    if best is not None:
        shown = ", ".join(
            f"{best[name]:,g} {DESIGN[name].split(', ')[1]}" for name in DESIGN_FIGURES
        )
        title = f"Best value for {answer.grid.model.name}: {shown}"
    note = f"{answer.candidates:,} candidates; lines: lowest latency of a request; dashed: cost"
    if best is not None:
        others = [f"{best[name]:,g} {DESIGN[name].split(', ')[1]}" for name in DESIGN_FIGURES
                  if name not in (x, y)]  # fmt: skip
        note += f"; at {', '.join(others)}; circle: lowest cost per request/s"
    note += f"; {answer.basis}"
    if not y:
        drawn: Any = alt.Chart(designs).mark_line(color=BLUE, point=True).encode(
            x=_axis("X", x, designs), y=alt.Y("latency_s:Q", title="lowest latency of a request, s")
        )  # fmt: skip
        return styled(drawn.properties(width=WIDTH - 100, height=HEIGHT), title, note)
    layers: list[Any] = []
    for measure, colour, dash, name in (("latency_s", BLUE, [1, 0], "s"),
                                        ("cost", GREY, [4, 3], "")):  # fmt: skip
        schema = {"level": pl.Float64, x: pl.Float64, y: pl.Float64}
        lines = pl.DataFrame(equal_lines(designs, x, y, measure), schema=schema)
        lines = lines.with_row_index("order")
        base = alt.Chart(lines).encode(x=_axis("X", x, designs), y=_axis("Y", y, designs))
        layers.append(base.mark_line(color=colour, strokeDash=dash, strokeWidth=1.5).encode(
            detail="level:N", order="order:Q"))  # fmt: skip
        ends = lines.group_by("level", maintain_order=True).agg(pl.all().sort_by(x).last())
        texts = [f"{figure(level)} {name}".strip() for level in ends["level"]]
        named = ends.with_columns(text=pl.Series(texts, dtype=pl.String))
        label = alt.Chart(named).mark_text(color=colour, fontSize=10, align="left", dx=4, dy=-6)
        layers.append(label.encode(x=f"{x}:Q", y=f"{y}:Q", text="text:N"))
    serving = designs.with_columns(
        serves=pl.when(pl.col("cost_per_request").is_not_null())
        .then(pl.lit("meets the targets"))
        .otherwise(pl.lit("does not"))
    )
    dots = alt.Chart(serving).mark_point(filled=True, size=28).encode(
        x=f"{x}:Q", y=f"{y}:Q",
        color=alt.Color("serves:N", title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=["meets the targets", "does not"],
                                        range=[BLUE, "#CCCCCC"])),
        tooltip=[x, y, alt.Tooltip("latency_s:Q", format=".3g"),
                 alt.Tooltip("cost:Q", format=",.0f"),
                 alt.Tooltip("device_tokens_per_s:Q", format=",.0f")],
    )  # fmt: skip
    layers.insert(0, dots)
    if best is not None:
        mark = alt.Chart(pl.DataFrame({x: [best[x]], y: [best[y]]}))
        layers.append(mark.mark_point(size=130, strokeWidth=2.5, color=VERMILION, filled=False)
                      .encode(x=f"{x}:Q", y=f"{y}:Q"))  # fmt: skip
    drawn = alt.layer(*layers).properties(width=WIDTH - 120, height=420)
    return styled(drawn, title, note)


def _axis(kind: str, name: str, designs: pl.DataFrame) -> Any:
    values = [float(value) for value in designs[name].unique().sort()]
    scale = alt.Scale(type="log", nice=False, domain=[values[0], values[-1] * 1.1])
    axis = alt.Axis(format=",~g", values=values, gridOpacity=0.3, labelOverlap=True)
    return getattr(alt, kind)(f"{name}:Q", title=DESIGN[name], scale=scale, axis=axis)


def equal_lines(designs: pl.DataFrame, x: str, y: str, measure: str) -> list[dict[str, float]]:
    """Return points of the contours of a measure, interpolated between neighbouring designs.

    Parameters
    ----------
    designs : polars.DataFrame
        A row for each design.
    x, y : str
        Columns of the axes.
    measure : str
        Column whose contours are drawn.
    """
    known = designs.drop_nulls(measure)
    levels = levels_of(known[measure].to_list())
    points = set()
    for along, across in ((y, x), (x, y)):
        rows = known.sort(across, along).partition_by(across, as_dict=True, maintain_order=True)
        for (at,), row in rows.items():
            places, values = np.log(row[along].to_numpy()), np.log(row[measure].to_numpy())
            for level in levels:
                side = values - math.log(level)
                for i in np.flatnonzero(side[:-1] * side[1:] < 0)[:1]:
                    part = side[i] / (side[i] - side[i + 1])
                    place = math.exp(places[i] + part * (places[i + 1] - places[i]))
                    points.add((level, *((place, float(at)) if along == x else (float(at), place))))
    ordered = sorted(points, key=lambda point: (point[0], point[1], -point[2]))
    return [{"level": level, x: at_x, y: at_y} for level, at_x, at_y in ordered]


def levels_of(values: Sequence[float]) -> list[float]:
    """Return levels between values, evenly spaced on a logarithmic scale, to two digits."""
    if not values or min(values) == max(values):
        return []
    inside = np.geomspace(min(values), max(values), CONTOURS + 2)[1:-1]
    return sorted({float(f"{level:.2g}") for level in inside})
