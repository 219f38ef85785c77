"""The roofline chart: roofs of devices, and the phases of points under one of them."""

import math
from collections.abc import Sequence

import altair as alt
import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.devices import TERA, Device
from sweepengine.query.folds import Fold, folded
from sweepengine.query.sources import Source
from sweepengine.show.look import COLOURS, GREY, PHASE_TOOLTIP, WIDTH, Chart, note_of, styled

MOST_DOTS = 1_000
"""Most dots of a phase; more points are averaged with their neighbours."""


def roofline_chart(source: Source, devices: Sequence[Device], at: Device) -> Chart | None:
    """Draw the roofs of devices, and the phases of points under the roof of one of them.

    A dot is at the FLOPs per byte of the model's accounting, and at the rate of its roof.

    Parameters
    ----------
    source : Source
    devices : sequence of Device
        Devices whose roofs are drawn.
    at : Device
        Device whose roofline gives the rates.
    """
    stages = list(source.stages_there)
    measures = []
    for stage in stages:
        intensity = metrics.arithmetic_intensity((stage,))
        rate = metrics.attainable_flops_per_s(at, stage) / TERA
        measures += [Fold(f"{stage}:x", intensity), Fold(f"{stage}:y", rate)]
    measures.append(Fold("weights", metrics.total("weight_io_bytes", stages)))
    names = ("batch_size", "attention", "crop_rows", "crop_cols", "view_size",
             "image_height", "image_width", "images", "prompt_tokens")  # fmt: skip
    keys: list[str | pl.Expr] = [name for name in names if name in source.columns]
    stepping = pl.col("decode_steps") > 0
    counts = [pl.col(name).approx_n_unique().cast(pl.Int64) for name in keys]  # type: ignore[arg-type]
    distinct = source.points.filter(stepping).select(counts).pipe(source.collected)
    binned = math.prod(distinct.row(0)) > MOST_DOTS
    if binned:  # by position in the chart, in bins of a fifth of an octave
        at_x = [measure for measure in measures if measure.name.endswith(":x")]
        keys = [(measure.of.log(2) * 5).floor().alias(f"bin {measure.name}") for measure in at_x]
        keys.append(pl.col("batch_size").log(2).floor().alias("bin batch"))
        smallest = Fold("batch_size", pl.col("batch_size"), "min")
        points = folded(source, keys, [smallest, *measures], stepping)
        points = points.sort(points.columns).gather_every(-(-points.height // MOST_DOTS) or 1)
    else:
        points = folded(source, keys, measures, stepping)
        points = points.sort(keys)
    if points.is_empty():
        return None
    dots = pl.concat(
        [
            points.select(
                pl.lit(stage).alias("stage"),
                "batch_size",
                pl.col(f"{stage}:x").alias("intensity"),
                pl.col(f"{stage}:y").alias("rate"),
            )
            for stage in stages
        ]
    )
    low = min(1.0, float(dots["intensity"].min()) / 2)  # type: ignore[arg-type]
    high = max(3000.0, float(dots["intensity"].max()) * 2)  # type: ignore[arg-type]
    roofs = pl.DataFrame(
        [
            {"device": device.name, "intensity": x,
             "rate": min(device.bytes_per_s * x, device.tensor_flops_per_s) / TERA}
            for device in devices
            for x in (low, device.tensor_flops_per_s / device.bytes_per_s, high)
        ]
    )  # fmt: skip
    ticks = [10.0**power for power in range(-2, 6) if low <= 10.0**power <= high]
    x = alt.X("intensity:Q", title="FLOP/byte",
              axis=alt.Axis(format=",~g", gridOpacity=0.4, values=ticks),
              scale=alt.Scale(type="log", domain=[low, high], nice=False))  # fmt: skip
    y = alt.Y("rate:Q", title="TFLOP/s", scale=alt.Scale(type="log"),
              axis=alt.Axis(format=",~g", gridOpacity=0.4))  # fmt: skip
    chosen = alt.condition(alt.datum.device == at.name, alt.value(2.5), alt.value(0.8))
    lines = alt.Chart(roofs).mark_line(color=GREY).encode(
        x=x, y=y, detail="device:N", strokeWidth=chosen
    )  # fmt: skip
    roof_labels = _roof_labels(devices, high)
    labels = alt.Chart(roof_labels).mark_text(align="left", dx=5, fontSize=10, color=GREY).encode(
        x=alt.X("intensity:Q"), y=alt.Y("rate:Q"), text="device:N"
    )  # fmt: skip
    marks = alt.Chart(dots).mark_point(filled=True, size=45, opacity=0.75).encode(
        x=x, y=y,
        color=alt.Color("stage:N", sort=stages, title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=stages, range=[COLOURS[s] for s in stages])),
        shape=alt.Shape("stage:N", sort=stages, title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=stages)),
        tooltip=[PHASE_TOOLTIP, "batch_size", alt.Tooltip("intensity:Q", format=".4~g"),
                 alt.Tooltip("rate:Q", format=".4~g", title="TFLOP/s")],
    )  # fmt: skip
    decode = dots.filter(pl.col("stage") == "decode")["intensity"]
    ridge = at.tensor_flops_per_s / at.bytes_per_s
    side = "left of" if float(decode.max()) < ridge else "on both sides of"  # type: ignore[arg-type]
    side = "right of" if float(decode.min()) > ridge else side  # type: ignore[arg-type]
    title = f"Decode is {side} the ridge of {at.name} at {ridge:,.0f} FLOP/byte"
    note = f"{note_of(source)}; phases under the roof of {at.name} (bold)"
    note += "; a dot is the mean of points close together" if binned else ""
    if not points["weights"].sum():
        note += "; this accounting counts activations only, no weights and no KV cache"
    drawn = alt.layer(lines, marks, labels).properties(width=WIDTH - 90, height=420)
    return Chart("roofline", title, styled(drawn, title, note))


def _roof_labels(devices: Sequence[Device], x: float) -> pl.DataFrame:
    """Place names at the ends of the roofs; equal roofs share a line, and lines do not overlap."""
    heights: dict[float, list[str]] = {}
    for device in devices:
        heights.setdefault(device.tensor_flops_per_s / TERA, []).append(device.name)
    rows, last = [], 0.0
    for rate in sorted(heights):
        last = max(rate, last * 1.35)
        rows.append({"intensity": x, "rate": last, "device": ", ".join(heights[rate])})
    return pl.DataFrame(rows)
