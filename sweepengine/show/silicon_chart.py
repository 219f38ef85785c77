"""Predicted over measured times of servers, one chart for each collection of runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import polars as pl

from sweepengine.data.error_classes import COLLECTIONS, ENGINE_TITLES, TIMES
from sweepengine.show.look import BLUE, GREEN, GREY, VERMILION, styled

if TYPE_CHECKING:
    from sweepengine.validation.judged import JudgedRun

MILLI = 1e3
SIDE = 380
"""Pixels of a panel."""
DIGITS = 3
"""Significant digits of times, which keep files small."""


def charts(runs: Sequence["JudgedRun"]) -> dict[str, alt.TopLevelMixin]:
    """Draw the held-out runs of each collection that has some, by its name."""
    held_out = [run for run in runs if run.judging]
    by_name = {name: [run for run in held_out if run.collection == name] for name in COLLECTIONS}
    return {name: _scatter(name, of_name) for name, of_name in by_name.items() if of_name}


def _scatter(collection: str, runs: Sequence["JudgedRun"]) -> alt.TopLevelMixin:
    rows = [
        (
            what.upper(),
            ENGINE_TITLES[run.engine],
            *(float(f"{t * MILLI:.{DIGITS}g}") for t in times),
        )
        for run in runs
        for what in TIMES
        if None not in (times := _times(run, what))
    ]
    columns = ["time", "engine", "measured", "predicted"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    panels: list[Any] = [_panel(frame.filter(time=what.upper()), what.upper()) for what in TIMES]
    drawn = alt.HConcatChart(hconcat=panels)
    errors = (100 * (pl.col("predicted") / pl.col("measured") - 1).abs()).alias("error")
    medians = frame.group_by("time", maintain_order=True).agg(errors.median())
    texts = [f"{time} {error:.0f} %" for time, error in medians.rows()]
    title = f"{COLLECTIONS[collection]}: {' and '.join(texts)} off in the median"
    note = (
        f"{len(runs):,} held-out runs, disaggregated and speculative ones included; dashed: equal"
    )
    return styled(drawn, title, note)


def _times(run: "JudgedRun", what: str) -> tuple[Any, Any]:
    return getattr(run, f"{what}_measured"), getattr(run, f"{what}_predicted")


def _milliseconds(seconds: float) -> float:
    return float(f"{seconds * MILLI:.{DIGITS}g}")


def _panel(frame: pl.DataFrame, title: str) -> Any:
    times = pl.concat([frame["measured"], frame["predicted"]])
    low, high = float(times.min()) * 0.8, float(times.max()) * 1.25  # type: ignore[arg-type]
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = alt.Axis(format=",~g")
    x = alt.X("measured:Q", scale=scale, axis=axis, title=f"measured {title}, ms")
    y = alt.Y("predicted:Q", scale=scale, axis=axis, title=f"predicted {title}, ms")
    ends = pl.DataFrame({"measured": [low, high], "predicted": [low, high]})
    diagonal = alt.Chart(ends).mark_line(color=GREY, strokeDash=[4, 3]).encode(x=x, y=y)
    colour = alt.Color("engine:N", title=None, legend=alt.Legend(orient="top"),
                       scale=alt.Scale(domain=list(ENGINE_TITLES.values()),
                                       range=[BLUE, VERMILION, GREEN]))  # fmt: skip
    points = alt.Chart(frame).mark_point(filled=True, size=16, opacity=0.5, aria=False)
    layered: Any = alt.layer(diagonal, points.encode(x=x, y=y, color=colour))
    return layered.properties(width=SIDE, height=SIDE)
