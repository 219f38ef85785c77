"""The style of all charts: size, colours, titles."""

from textwrap import wrap
from typing import Any, NamedTuple

import altair as alt
import polars as pl

from sweepengine.query.sources import Source
from sweepengine.show.terminal import evenly

WIDTH, HEIGHT = 920, 340
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, VERMILION, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#D55E00", "#555555",
)  # fmt: skip
"""The palette of Okabe and Ito, which colour-blind readers can tell apart."""
SERIES = (BLUE, VERMILION, GREEN, ORANGE, SKY, PINK, GREY, "#000000")
"""Colours of lines and parts without colours of their own, in their order."""
COLOURS = {
    "flash": BLUE, "eager": VERMILION, "eager and flash": BLUE, "measured by torch": GREEN,
    "tensor cores": BLUE, "CUDA cores": VERMILION, "vision": BLUE, "decoder": GREEN,
    "LM head": VERMILION, "after prefill": BLUE, "after decoding": VERMILION, "prefill": ORANGE,
    "decode": VERMILION, "sum of both": GREEN,
}  # fmt: skip
"""Colours of curves by title."""
MOST_ROWS = 4_000
"""Most rows of a chart; of more, an even selection of the values of its axis is drawn."""
PHASE_TOOLTIP = alt.Tooltip("stage:N", title="phase")


class Chart(NamedTuple):
    """A finished chart."""

    name: str
    title: str
    drawn: alt.TopLevelMixin
    stage: str = ""
    """Phase that it shows; empty: all."""
    folded: bool = False
    """Whether a page shows it on demand."""


def styled(
    drawn: alt.TopLevelMixin, title: str, subtitle: str, width: int = 0
) -> alt.TopLevelMixin:
    """Give a chart the style of all charts, and return it.

    Parameters
    ----------
    drawn : altair chart
    title, subtitle : str
    width : int
        Width in pixels into which titles are wrapped; 0: not wrapped.
    """
    texts: list[Any] = [title, subtitle]
    if width:
        texts = [wrap(text, width // each) for text, each in zip(texts, (8, 6), strict=True)]
    shown = alt.TitleParams(texts[0], subtitle=texts[1], anchor="start", subtitleColor=GREY,
                            fontSize=15, subtitleFontSize=11, offset=12)  # fmt: skip
    look = alt.Config(
        font="Liberation Sans",
        background="white",
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(labelFontSize=11, titleFontSize=12, titleFontWeight="normal"),
        legend=alt.LegendConfig(labelFontSize=11, symbolStrokeWidth=2, symbolOpacity=1),
        header=alt.HeaderConfig(labelFontSize=11, titleFontSize=12),
    )
    # `properties` copies a chart of layers several times over, with each of its layers.
    styled_chart: Any = drawn
    styled_chart.title, styled_chart.padding, styled_chart.config = shown, 12, look
    return drawn


def title_of(chart: Any) -> str:
    """Return the title of a styled chart, or of its Vega-Lite specification, on one line."""
    text: str | list[str] = chart["title"]["text"]
    return text if isinstance(text, str) else " ".join(text)


def note_of(source: Source) -> str:
    """Name the source of a chart's points."""
    return f"Model {source.model}, grid {source.name}, {source.point_count:,} points"


def evenly_spaced(values: pl.Series, most: int) -> pl.Series:
    """Return at most `most` values, evenly spaced, with the first and the last."""
    return values.gather(evenly(len(values), most))


def drawn_values(values: pl.Series, each: int = 1) -> pl.Series:
    """Return the distinct values of an axis that a chart draws: all, or of many an even selection.

    Parameters
    ----------
    values : Series
        Of every row that could be drawn.
    each : int
        Times that each of these rows is drawn.
    """
    distinct, rows = values.unique().sort(), len(values) * each
    return evenly_spaced(distinct, max(len(distinct) * MOST_ROWS // max(rows, MOST_ROWS), 2))


def figure(value: float) -> str:
    """Format a number to three digits, or to whole numbers from 1000."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def padded(values: pl.Series) -> list[float]:
    """Return the domain of an axis: smallest to largest value, with a margin."""
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    margin = (high - low) * 0.02 or max(high * 0.02, 1)
    return [low - margin, high + margin]


def value_axis(values: pl.Series) -> alt.Axis:
    """Return an axis of values, with SI prefixes for large ones."""
    form = "~s" if float(values.max()) >= 10_000 else ",.6~f"  # type: ignore[arg-type]
    return alt.Axis(format=form, gridOpacity=0.5)
