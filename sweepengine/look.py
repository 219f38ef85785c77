"""The look that all charts share: size, colours, titles."""

from typing import NamedTuple

import altair as alt

from sweepengine.source import Source

WIDTH, HEIGHT = 920, 340
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, VERMILION, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#D55E00", "#555555",
)  # fmt: skip
"""Okabe and Ito's palette, which colour-blind people can tell apart."""
COLOURS = {
    "flash": BLUE, "eager": VERMILION, "eager and flash": BLUE, "measured by torch": GREEN,
    "tensor cores": BLUE, "CUDA cores": VERMILION, "vision": BLUE, "decoder": GREEN,
    "LM head": VERMILION, "after prefill": BLUE, "after decoding": VERMILION, "prefill": ORANGE,
    "decode": VERMILION,
}  # fmt: skip
"""Curve to its colour."""


class Chart(NamedTuple):
    """A finished chart."""

    name: str
    title: str
    drawn: alt.TopLevelMixin


def styled(drawn: alt.TopLevelMixin, title: str, subtitle: str) -> alt.TopLevelMixin:
    """One look for all charts."""
    shown = alt.TitleParams(title, subtitle=subtitle, anchor="start", subtitleColor=GREY,
                            fontSize=15, subtitleFontSize=11, offset=12)  # fmt: skip
    look: alt.TopLevelMixin = (
        drawn.properties(title=shown, padding=12)
        .configure(font="Liberation Sans", background="white")
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=11, titleFontSize=12, titleFontWeight="normal")
        .configure_legend(labelFontSize=11, symbolStrokeWidth=2)
    )
    return look


def note_of(source: Source) -> str:
    """Where a chart's points come from."""
    return f"Model {source.model}, grid {source.name}, {source.point_count:,} points"


def figure(value: float) -> str:
    """Three digits, or whole thousands."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
