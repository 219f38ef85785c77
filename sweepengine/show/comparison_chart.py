"""The answer of `compare` as a chart."""

from typing import Any

import altair as alt
import polars as pl

from sweepengine.measured.compare import COMPARED_TIMES, Compared
from sweepengine.show.comparisons import TIME_TITLES
from sweepengine.show.look import BLUE, GREY, PHASE_TOOLTIP, VERMILION, styled

MOST_RUNS = 2_000


def comparison_chart(comparison: Compared) -> alt.TopLevelMixin:
    """Draw predicted against measured times, and the gap by operator."""
    runs = comparison.runs.head(MOST_RUNS)
    dots = pl.concat(
        [
            runs.select(
                pl.lit(TIME_TITLES[name]).alias("time"),
                (pl.col(f"measured_{name}_s") * 1000).alias("measured"),
                (pl.col(f"predicted_{name}_s") * 1000).alias("predicted"),
                pl.col(f"{name}_ratio").alias("ratio"),
                "batch_size",
            ).drop_nulls()
            for name in COMPARED_TIMES
        ]
    )
    low, high = float(dots["measured"].min() or 1), float(dots["measured"].max() or 1)  # type: ignore[arg-type]
    low = min(low, float(dots["predicted"].min() or 1)) * 0.8  # type: ignore[arg-type]
    high = max(high, float(dots["predicted"].max() or 1)) * 1.25  # type: ignore[arg-type]
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    line = alt.Chart(pl.DataFrame({"measured": [low, high], "predicted": [low, high]}))
    diagonal = line.mark_line(color=GREY, strokeDash=[4, 3]).encode(
        x=alt.X("measured:Q", scale=scale, title="measured, ms", axis=alt.Axis(format=",~g")),
        y=alt.Y("predicted:Q", scale=scale, title="predicted, ms", axis=alt.Axis(format=",~g")),
    )
    points = alt.Chart(dots).mark_point(filled=True, size=45, opacity=0.7).encode(
        x=alt.X("measured:Q", scale=scale), y=alt.Y("predicted:Q", scale=scale),
        color=alt.Color("time:N", title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=list(TIME_TITLES.values()),
                                        range=[BLUE, VERMILION, GREY])),
        tooltip=["time", "batch_size", alt.Tooltip("measured:Q", format=",.4~g"),
                 alt.Tooltip("predicted:Q", format=",.4~g"), alt.Tooltip("ratio:Q", format=".2f")],
    )  # fmt: skip
    shown = comparison.gap.filter(pl.col("of_gap").abs() >= 0.005)
    bars = alt.Chart(shown).mark_bar(color=BLUE).encode(
        x=alt.X("of_gap:Q", title="share of the gap", axis=alt.Axis(format="%")),
        y=alt.Y("operator:N", title=None,
                sort=alt.EncodingSortField("of_gap", op="sum", order="descending")),
        row=alt.Row("stage:N", title=None, header=alt.Header(labelAngle=0, labelAlign="left")),
        tooltip=[PHASE_TOOLTIP, "operator", alt.Tooltip("of_gap:Q", format=".1%")],
    ).properties(width=280)  # fmt: skip
    left: Any = alt.layer(diagonal, points).properties(width=420, height=380)
    drawn = alt.HConcatChart(hconcat=[left, bars.resolve_scale(y="independent")])
    ratios = comparison.runs.select(
        pl.median(f"{name}_ratio").alias(TIME_TITLES[name]) for name in COMPARED_TIMES
    )
    medians = [f"{name} {ratio:.2f}" for name, ratio in ratios.row(0, named=True).items() if ratio]
    title = (
        f"{comparison.model.name} on {comparison.device.name}: "
        f"predicted / measured {', '.join(medians)}"
    )
    note = f"{comparison.runs.height:,} runs; medians; {comparison.basis}"
    return styled(drawn, title, note)
