"""The roofline chart: roofs of devices, and the phases of points under one of them."""

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.devices import TERA, Device
from sweepengine.show.curve_points import axis_of
from sweepengine.show.layouts import PRECISION_COLUMNS
from sweepengine.show.look import COLOURS, GREY, PHASE_TOOLTIP, WIDTH, Chart, note_of, styled
from sweepengine.show.slices import Slice
from sweepengine.show.terminal import evenly

MOST_DOTS = 1_000
"""Most points drawn; of more, an even selection."""


def roofline_chart(shown: Slice, devices: Sequence[Device], at: Device) -> Chart | None:
    """Draw the roofs of devices, and the phases of points under the roofs of one of them.

    A dot is at the FLOPs per byte of the model's accounting, and at the rate of the roof of its
    format. Images or prompts, batches and formats vary; the other inputs are held.

    Parameters
    ----------
    shown : Slice
    devices : sequence of Device
        Devices whose bf16 roofs are drawn.
    at : Device
        Device whose roofline gives the rates, with a roof for each format of the points.
    """
    source, axis = shown.source, axis_of(shown)
    stages = list(source.stages_there)
    drawn_inputs = {"batch_size", "device", *PRECISION_COLUMNS, *(axis.inputs if axis else ())}
    points = shown.points(drawn_inputs).filter(pl.col("decode_steps") > 0)
    if "device" in source.inputs:
        points = points.filter(pl.col("device").cast(pl.String) == at.name)
    measures = {
        f"{stage}:{letter}": measure
        for stage in stages
        for letter, measure in (("x", metrics.arithmetic_intensity((stage,))),
                                ("y", metrics.attainable_flops_per_s(at, stage) / TERA))
    }  # fmt: skip
    weights = metrics.total("weight_io_bytes", stages).alias("weights")
    formats = pl.col("activation_format").cast(pl.String).alias("format")
    rows = points.select("batch_size", formats, weights,
                         *(of.alias(name) for name, of in measures.items()))  # fmt: skip
    found = rows.pipe(source.collected)
    if found.is_empty():
        return None
    kept = found[evenly(found.height, MOST_DOTS)]
    dots = pl.concat(
        [
            kept.select(
                pl.lit(stage).alias("stage"), "batch_size",
                (pl.lit("bf16") if stage == "vision" else pl.col("format")).alias("format"),
                pl.col(f"{stage}:x").alias("intensity"), pl.col(f"{stage}:y").alias("rate"),
            )
            for stage in stages
        ]
    )  # fmt: skip
    low = min(1.0, float(dots["intensity"].min()) / 2)  # type: ignore[arg-type]
    high = max(3000.0, float(dots["intensity"].max()) * 2)  # type: ignore[arg-type]
    peaks = {device.name: (device, device.tensor_flops_per_s) for device in devices}
    for name in dots["format"].unique().sort():
        if (peak := at.peak_of(name)) != at.tensor_flops_per_s:
            peaks[f"{at.name} {name}"] = (at, peak)
    roofs = pl.DataFrame(
        [
            {"device": name, "at": device.name == at.name, "intensity": x,
             "rate": min(device.bytes_per_s * x, peak) / TERA}
            for name, (device, peak) in peaks.items()
            for x in (low, peak / device.bytes_per_s, high)
        ]
    )  # fmt: skip
    ticks = [10.0**power for power in range(-2, 6) if low <= 10.0**power <= high]
    x = alt.X("intensity:Q", title="FLOP/byte",
              axis=alt.Axis(format=",~g", gridOpacity=0.4, values=ticks),
              scale=alt.Scale(type="log", domain=[low, high], nice=False))  # fmt: skip
    y = alt.Y("rate:Q", title="TFLOP/s", scale=alt.Scale(type="log"),
              axis=alt.Axis(format=",~g", gridOpacity=0.4))  # fmt: skip
    chosen = alt.StrokeWidthValue(0.8, condition={"test": "datum.at", "value": 2.5})
    lines = alt.Chart(roofs).mark_line(color=GREY).encode(
        x=x, y=y, detail=alt.Detail("device:N"), strokeWidth=chosen
    )  # fmt: skip
    roof_labels = _roof_labels({name: peak for name, (_, peak) in peaks.items()}, high)
    labels = alt.Chart(roof_labels).mark_text(align="left", dx=5, fontSize=11, color=GREY).encode(
        x=alt.X("intensity:Q"), y=alt.Y("rate:Q"), text=alt.Text("device:N")
    )  # fmt: skip
    marks = alt.Chart(dots).mark_point(filled=True, size=45, opacity=0.75).encode(
        x=x, y=y,
        color=alt.Color("stage:N", sort=stages, title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=stages, range=[COLOURS[s] for s in stages])),
        shape=alt.Shape("stage:N", sort=stages, title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=stages)),
        tooltip=[PHASE_TOOLTIP, alt.Tooltip("batch_size"), alt.Tooltip("format"),
                 alt.Tooltip("intensity:Q", format=".4~g"),
                 alt.Tooltip("rate:Q", format=".4~g", title="TFLOP/s")],
    )  # fmt: skip
    decode = dots.filter(pl.col("stage") == "decode")["intensity"]
    ridge = at.tensor_flops_per_s / at.bytes_per_s
    side = "left of" if float(decode.max()) < ridge else "on both sides of"  # type: ignore[arg-type]
    side = "right of" if float(decode.min()) > ridge else side  # type: ignore[arg-type]
    title = f"Decode is {side} the ridge of {at.name} at {ridge:,.0f} FLOP/byte"
    note = f"{note_of(source)}; phases under the roofs of {at.name} (bold), each of its format"
    held = shown.text(drawn_inputs)
    note += f"; at {held}" if held else ""
    activations_only = not kept["weights"].sum()
    if activations_only:
        title = f"Counting activations alone, decode is {side} the ridge of {at.name}"
        note += "; this accounting counts no weights and no KV cache, which bound decode"
    drawn = alt.layer(lines, marks, labels).properties(width=WIDTH - 90, height=420)
    return Chart("roofline", title, styled(drawn, title, note), folded=activations_only)


def _roof_labels(peaks: Mapping[str, float], x: float) -> pl.DataFrame:
    """Place names at the ends of the roofs; equal roofs share a line, and lines do not overlap."""
    heights: dict[float, list[str]] = {}
    for name, peak in peaks.items():
        heights.setdefault(peak / TERA, []).append(name)
    rows, last = [], 0.0
    for rate in sorted(heights):
        last = max(rate, last * 1.35)
        rows.append({"intensity": x, "rate": last, "device": ", ".join(heights[rate])})
    return pl.DataFrame(rows)
