"""Charts of evidence: predicted against measured times of servers, and errors of operators."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from sweepengine.data.error_classes import COLLECTIONS, ENGINE_TITLES, TIMES
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.show.look import BLUE, GREEN, GREY, VERMILION, styled, title_of
from sweepengine.show.silicon import OPERATORS

if TYPE_CHECKING:
    from sweepengine.validation.judged import JudgedRun
    from sweepengine.validation.silicon import Silicon

MILLI = 1e3
SIDE = 380
"""Pixels of a panel."""
EVIDENCE, WHEEL = "evidence", "wheel"
"""Names of the charts of runs; the second is a collection."""
BANDS = (0.9, 0.5)
INCLUDED = ", disaggregated and speculative ones included"
DIGITS = 3
"""Significant digits of times, which keep files small."""


def charts(silicon: "Silicon") -> dict[str, alt.TopLevelMixin]:
    """Draw all held-out runs, those of the largest collection by engine, and the operators."""
    held_out = [run for run in silicon.runs if run.judging]
    wheel = [run for run in held_out if run.collection == WHEEL]
    return {
        EVIDENCE: _evidence(held_out),
        WHEEL: _scatter(WHEEL, wheel),
        OPERATORS: _operators(silicon),
    }


def _evidence(runs: Sequence["JudgedRun"]) -> alt.TopLevelMixin:
    """Draw all runs by collection, with the bands that hold half and 90 % of them."""
    rows = [
        (what.upper(), COLLECTIONS[run.collection], *times)
        for run in runs
        for what in TIMES
        if (times := _rounded(run, what)) is not None
    ]
    frame = pl.DataFrame(rows, schema=["time", "group", "measured", "predicted"], orient="row")
    shown = [title for title in COLLECTIONS.values() if title in set(frame["group"])]
    panels = [_panel(frame.filter(time=what.upper()), what.upper(), shown, BANDS)
              for what in TIMES]  # fmt: skip
    note = f"{len(runs):,} held-out runs{INCLUDED}; dashed: equal; bands: half and 90 % of the runs"
    drawn = alt.HConcatChart(hconcat=panels)
    return styled(drawn, f"Predicted against measured: {_medians(frame)}", note)


def _medians(frame: pl.DataFrame) -> str:
    """Say the median error of each time."""
    errors = (100 * (pl.col("predicted") / pl.col("measured") - 1).abs()).alias("error")
    medians = frame.group_by("time", maintain_order=True).agg(errors.median())
    texts = [f"{time} {error:.1f} %" for time, error in medians.rows()]
    return f"{' and '.join(texts)} off in the median"


def _operators(silicon: "Silicon") -> alt.TopLevelMixin:
    """Draw median errors of operators on the default serving engine, beside the data sheet's."""
    rows = [
        {"operator": f"{row['kind']}, {row['format']}", "of": of, "error": row[name]}
        for row in silicon.operators_by_kind()
        if row["framework"] == FRAMEWORKS[0]
        for of, name in (("measured rates", "median"), ("data sheet", "roofline_median"))
    ]
    frame = pl.DataFrame(rows, schema={"operator": pl.String, "of": pl.String,
                                       "error": pl.Float64})  # fmt: skip
    names = ["measured rates", "data sheet"]
    drawn = alt.Chart(frame).mark_bar().encode(
        x=alt.X("error:Q", title="median error, %", axis=alt.Axis(gridOpacity=0.4)),
        y=alt.Y("operator:N", title=None, axis=alt.Axis(labelLimit=220)),
        yOffset=alt.YOffset("of:N", sort=names),
        color=alt.Color("of:N", title=None, sort=names, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=names, range=[BLUE, GREY])),
    ).properties(width=2 * SIDE, height=26 * frame["operator"].n_unique())  # fmt: skip
    title = f"Operators under {FRAMEWORKS[0]}: errors on held-out rows, means over devices"
    return styled(drawn, title, "median of |predicted / measured - 1|")


def _scatter(collection: str, runs: Sequence["JudgedRun"]) -> alt.TopLevelMixin:
    """Draw the runs of a collection by serving engine."""
    rows = [
        (what.upper(), ENGINE_TITLES[run.engine], *times)
        for run in runs
        for what in TIMES
        if (times := _rounded(run, what)) is not None
    ]
    frame = pl.DataFrame(rows, schema=["time", "group", "measured", "predicted"], orient="row")
    engines = list(ENGINE_TITLES.values())
    panels = [_panel(frame.filter(time=what.upper()), what.upper(), engines) for what in TIMES]
    drawn = alt.HConcatChart(hconcat=panels)
    note = f"{len(runs):,} held-out runs{INCLUDED}; dashed: equal"
    return styled(drawn, f"{COLLECTIONS[collection]}: {_medians(frame)}", note)


def _rounded(run: "JudgedRun", what: str) -> tuple[float, float] | None:
    """Measured and predicted milliseconds, rounded; None where one is missing."""
    measured, predicted = getattr(run, f"{what}_measured"), getattr(run, f"{what}_predicted")
    if measured is None or predicted is None:
        return None
    return float(f"{measured * MILLI:.{DIGITS}g}"), float(f"{predicted * MILLI:.{DIGITS}g}")


def _panel(
    frame: pl.DataFrame, title: str, groups: Sequence[str], bands: Sequence[float] = ()
) -> Any:
    """Draw predicted against measured times.

    Parameters
    ----------
    frame : polars.DataFrame
        `group`, `measured` and `predicted`, ms.
    title : str
        The time.
    groups : sequence of str
        Values of `group`, in the order of the legend.
    bands : sequence of float
        Shares of the runs that bands of predicted / measured hold.
    """
    times = pl.concat([frame["measured"], frame["predicted"]])
    low, high = float(times.min()) * 0.8, float(times.max()) * 1.25  # type: ignore[arg-type]
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(format=",~g")
    x = alt.X("measured:Q", scale=scale, axis=axis, title=f"measured {title}, ms")
    y = alt.Y("predicted:Q", scale=scale, axis=axis, title=f"predicted {title}, ms")
    layers: list[Any] = []
    ratios = frame["predicted"] / frame["measured"]
    for share in bands:
        ends = [float(ratios.quantile(0.5 + side * share / 2) or 1.0) for side in (-1, 1)]
        edges = pl.DataFrame([{"measured": at, "predicted": at * ends[0], "top": at * ends[1]}
                              for at in (low, high)])  # fmt: skip
        area = alt.Chart(edges).mark_area(color=GREY, opacity=0.13, clip=True)
        layers.append(area.encode(x=x, y=y, y2="top:Q"))
    equal = pl.DataFrame({"measured": [low, high], "predicted": [low, high]})
    layers.append(alt.Chart(equal).mark_line(color=GREY, strokeDash=[4, 3]).encode(x=x, y=y))
    colour = alt.Color("group:N", title=None, sort=list(groups),
                       legend=alt.Legend(orient="top", labelLimit=300),
                       scale=alt.Scale(domain=list(groups),
                                       range=[BLUE, VERMILION, GREEN]))  # fmt: skip
    points = alt.Chart(frame).mark_point(filled=True, size=16, opacity=0.5, aria=False)
    layers.append(points.encode(x=x, y=y, color=colour))
    layered: Any = alt.layer(*layers)
    return layered.properties(width=SIDE, height=SIDE)


def titles(drawn: dict[str, alt.TopLevelMixin]) -> dict[str, str]:
    """Return the title of each chart, by name."""
    return {name: title_of(chart) for name, chart in drawn.items()}
