"""One point on a device, operator by operator: under the roofs, and as bars of time."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from sweepengine.costs.timeline import OperatorTime, Timeline
from sweepengine.data.devices import TERA
from sweepengine.show.look import (
    BLUE,
    COLOURS,
    GREY,
    PINK,
    VERMILION,
    figure,
    styled,
)

WIDTH = 400
BINDING = {"compute": BLUE, "memory": VERMILION, "links": PINK, "latency": GREY}
MOST_BARS = 8
"""Operators of a stage that are drawn by name; what is left is one bar."""
MILLI = 1000.0
LABELS = alt.Axis(labelLimit=170, minExtent=140)
"""Of operators; as wide in all stages, so that their bars begin on one line."""


def operators_roofline(times: Timeline) -> alt.TopLevelMixin:
    """Operators as dots at their FLOPs a byte and the rate they reach, under the device's roofs."""
    device = times.place.device
    dots = pl.DataFrame(
        [
            {"stage": one.stage, "operator": name_of(one), "share": one.of_stage,
             "intensity": one.flops / one.moved_bytes, "rate": one.flops / one.seconds / TERA}
            for one in times.operators
            if one.flops and one.moved_bytes
        ],
        schema={"stage": pl.String, "operator": pl.String, "share": pl.Float64,
                "intensity": pl.Float64, "rate": pl.Float64},
    )  # fmt: skip
    peaks: dict[float, str] = {}
    for name, peak in ({"bf16": device.tensor_flops_per_s} | device.peaks).items():
        peaks[peak] = f"{peaks[peak]}, {name}" if peak in peaks else name
    low = min([0.1, *dots["intensity"]])
    high = max([10_000.0, *dots["intensity"]])
    roofs = pl.DataFrame(
        [
            {"peak": name, "intensity": x, "rate": min(device.bytes_per_s * x, peak) / TERA}
            for peak, name in peaks.items()
            for x in (low, peak / device.bytes_per_s, high)
        ]
    )
    x = alt.X("intensity:Q", title="FLOP/byte", axis=alt.Axis(format="~s", gridOpacity=0.4),
              scale=alt.Scale(type="log", domain=[low, high], nice=False))  # fmt: skip
    y = alt.Y("rate:Q", title="TFLOP/s", axis=alt.Axis(format=",~g", gridOpacity=0.4),
              scale=alt.Scale(type="log"))  # fmt: skip
    lines = alt.Chart(roofs).mark_line(color=GREY, strokeWidth=1.2).encode(
        x=x, y=y, detail="peak:N"
    )  # fmt: skip
    names = alt.Chart(roofs.filter(pl.col("intensity") == high)).mark_text(
        align="right", dy=-6, fontSize=10, color=GREY
    ).encode(x="intensity:Q", y="rate:Q", text="peak:N")  # fmt: skip
    stages = list(dict.fromkeys(dots["stage"]))
    marks = alt.Chart(dots).mark_point(filled=True, opacity=0.8).encode(
        x=x, y=y,
        color=alt.Color("stage:N", sort=stages, title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=stages, range=[COLOURS[s] for s in stages])),
        size=alt.Size("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[25, 500])),
        tooltip=["stage", "operator", alt.Tooltip("share:Q", format=".1%", title="of the stage"),
                 alt.Tooltip("intensity:Q", format=".4~g", title="FLOP/byte"),
                 alt.Tooltip("rate:Q", format=".4~g", title="TFLOP/s")],
    )  # fmt: skip
    drawn = alt.layer(lines, names, marks).properties(width=WIDTH, height=260)
    return styled(drawn, "Operators under the roof", "larger: more of its stage's time")


def operators_bars(times: Timeline) -> alt.TopLevelMixin:
    """Milliseconds of operators, stage by stage, coloured by what binds them; decode of a step."""
    panels = []
    for stage in dict.fromkeys(one.stage for one in times.operators):
        mine = [one for one in times.operators if one.stage == stage]
        rows = bars_of(mine, max(times.steps, 1) if stage == "decode" else 1)
        base = alt.Chart(rows).encode(
            y=alt.Y("operator:N", sort=None, title=None, axis=LABELS),
            x=alt.X("ms:Q", title=None, axis=alt.Axis(gridOpacity=0.4)),
        )
        bars = base.mark_bar().encode(
            color=alt.Color("bound:N", title="bound by", legend=alt.Legend(orient="top"),
                            scale=alt.Scale(domain=list(BINDING), range=list(BINDING.values()))),
            tooltip=["operator", alt.Tooltip("ms:Q", format=".4~g"),
                     alt.Tooltip("share:Q", format=".1%"), "bound"],
        )  # fmt: skip
        text = base.mark_text(align="left", dx=3, fontSize=10, color=GREY).encode(
            text=alt.Text("ms:Q", format=".3~g")
        )
        whole = float(rows["ms"].sum())
        said = "a step" if stage == "decode" else "a batch"
        if stage != "decode" and times.continuous:
            said = "a request"
        title = alt.TitleParams(f"{stage}: {figure(whole)} ms {said}", fontSize=12, anchor="start")
        panel = alt.layer(bars, text).properties(width=WIDTH - 130, height=16 * rows.height)
        panels.append(panel.properties(title=title))
    drawn = alt.VConcatChart(vconcat=panels).resolve_scale(color="shared")
    return styled(drawn, "Time by operator, ms", times.place.device.name)


def bars_of(operators: Sequence[OperatorTime], passes: int) -> pl.DataFrame:
    """The longest operators, and what is left as one; milliseconds of one of the passes."""
    found: dict[str, list[OperatorTime]] = {}
    for one in sorted(operators, key=lambda one: -one.seconds):
        found.setdefault(one.operator, []).append(one)
    ordered = sorted(found.values(), key=lambda ones: -sum(one.seconds for one in ones))
    shown, rest = ordered[:MOST_BARS], ordered[MOST_BARS:]
    if rest:
        shown.append([one for ones in rest for one in ones])
    names = [ones[0].operator for ones in shown]
    if rest:
        names[-1] = f"{len(rest)} others"
    return pl.DataFrame(
        {
            "operator": names,
            "ms": [MILLI * sum(one.seconds for one in ones) / passes for ones in shown],
            "share": [sum(one.of_stage for one in ones) for ones in shown],
            "bound": [max(ones, key=lambda one: one.seconds).bound for ones in shown],
        }
    )


def name_of(one: OperatorTime) -> str:
    """An operator with its group of layers."""
    return f"{one.operator}, {one.group}" if one.group else one.operator
