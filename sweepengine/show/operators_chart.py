"""One point on a device, operator by operator: a roofline, and bars of time."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from sweepengine.costs.timeline import BOUNDS, OperatorTime, Timeline
from sweepengine.costs.titles import PHASES_OF_STEPS
from sweepengine.data.devices import TERA
from sweepengine.show.look import (
    BLUE,
    COLOURS,
    GREY,
    PHASE_TOOLTIP,
    PINK,
    VERMILION,
    figure,
    styled,
)

WIDTH = 400
BOUND_COLOURS = dict(zip(BOUNDS, (BLUE, VERMILION, PINK, GREY), strict=True))
MOST_BARS = 8
"""Operators of a phase with a bar of their own; the others share one."""
MILLI = 1000.0
LABELS = alt.Axis(labelLimit=170, minExtent=140)
"""Labels of operators, equally wide in all phases so that the bars align."""


def operators_roofline(times: Timeline) -> alt.TopLevelMixin:
    """Draw operators at their FLOP/byte and the rate they reach, under the roofs of the device."""
    device = times.place.device
    dots = pl.DataFrame(
        [
            {"stage": time.stage, "operator": name_of(time), "share": time.of_stage,
             "intensity": time.flops / time.moved_bytes, "rate": time.flops / time.seconds / TERA}
            for time in times.operators
            if time.flops and time.moved_bytes
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
    x = alt.X("intensity:Q", title="FLOP/byte", axis=alt.Axis(format=",~g", gridOpacity=0.4),
              scale=alt.Scale(type="log", domain=[low, high], nice=False))  # fmt: skip
    y = alt.Y("rate:Q", title="TFLOP/s", axis=alt.Axis(format=",~g", gridOpacity=0.4),
              scale=alt.Scale(type="log"))  # fmt: skip
    lines = alt.Chart(roofs).mark_line(color=GREY, strokeWidth=1.2).encode(
        x=x, y=y, detail="peak:N"
    )  # fmt: skip
    names = alt.Chart(roofs.filter(pl.col("intensity") == high)).mark_text(
        align="right", dy=-6, fontSize=11, color=GREY
    ).encode(x="intensity:Q", y="rate:Q", text="peak:N")  # fmt: skip
    stages = list(dict.fromkeys(dots["stage"]))
    marks = alt.Chart(dots).mark_point(filled=True, opacity=0.8).encode(
        x=x, y=y,
        color=alt.Color("stage:N", sort=stages, title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=stages, range=[COLOURS[s] for s in stages])),
        size=alt.Size("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[25, 500])),
        tooltip=[PHASE_TOOLTIP, "operator",
                 alt.Tooltip("share:Q", format=".1%", title="share of phase"),
                 alt.Tooltip("intensity:Q", format=".4~g", title="FLOP/byte"),
                 alt.Tooltip("rate:Q", format=".4~g", title="TFLOP/s")],
    )  # fmt: skip
    drawn = alt.layer(lines, names, marks).properties(width=WIDTH, height=260)
    return styled(drawn, "Operators under the roofline", "size: share of the time of the phase")


def operators_bars(times: Timeline) -> alt.TopLevelMixin:
    """Draw milliseconds of operators by phase, coloured by their bound; decode is one step."""
    panels = []
    for stage in dict.fromkeys(time.stage for time in times.operators):
        of_stage = [time for time in times.operators if time.stage == stage]
        rows = bars_of(of_stage, max(times.steps, 1) if stage in PHASES_OF_STEPS else 1)
        base = alt.Chart(rows).encode(
            y=alt.Y("operator:N", sort=None, title=None, axis=LABELS),
            x=alt.X("ms:Q", title=None, axis=alt.Axis(gridOpacity=0.4)),
        )
        bars = base.mark_bar().encode(
            color=alt.Color("bound:N", title="bound by", legend=alt.Legend(orient="top"),
                            scale=alt.Scale(domain=list(BOUND_COLOURS),
                                            range=list(BOUND_COLOURS.values()))),
            tooltip=["operator", alt.Tooltip("ms:Q", format=".4~g"),
                     alt.Tooltip("share:Q", format=".1%"), "bound"],
        )  # fmt: skip
        text = base.mark_text(align="left", dx=3, fontSize=11, color=GREY).encode(
            text=alt.Text("ms:Q", format=".3~g")
        )
        total = figure(float(rows["ms"].sum()))
        unit = "step" if stage in PHASES_OF_STEPS else "request" if times.continuous else "batch"
        title = alt.TitleParams(f"{stage}: {total} ms per {unit}", fontSize=12, anchor="start")
        panel = alt.layer(bars, text).properties(width=WIDTH - 130, height=16 * rows.height)
        panels.append(panel.properties(title=title, name=stage))
    drawn = alt.VConcatChart(vconcat=panels).resolve_scale(color="shared")
    return styled(drawn, "Time by operator, ms", times.place.device.name)


def bars_of(operators: Sequence[OperatorTime], passes: float) -> pl.DataFrame:
    """Return the longest operators, and the others as one; milliseconds per pass."""
    by_name: dict[str, list[OperatorTime]] = {}
    for time in sorted(operators, key=lambda time: -time.seconds):
        by_name.setdefault(time.operator, []).append(time)
    ordered = sorted(by_name.values(), key=lambda times: -sum(time.seconds for time in times))
    shown, rest = ordered[:MOST_BARS], ordered[MOST_BARS:]
    if rest:
        shown.append([time for times in rest for time in times])
    names = [times[0].operator for times in shown]
    if rest:
        names[-1] = f"{len(rest)} others"
    return pl.DataFrame(
        {
            "operator": names,
            "ms": [MILLI * sum(time.seconds for time in times) / passes for times in shown],
            "share": [sum(time.of_stage for time in times) for times in shown],
            "bound": [max(times, key=lambda time: time.seconds).bound for times in shown],
        }
    )


def name_of(time: OperatorTime) -> str:
    """Name an operator with its group of layers."""
    return f"{time.operator}, {time.group}" if time.group else time.operator
