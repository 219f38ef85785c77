"""Limits maps as charts: batch against length, coloured by the limiting factor."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from sweepengine.data.devices import Device
from sweepengine.data.errors import InputError
from sweepengine.formulas.points import IMAGE_COLUMNS
from sweepengine.grid.lengths import lengths_of
from sweepengine.grid.shorthand import layout_text, precision_text
from sweepengine.query.sources import Source
from sweepengine.search.limits_map import MEMORY, SERVES, STOPS, LimitsMap, Maps, find_maps
from sweepengine.search.options import LatencyTargets, MapOptions
from sweepengine.show.layouts import LAYOUT_COLUMNS, PRECISION_COLUMNS
from sweepengine.show.look import BLUE, GREY, ORANGE, PINK, Chart, figure, styled, title_of
from sweepengine.show.maps import article

LIMIT_COLOURS = ("#DCEBDD", GREY, ORANGE, PINK)
LIMIT_TITLES = ("within targets", *STOPS[1:])
BANDS = 90
"""Bands of batches of a panel; each shows its middle batch."""
PANEL_WIDTH = 420
OVERLAP = 1.02
MOST_CONTOURS = 6
READ_AT = {"prompt": 4_000, "answer": 1_000}
"""Length at which the title of a map says the largest batch, by what varies."""
REPORT_CELLS = 10_000
"""Points of a panel of a report."""
LENGTH_COLUMNS = (*IMAGE_COLUMNS, "text_tokens", "cached_tokens")
"""Inputs that the map of a report takes from its source; prompt or answer is an axis."""


def maps_chart(maps: Maps, width: int = PANEL_WIDTH) -> alt.TopLevelMixin:
    """Draw panels side by side: areas of limiting factors, contours of throughput, the best point.

    A band shows one batch. Neighbours with the same limiting factor are one rectangle, so a million
    points need a few hundred marks, whose edges are exact.
    """
    drawn: list[Any] = [_panel(maps, panel, width) for panel in maps.panels]
    targets = maps.options.targets
    reached = [(panel.device.name, _largest(panel, READ_AT[maps.over])) for panel in maps.panels]
    texts = [
        f"batch {most:,} on {name}" if most else f"no batch on {name}" for name, most in reached
    ]
    title = (
        f"{maps.model.name}, {article(maps.over)} of {READ_AT[maps.over]:,} tokens: within the "
        f"targets to about {', '.join(texts)}"
    )
    points = sum(panel.stops.size for panel in maps.panels)
    note = (
        f"TTFT {targets.ttft_s:g} s, TPOT {targets.tpot_s * 1000:g} ms; {points:,} points; "
        f"contours: {maps.unit} per device; circle: highest tokens/s within targets"
    )
    joined = alt.HConcatChart(hconcat=drawn).resolve_scale(color="shared")
    return styled(joined, title, note, len(drawn) * width)


def _largest(panel: LimitsMap, length: int) -> int:
    """Return the largest batch within the targets at the mapped length nearest to a length."""
    column = int(np.abs(np.log(panel.lengths / length)).argmin())
    within = panel.batches[panel.stops[:, column] == SERVES]
    return int(within.max()) if len(within) else 0


def _panel(maps: Maps, panel: LimitsMap, width: int) -> alt.TopLevelMixin:
    lengths, batches = panel.lengths, panel.batches
    x = alt.X("from:Q", title=f"tokens of {article(maps.over)}",
              scale=alt.Scale(type="log", domain=[int(lengths[0]), int(lengths[-1])], nice=False),
              axis=alt.Axis(format="~s", grid=False, tickCount=5, labelOverlap=True))  # fmt: skip
    y = alt.Y("low:Q", title="batch size (B)",
              scale=alt.Scale(type="log", base=2, domain=[1, int(batches[-1])], nice=False),
              axis=alt.Axis(format=",d", grid=False))  # fmt: skip
    # Bands overlap a little, so that no gap shows between them.
    top = pl.min_horizontal(pl.col("high") * OVERLAP, pl.lit(float(batches[-1])))
    drawn = pl.DataFrame(rectangles(panel)).with_columns(top.alias("top"))
    areas = alt.Chart(drawn).mark_rect().encode(
        x=x, x2=alt.X2("to:Q"), y=y, y2=alt.Y2("top:Q"),
        color=alt.Color("limit:N", title="limiting factor", sort=list(LIMIT_TITLES),
                        scale=alt.Scale(domain=list(LIMIT_TITLES), range=list(LIMIT_COLOURS)),
                        legend=alt.Legend(orient="top")),
        tooltip=[alt.Tooltip("limit"), alt.Tooltip("low:Q", title="batch", format=",.0f"),
                 alt.Tooltip("from:Q", format=",.0f"), alt.Tooltip("to:Q", format=",.0f")],
    )  # fmt: skip
    layers: list[Any] = [areas]
    lines = pl.DataFrame(contours(panel), schema={"level": pl.Float64, "length": pl.Float64,
                                                  "batch": pl.Float64})  # fmt: skip
    if lines.height:
        base = alt.Chart(lines).encode(
            x=alt.X("length:Q"),
            y=alt.Y("batch:Q"),
            detail=alt.Detail("level:N"),
            order=alt.Order("batch:Q"),
        )
        layers.append(base.mark_line(color=BLUE, strokeWidth=1, opacity=0.8))
        by_level = lines.group_by("level", maintain_order=True)
        ends = by_level.agg(pl.all().sort_by("batch").last())
        text = ends.with_columns(
            text=pl.Series([figure(v) for v in ends["level"]], dtype=pl.String)
        )
        layers.append(
            alt.Chart(text).mark_text(color=BLUE, fontSize=11, align="right", dx=-3, dy=9).encode(
                x=alt.X("length:Q"), y=alt.Y("batch:Q"), text=alt.Text("text:N")
            )
        )  # fmt: skip
    if panel.best:
        mark = pl.DataFrame({"x": [panel.best["length"]], "y": [panel.best["batch_size"]]})
        point = alt.Chart(mark).mark_point(size=110, strokeWidth=2.5, color="black", filled=False)
        layers.append(point.encode(x=alt.X("x:Q"), y=alt.Y("y:Q")))
    title = alt.TitleParams(panel.device.name, fontSize=12, anchor="middle")
    return alt.layer(*layers).properties(width=width, height=width * 0.8, title=title)


def bands(panel: LimitsMap) -> list[tuple[int, float, float]]:
    """Return the drawn rows, each with the lowest and highest batch of its band."""
    batches = panel.batches
    edges = np.unique(np.geomspace(1, batches[-1], BANDS + 1).round())
    drawn = []
    for low, high in pairwise(edges):
        middle = math.sqrt(low * high)
        row = int(np.abs(np.log(batches / middle)).argmin())
        drawn.append((row, float(low), float(high)))
    return drawn


def rectangles(panel: LimitsMap) -> list[dict[str, Any]]:
    """Return runs of points with the same limiting factor, joined over equal bands."""
    lengths = panel.lengths
    between = np.sqrt(lengths[1:].astype(float) * lengths[:-1])
    edges = np.concatenate([[lengths[0]], between, [lengths[-1]]])
    joined: list[dict[str, Any]] = []
    below: dict[tuple[int, float, float], dict[str, Any]] = {}
    for row, low, high in bands(panel):
        stops = panel.stops[row]
        cuts = np.flatnonzero(np.diff(stops)) + 1
        here: dict[tuple[int, float, float], dict[str, Any]] = {}
        for start, stop in pairwise([0, *cuts.tolist(), len(stops)]):
            key = (int(stops[start]), float(edges[start]), float(edges[stop]))
            if (grown := below.get(key)) is not None:
                grown["high"] = high
                here[key] = grown
                continue
            here[key] = {"limit": LIMIT_TITLES[key[0]], "from": key[1], "to": key[2],
                         "low": low, "high": high}  # fmt: skip
            joined.append(here[key])
        below = here
    return joined


def contours(panel: LimitsMap) -> list[dict[str, float]]:
    """Return contours of throughput: the longest length that reaches a level, where it fits."""
    fits = panel.stops != MEMORY
    if not fits.any():
        return []
    rates = np.where(fits, panel.made, np.nan)
    low, high = np.nanmin(rates), np.nanmax(rates)
    steps = [m * 10.0**e for e in range(-3, 10) for m in (1, 2, 5)]
    levels = [level for level in steps if low < level < high][-MOST_CONTOURS:]
    logs = np.log(panel.lengths)
    points = []
    for level in levels:
        for row in dict.fromkeys(row for row, _, _ in bands(panel)):
            values = rates[row]
            above = np.flatnonzero(values >= level)
            if not len(above) or above[-1] + 1 >= len(values) or np.isnan(values[above[-1] + 1]):
                continue
            at = above[-1]
            part = (values[at] - level) / (values[at] - values[at + 1])
            length = math.exp(logs[at] + part * (logs[at + 1] - logs[at]))
            points.append({"level": level, "length": length, "batch": float(panel.batches[row])})
    return points


def report_map(
    source: Source, point: Mapping[str, Any], devices: Sequence[Device], targets: LatencyTargets
) -> Chart | None:
    """Draw the map of a source for requests like a point of it, in its layout and formats.

    Parameters
    ----------
    source : Source
    point : mapping
        All inputs of the point.
    devices : sequence of Device
    targets : LatencyTargets

    Returns
    -------
    Chart or None
        None where no device can run the point: its layout needs links.
    """
    model = source.loaded
    drawn_over = "answer" if model.has_vision else "prompt"
    fixed = (*LENGTH_COLUMNS, *(() if model.has_vision else ("decode_steps",)))
    names = [name for name in fixed if name in source.inputs]
    lengths = lengths_of(source.place, model, {name: [point[name]] for name in names})
    laid = {name: point[name] for name in (*LAYOUT_COLUMNS, *PRECISION_COLUMNS)}
    layout, precision = (
        layout_text(laid) or "tp1",
        precision_text(model.architecture, *(str(laid[name]) for name in PRECISION_COLUMNS)),
    )
    options = MapOptions(
        targets, drawn_over, cells=REPORT_CELLS, layout=layout, precision=precision
    )
    try:
        maps = find_maps(model, devices, lengths, options)
    except InputError:
        return None
    drawn = maps_chart(maps)
    return Chart("limits", title_of(drawn), drawn, "times")
