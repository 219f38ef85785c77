"""Limits maps as charts: batch against length, coloured by what stops a point."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from sweepengine.data.files import known
from sweepengine.data.models import load_model
from sweepengine.data.stated import stated
from sweepengine.formulas.points import IMAGE_COLUMNS
from sweepengine.grid.lengths import lengths_of
from sweepengine.query.sources import Source
from sweepengine.search.limits_map import MEMORY, STOPS, LimitsMap, Maps, find_maps
from sweepengine.search.options import LatencyTargets, MapOptions
from sweepengine.show.look import BLUE, GREY, ORANGE, PINK, Chart, figure, styled, title_of
from sweepengine.show.maps import article

COLOURS = ("#DCEBDD", GREY, ORANGE, PINK)
ROWS = 90
"""Bands of batches that a panel draws; of each the middle batch."""
PANEL = 420
OVERLAP = 1.02
LEVELS = 6
REPORT_CELLS = 10_000
"""Points of a panel of a report."""
LENGTH_COLUMNS = (*IMAGE_COLUMNS, "text_tokens", "cached_tokens")
"""What a report's map takes from its source; the prompt or the answer is its axis."""


def maps_chart(maps: Maps, width: int = PANEL) -> alt.TopLevelMixin:
    """Panels side by side: areas, lines of what a device makes alike, the best point marked.

    A band holds one batch; along it neighbours with the same limit are one rectangle, so a
    million points are a few hundred marks whose edges are exact.
    """
    drawn: list[Any] = [_panel(maps, panel, width) for panel in maps.panels]
    targets = maps.options.targets
    best = max((panel for panel in maps.panels if panel.best), key=_made, default=None)
    title = f"No batch and length of {maps.model.name} serves within the targets"
    if best is not None and best.best is not None:
        title = (
            f"{maps.model.name}: {best.device.name} makes most, {figure(_made(best))} "
            f"tokens/s at batch {best.best['batch_size']} and {best.best['length']:,} tokens"
        )
    points = sum(panel.stops.size for panel in maps.panels)
    note = (
        f"TTFT {targets.ttft_s:g} s, TPOT {targets.tpot_s * 1000:g} ms; {points:,} points; lines: "
        f"a device makes as many {maps.unit}; circle: most tokens/s of what serves"
    )
    joined = alt.HConcatChart(hconcat=drawn).resolve_scale(color="shared")
    return styled(joined, title, note, len(drawn) * width)


def _made(panel: LimitsMap) -> float:
    return float(panel.best["device_tokens_per_s"]) if panel.best else 0.0


def _panel(maps: Maps, panel: LimitsMap, width: int) -> alt.TopLevelMixin:
    lengths, batches = panel.lengths, panel.batches
    x = alt.X("from:Q", title=f"tokens of {article(maps.over)}",
              scale=alt.Scale(type="log", domain=[int(lengths[0]), int(lengths[-1])], nice=False),
              axis=alt.Axis(format="~s", grid=False, tickCount=5))  # fmt: skip
    y = alt.Y("low:Q", title="batch size (B)",
              scale=alt.Scale(type="log", base=2, domain=[1, int(batches[-1])], nice=False),
              axis=alt.Axis(format=",d", grid=False))  # fmt: skip
    # Bands reach a little under the next one, else a hair of the page shows between them.
    top = pl.min_horizontal(pl.col("high") * OVERLAP, pl.lit(float(batches[-1])))
    drawn = pl.DataFrame(rectangles(panel)).with_columns(top.alias("top"))
    areas = alt.Chart(drawn).mark_rect().encode(
        x=x, x2="to:Q", y=y, y2="top:Q",
        color=alt.Color("stop:N", title="stopped by", sort=list(STOPS),
                        scale=alt.Scale(domain=list(STOPS), range=list(COLOURS)),
                        legend=alt.Legend(orient="top")),
        tooltip=["stop", alt.Tooltip("low:Q", title="batch", format=",.0f"),
                 alt.Tooltip("from:Q", format=",.0f"), alt.Tooltip("to:Q", format=",.0f")],
    )  # fmt: skip
    layers: list[Any] = [areas]
    lines = pl.DataFrame(contours(panel), schema={"level": pl.Float64, "length": pl.Float64,
                                                  "batch": pl.Float64})  # fmt: skip
    if lines.height:
        base = alt.Chart(lines).encode(
            x=alt.X("length:Q"), y=alt.Y("batch:Q"), detail="level:N", order="batch:Q"
        )
        layers.append(base.mark_line(color=BLUE, strokeWidth=1, opacity=0.8))
        ends = lines.group_by("level").agg(pl.all().sort_by("batch").last())
        text = ends.with_columns(
            text=pl.Series([figure(v) for v in ends["level"]], dtype=pl.String)
        )
        layers.append(
            alt.Chart(text).mark_text(color=BLUE, fontSize=10, align="right", dx=-3, dy=9).encode(
                x="length:Q", y="batch:Q", text="text:N"
            )
        )  # fmt: skip
    if panel.best:
        mark = pl.DataFrame({"x": [panel.best["length"]], "y": [panel.best["batch_size"]]})
        point = alt.Chart(mark).mark_point(size=110, strokeWidth=2.5, color="black", filled=False)
        layers.append(point.encode(x="x:Q", y="y:Q"))
    title = alt.TitleParams(panel.device.name, fontSize=12, anchor="middle")
    return alt.layer(*layers).properties(width=width, height=width * 0.8, title=title)


def bands(panel: LimitsMap) -> list[tuple[int, float, float]]:
    """Rows that are drawn, with the batches between which each is."""
    batches = panel.batches
    edges = np.unique(np.geomspace(1, batches[-1], ROWS + 1).round())
    found = []
    for low, high in pairwise(edges):
        middle = math.sqrt(low * high)
        row = int(np.abs(np.log(batches / middle)).argmin())
        found.append((row, float(low), float(high)))
    return found


def rectangles(panel: LimitsMap) -> list[dict[str, Any]]:
    """Runs of points that the same thing stops, band by band; those alike in a row joined."""
    lengths = panel.lengths
    between = np.sqrt(lengths[1:].astype(float) * lengths[:-1])
    edges = np.concatenate([[lengths[0]], between, [lengths[-1]]])
    found: list[dict[str, Any]] = []
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
            here[key] = {"stop": STOPS[key[0]], "from": key[1], "to": key[2], "low": low,
                         "high": high}  # fmt: skip
            found.append(here[key])
        below = here
    return found


def contours(panel: LimitsMap) -> list[dict[str, float]]:
    """Lines of as much made, where memory holds it: the longest length that still makes a level."""
    held = panel.stops != MEMORY
    if not held.any():
        return []
    made = np.where(held, panel.made, np.nan)
    low, high = np.nanmin(made), np.nanmax(made)
    steps = [m * 10.0**e for e in range(-3, 10) for m in (1, 2, 5)]
    levels = [level for level in steps if low < level < high][-LEVELS:]
    logs = np.log(panel.lengths)
    found = []
    for level in levels:
        for row in dict.fromkeys(row for row, _, _ in bands(panel)):
            values = made[row]
            above = np.flatnonzero(values >= level)
            if not len(above) or above[-1] + 1 >= len(values) or np.isnan(values[above[-1] + 1]):
                continue
            at = above[-1]
            part = (values[at] - level) / (values[at] - values[at + 1])
            length = math.exp(logs[at] + part * (logs[at + 1] - logs[at]))
            found.append({"level": level, "length": length, "batch": float(panel.batches[row])})
    return found


def report_map(source: Source, devices: Sequence[str]) -> Chart | None:
    """The map of a source with both targets: the requests of its first point over lengths.

    None where a target is missing, the model is none that is shipped, or its accounting adds
    activations up over layers, as no memory would hold them.
    """
    targets, model = source.targets, source.loaded
    if targets.ttft_s is None or targets.tpot_s is None or source.model not in known("models"):
        return None
    if model.architecture.convention.sums_activations:
        return None
    if stated(load_model(source.model)) != stated(model):
        return None
    names = [name for name in LENGTH_COLUMNS if name in source.inputs]
    first = source.points.select(names).head(1).pipe(source.collected).to_dict(as_series=False)
    lengths = lengths_of(source.place, model, first)
    wanted = LatencyTargets(targets.ttft_s, targets.tpot_s)
    options = MapOptions(wanted, cells=REPORT_CELLS)
    maps = find_maps(model, devices, lengths, options)
    drawn = maps_chart(maps)
    return Chart("limits", title_of(drawn), drawn)
