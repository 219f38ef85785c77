"""Charts over the tokens of an image or a prompt: a line for each curve and family of images."""

import json
from typing import Any

import altair as alt
import polars as pl

from sweepengine.query.sources import Source
from sweepengine.show.curve_points import TORCH, Frame
from sweepengine.show.look import (
    COLOURS,
    GREEN,
    GREY,
    HEIGHT,
    WIDTH,
    Chart,
    figure,
    note_of,
    padded,
    styled,
    value_axis,
)
from sweepengine.show.plans import Plan

LABEL_WIDTH = 12
"""Pixels that an upright label of a crop grid needs."""
DASHES = {"eager": [6, 3], "CUDA cores": [6, 3], "after decoding": [6, 3], "LM head": [2, 2],
          "sum of both": [2, 2]}  # fmt: skip
NEAR = 1 / 180
"""Share of the width around the cursor in which points show their values."""
CURSOR = alt.param(name="cursor", value=-1e12)
"""Tokens at the cursor; a page sets it in all its charts at once."""
ATTENTION = alt.param(name="attention", value="all")
CHOSEN = (
    "attention == 'all' || datum.curve == attention || indexof(['eager', 'flash'], datum.curve) < 0"
)
"""Filter of curves, for the choice of attention on a page."""


def line_chart(plan: Plan, frame: Frame, source: Source, note: str = "") -> Chart | None:
    """Draw one plan over tokens.

    Parameters
    ----------
    plan : Plan
    frame : Frame
    source : Source
    note : str
        Sentence below the title, in addition to what the points are.

    Returns
    -------
    Chart or None
        None if there are fewer than two images.
    """
    curves = _curves(plan, frame.rows)
    if plan.logarithmic:
        curves = curves.filter(pl.col("value") > 0)
    if curves["tokens"].n_unique() < 2:
        return None
    off = None
    if plan.measured:
        other = _other(plan, frame.rows)
        if other.height:
            off = float((other["analytic"] / other["value"] - 1).abs().max())  # type: ignore[arg-type]
            named = other.select("tokens", "crops", "family", pl.lit(frame.other).alias("curve"),
                                 "value")  # fmt: skip
            curves = pl.concat([curves, named])
    names = curves["curve"].unique(maintain_order=True).to_list()
    domain = padded(curves["tokens"])
    near = f"abs(datum.tokens - {CURSOR.name}) <= {(domain[1] - domain[0]) * NEAR:g}"
    x = alt.X("tokens:Q", scale=alt.Scale(domain=domain, nice=False),
              title=frame.axis.tokens.replace("_", " "),
              axis=alt.Axis(format=",d", grid=False))  # fmt: skip
    title = f"{plan.unit}, logarithmic" if plan.logarithmic else plan.unit
    ends = [float(curves["value"].min()) * 0.7, float(curves["value"].max()) * 1.4]  # type: ignore[arg-type]
    scale = alt.Scale(type="log", domain=ends, nice=False) if plan.logarithmic else alt.Scale()
    y = alt.Y("value:Q", title=title, axis=value_axis(curves["value"]), scale=scale)
    legend = alt.Legend(orient="top", symbolType="stroke", symbolSize=300)
    palette = alt.Scale(domain=names, range=[COLOURS.get(name, GREEN) for name in names])
    colour = alt.Color("curve:N", title=None, sort=names, legend=legend, scale=palette)
    dashes = alt.Scale(domain=names, range=[DASHES.get(name, [1, 0]) for name in names])
    dash = alt.StrokeDash("curve:N", title=None, legend=legend, sort=names, scale=dashes)
    tooltip = [
        alt.Tooltip("crops:N"),
        alt.Tooltip("tokens:Q", format=","),
        alt.Tooltip("curve:N"),
        alt.Tooltip("value:Q", format=",.6~g", title=plan.unit),
    ]
    base = alt.Chart(curves).encode(x=x, y=y, color=colour)
    params = [CURSOR]
    if {"eager", "flash"} <= set(names):
        base = base.transform_filter(CHOSEN)
        params.append(ATTENTION)
    counted = base.transform_filter(f"datum.curve != {json.dumps(frame.other)}")
    joined = base if frame.other != TORCH else counted
    # Altair takes its time to guess the channel of a text or a condition that is not in one.
    size = alt.SizeValue(22, condition={"test": near, "value": 90})
    shown: Any = alt.Text("value:Q", format=",.4~g").to_dict()
    value = alt.TextValue("", condition={"test": near, **shown})
    layers: list[Any] = [
        joined.mark_line(strokeWidth=1.5).encode(detail=alt.Detail("family:N"), strokeDash=dash),
        counted.mark_circle(opacity=1).encode(tooltip=tooltip, size=size),
        counted.mark_text(align="left", dx=7, dy=-7, fontSize=11).encode(text=value),
    ]
    if off is not None:
        others = base.transform_filter(f"datum.curve == {json.dumps(frame.other)}")
        diamonds = others.mark_point(shape="diamond", size=45, strokeWidth=1.5)
        layers.append(diamonds.encode(tooltip=tooltip))
    if curves["family"].n_unique() > 1:
        last = curves.sort("tokens").group_by("family", maintain_order=True).last()
        ends_of = alt.Chart(last).mark_text(align="right", dy=-10, fontSize=11, color=GREY)
        layers.append(ends_of.encode(x=x, y=y, text=alt.Text("family:N")))
    finding = _finding(plan, curves, off, frame.other)
    texts = (
        note_of(source),
        frame.held and f"at {frame.held}",
        off is not None and frame.checked,
        note,
    )
    parts = [text for text in texts if text]
    # Altair copies all layers whenever a chart of layers changes: what it has is given at once.
    layers[0] = layers[0].add_params(*params)
    drawn: Any
    if "crop_rows" in source.columns:
        apart = alt.Resolve(axis={"x": "independent"})
        both = [alt.layer(*layers), _labels(curves, domain)]
        drawn = alt.layer(*both, width=WIDTH, height=HEIGHT, resolve=apart)
    else:
        drawn = alt.layer(*layers, width=WIDTH, height=HEIGHT)
    return Chart(plan.name, finding, styled(drawn, finding, "; ".join(parts)), plan.stage,
                 plan.folded)  # fmt: skip


def _curves(plan: Plan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the curves in long form: tokens, crops, family, curve, value."""
    frames = []
    for i, curve in enumerate(plan.curves):
        shown = rows.select(
            "tokens",
            "crops",
            "family",
            pl.lit(curve.name).alias("curve")
            if curve.name
            else pl.col("attention").cast(pl.String).alias("curve"),
            pl.col(f"{plan.name}:{i}").alias("value"),
        )
        frames.append(shown.drop_nulls())
    curves = pl.concat(frames)
    if plan.curves[0].name:
        return curves.unique(maintain_order=True)
    figures = ["tokens", "crops", "family", "value"]
    alike = curves.select(figures).unique(maintain_order=True)
    if curves["curve"].n_unique() == 2 and alike.height * 2 == curves.height:
        both = pl.lit("eager and flash").alias("curve")
        return alike.select("tokens", "crops", "family", both, "value")
    return curves.sort(pl.col("curve") == "eager", maintain_order=True)


def _other(plan: Plan, rows: pl.DataFrame) -> pl.DataFrame:
    """Return tensor FLOPs of the other count (`value`) and of the source (`analytic`) by image."""
    counts = rows.select(
        "tokens", "crops", "family", pl.col(f"{plan.name}:other").alias("value"),
        pl.col(f"{plan.name}:tensor").alias("analytic"),
    )  # fmt: skip
    return counts.drop_nulls().unique(maintain_order=True)


def _finding(plan: Plan, curves: pl.DataFrame, off: float | None, other: str) -> str:
    """Return the title: values of the smallest and largest image, and how curves differ there."""
    names = curves["curve"].unique(maintain_order=True).to_list()
    ends = {}
    for name in names:
        curve = curves.filter(pl.col("curve") == name).sort("tokens")
        ends[name] = (curve.row(0, named=True), curve.row(-1, named=True))
    first, last = ends[names[0]]
    title = f"{plan.what}: {figure(first['value'])}"
    if abs(last["value"] - first["value"]) <= 5e-4 * abs(first["value"]):
        title += f" {plan.unit} everywhere"
    else:
        title += f" to {figure(last['value'])} {plan.unit}, {first['crops']} to {last['crops']}"
    if off is not None:
        by = "torch" if other == TORCH else other
        title += f"; tensor FLOPs within {off:.2%} of {by}'s" if off else f"; equal to {by}"
    elif len(names) > 1 and last["value"]:
        ratio = ends[names[1]][1]["value"] / last["value"]
        factor = (
            f"1/{figure(1 / ratio)} of that" if 0 < ratio < 1 else f"{figure(ratio)} times that"
        )
        factor = "within 1 % of that" if abs(ratio - 1) < 0.01 else factor
        named = f"{names[0]}; " if plan.curves[0].name else ""
        title += f" ({named}{names[1]} {factor})"
    return title


def _labels(curves: pl.DataFrame, domain: list[float]) -> alt.Chart:
    """Draw the crop grids as a second axis; those closer than a label share one.

    On a page that is narrower, labels that would touch are left out; tooltips show all.
    """
    images = curves.select("tokens", "crops").unique().sort("tokens", "crops")
    pixels = WIDTH / (domain[1] - domain[0])
    texts: dict[float, str] = {}
    at = -float(LABEL_WIDTH) / pixels
    for tokens, crops in images.rows():
        if (tokens - at) * pixels < LABEL_WIDTH and texts:
            texts[at] += f", {crops}"
        else:
            at = tokens
            texts[at] = crops
    shown = json.dumps({f"{tokens:g}": text for tokens, text in texts.items()})
    labels = alt.Axis(orient="top", values=list(texts), labelExpr=f"{shown}[datum.value]",
                      labelAngle=-90, labelOverlap="greedy", labelLimit=140, grid=False,
                      ticks=False, domain=False, title=None, labelColor=GREY)  # fmt: skip
    x = alt.X("tokens:Q", scale=alt.Scale(domain=domain, nice=False), axis=labels)
    drawn: alt.Chart = alt.Chart(images.head(1)).mark_point(opacity=0, aria=False).encode(x=x)
    return drawn
