"""Charts of what a model and devices do: parameters, weight traffic, TPOT, rooflines, fronts."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from sweepengine.answers import metrics
from sweepengine.answers.objectives import Objectives
from sweepengine.answers.slo import Answer
from sweepengine.answers.sources import Source
from sweepengine.data.devices import TERA, Device
from sweepengine.data.models import Model
from sweepengine.formulas.layout import Layout, expert_groups
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.tokens import ceil_div
from sweepengine.formulas.ways import touched_experts
from sweepengine.show.layouts import LAYOUT, layout_name, varying_layouts
from sweepengine.show.look import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    HEIGHT,
    ORANGE,
    PINK,
    SKY,
    VERMILION,
    WIDTH,
    YELLOW,
    Chart,
    figure,
    note_of,
    styled,
)

MOST_BINS = 48
"""Steps of a heat map's K axis; more values than that are averaged into bins."""


def parameters_chart(source: Source, model: Model) -> Chart:
    """Parameters by part of the model."""
    parts = parameter_parts(model.architecture)
    rows = pl.DataFrame(
        {"part": list(parts), "parameters": [count / 1e6 for count in parts.values()]}
    )
    largest = max(parts, key=lambda name: parts[name])
    total = sum(parts.values())
    title = (
        f"{total / 1e9:.2f} billion parameters, {parts[largest] / total:.0%} of them in {largest}"
    )
    bars = (
        alt.Chart(rows)
        .mark_bar(color=BLUE)
        .encode(
            x=alt.X("parameters:Q", title="million parameters", axis=alt.Axis(format=",d")),
            y=alt.Y("part:N", sort=None, title=None),
        )
    )
    text = bars.mark_text(align="left", dx=4, color=GREY).encode(
        text=alt.Text("parameters:Q", format=",.4~g")
    )
    drawn = alt.layer(bars, text).properties(width=WIDTH, height=26 * len(parts))
    return Chart("parameters", title, styled(drawn, title, f"Model {source.model}"))


def weight_traffic_chart(source: Source, model: Model) -> Chart | None:
    """Weights that a device's decode step reads against the batch; None with one batch size.

    Of several layouts and formats the source's first is shown, and the note says which.
    """
    arch = model.architecture
    first_laid = varying_layouts(source).head(1)
    laid = first_laid.row(0, named=True) if first_laid.width else {}
    steps = (
        source.points.filter(pl.col("decode_steps") > 0, **laid)
        .group_by("batch_size")
        .agg(
            (pl.col("decode_weight_io_bytes") / pl.col("decode_steps")).mean().alias("bytes") / 1e9
        )
        .sort("batch_size")
        .collect(engine="streaming")
    )
    if steps.height < 2 or not arch.routings or not steps["bytes"].sum():
        return None
    experts, per_token = arch.routings[0]
    layout = Layout(*(int(laid.get(name, 1)) for name in LAYOUT))
    held = ceil_div(experts, layout.expert)
    touched = [
        touched_experts(
            held, experts, per_token, ceil_div(batch, layout.data) * expert_groups(layout)
        )
        for batch in steps["batch_size"]
    ]
    shown = steps.with_columns(experts=pl.Series(touched))
    first, last = shown.row(0, named=True), shown.row(-1, named=True)
    title = (
        f"A decode step reads {first['bytes']:.2f} GB of weights at batch {first['batch_size']}, "
        f"{last['bytes']:.2f} GB at {last['batch_size']}: "
        f"{first['experts']:.3g} to {last['experts']:.3g} of {held} experts a layer"
    )
    base = alt.Chart(shown).encode(
        x=alt.X("batch_size:Q", title="batch size (B)", axis=alt.Axis(
            format=",d", values=shown["batch_size"].to_list(), grid=False),
            scale=alt.Scale(type="log", base=2)),
        y=alt.Y("bytes:Q", title="GB a step"),
        tooltip=["batch_size", alt.Tooltip("bytes:Q", format=".4~g"),
                 alt.Tooltip("experts:Q", format=".4~g", title="experts touched a layer")],
    )  # fmt: skip
    text = base.mark_text(dy=-10, fontSize=10, color=GREY).encode(
        text=alt.Text("experts:Q", format=".3~g")
    )
    lines = base.mark_line(color=BLUE, point=alt.OverlayMarkDef(color=BLUE))
    drawn = alt.layer(lines, text).properties(width=WIDTH, height=HEIGHT)
    note = f"{note_of(source)}; labels: distinct experts touched a layer, expected"
    note += f"; {layout_name(laid)}" if laid else ""
    return Chart("weight_traffic", title, styled(drawn, title, note))


def heat_map(source: Source, device: Device) -> Chart | None:
    """TPOT over decode steps and batch size, the mean of all that fits; None without both axes."""
    axes = source.points.select(
        pl.col("decode_steps").n_unique().alias("K"),
        pl.col("decode_steps").min().alias("low"),
        pl.col("decode_steps").max().alias("high"),
        pl.col("batch_size").n_unique().alias("B"),
    )
    counts = axes.collect(engine="streaming").row(0, named=True)
    if counts["K"] < 2 or counts["B"] < 2:
        return None
    steps, binned = pl.col("decode_steps"), counts["K"] > MOST_BINS
    if binned:
        width = -(-(counts["high"] - counts["low"] + 1) // MOST_BINS)
        steps = (steps - counts["low"]) // width * width + counts["low"]
    fits = metrics.memory_needed_bytes(source.stages_there) <= metrics.memory_bytes(device)
    cells = (
        source.points.filter(pl.col("decode_steps") > 0)
        .group_by(steps.alias("decode_steps"), "batch_size")
        .agg(
            (metrics.tpot_seconds(device).filter(fits).mean() * 1000).alias("tpot_ms"),
            fits.any().alias("fits"),
        )
        .sort("batch_size", "decode_steps")
        .collect(engine="streaming")
    )
    shown = cells.filter("fits")
    if shown.is_empty():
        return None
    low, high = shown["tpot_ms"].min(), shown["tpot_ms"].max()
    title = f"On {device.name} a token takes {figure(low)} to {figure(high)} ms"  # type: ignore[arg-type]
    note = f"{note_of(source)}, mean of all that memory holds, blank where it holds none"
    note += f"; K in {cells['decode_steps'].n_unique()} bins" if binned else ""
    drawn = (
        alt.Chart(shown)
        .mark_rect()
        .encode(
            x=alt.X("decode_steps:O", title="decode steps (K)",
                    axis=alt.Axis(format=",d", labelOverlap=True, labelAngle=0)),
            y=alt.Y("batch_size:O", title="batch size (B)", sort="descending"),
            color=alt.Color("tpot_ms:Q", title="TPOT, ms",
                            scale=alt.Scale(scheme="viridis", reverse=True, type="log")),
            tooltip=["decode_steps", "batch_size", alt.Tooltip("tpot_ms:Q", format=".4~g")],
        )
        .properties(width=WIDTH - 80, height=30 * cells["batch_size"].n_unique())
    )  # fmt: skip
    return Chart("tpot_heat_map", title, styled(drawn, title, note))


def roofline_chart(source: Source, devices: Sequence[Device], at: Device) -> Chart | None:
    """Roofs of devices, and each stage's points under the roof of one of them.

    A point stands at the FLOPs for each byte that the model's accounting moves, and at the rate
    that the roofline of `at` allows: its FLOPs over its roofline time.
    """
    stages = list(source.stages_there)
    measures = []
    for stage in stages:
        intensity = metrics.arithmetic_intensity((stage,))
        rate = metrics.flops((stage,)) / metrics.roofline_seconds(at, (stage,)) / TERA
        measures += [intensity.alias(f"{stage}:x"), rate.alias(f"{stage}:y")]
    measures.append(metrics.total("weight_io_bytes", stages).alias("weights"))
    wanted = ("batch_size", "attention", "crop_rows", "crop_cols", "view_size", "prompt_tokens")
    keys = [name for name in wanted if name in source.columns]
    points = (
        source.points.filter(pl.col("decode_steps") > 0)
        .group_by(keys)
        .agg([measure.mean() for measure in measures])
        .sort(keys)
        .collect(engine="streaming")
    )
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
    names = _roof_labels(devices, high)
    labels = alt.Chart(names).mark_text(align="left", dx=5, fontSize=10, color=GREY).encode(
        x=alt.X("intensity:Q"), y=alt.Y("rate:Q"), text="device:N"
    )  # fmt: skip
    marks = alt.Chart(dots).mark_point(filled=True, size=45, opacity=0.75).encode(
        x=x, y=y,
        color=alt.Color("stage:N", sort=stages, title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=stages, range=[COLOURS[s] for s in stages])),
        shape=alt.Shape("stage:N", sort=stages, title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=stages)),
        tooltip=["stage", "batch_size", alt.Tooltip("intensity:Q", format=".4~g"),
                 alt.Tooltip("rate:Q", format=".4~g", title="TFLOP/s")],
    )  # fmt: skip
    decode = dots.filter(pl.col("stage") == "decode")["intensity"]
    ridge = at.tensor_flops_per_s / at.bytes_per_s
    side = "left of" if float(decode.max()) < ridge else "on both sides of"  # type: ignore[arg-type]
    side = "right of" if float(decode.min()) > ridge else side  # type: ignore[arg-type]
    title = f"Decode stands {side} {at.name}'s ridge of {ridge:,.0f} FLOP/byte"
    note = f"{note_of(source)}; stages under the roof of {at.name} (bold)"
    if not points["weights"].sum():
        note += "; this accounting moves activations only, no weights and no cache"
    drawn = alt.layer(lines, marks, labels).properties(width=WIDTH - 90, height=420)
    return Chart("roofline", title, styled(drawn, title, note))


def _roof_labels(devices: Sequence[Device], x: float) -> pl.DataFrame:
    """Names at the ends of the roofs, those of one height on one line, pushed apart."""
    heights: dict[float, list[str]] = {}
    for device in devices:
        heights.setdefault(device.tensor_flops_per_s / TERA, []).append(device.name)
    rows, last = [], 0.0
    for rate in sorted(heights):
        place = max(rate, last * 1.35)
        rows.append({"intensity": x, "rate": place, "device": ", ".join(heights[rate])})
        last = place
    return pl.DataFrame(rows)


def front_chart(
    answers: Sequence[Answer], targets: Objectives, source: Source
) -> alt.TopLevelMixin:
    """Pareto fronts of devices: tokens/s/device against tokens/s/user."""
    rows = pl.concat(
        [
            answer.front.select(
                pl.lit(answer.device.name).alias("device"), "user_tokens_per_s",
                "device_tokens_per_s", "batch_size",
            )
            for answer in answers
            if answer.front.height
        ]
        or [pl.DataFrame(schema={"device": pl.String, "user_tokens_per_s": pl.Float64,
                                 "device_tokens_per_s": pl.Float64, "batch_size": pl.Int32})]
    )  # fmt: skip
    best = max(
        (answer for answer in answers if answer.best),
        key=lambda answer: answer.best["device_tokens_per_s"] or 0.0,  # type: ignore[index]
        default=None,
    )
    said = f"TTFT {targets.ttft_s:g} s and TPOT {targets.tpot_s * 1000:g} ms"
    title = f"Nothing meets {said}"
    if best is not None and best.best is not None:
        made = best.best["device_tokens_per_s"] or 0.0
        title = f"{best.device.name} makes most within {said}: {made:,.0f} tokens/s"
    note = f"{note_of(source)}; Pareto fronts of what fits the memory and meets the TTFT"
    return fronts_drawn(rows, [answer.device.name for answer in answers], title, note)


def fronts_drawn(
    rows: pl.DataFrame, names: Sequence[str], title: str, note: str
) -> alt.TopLevelMixin:
    """Fronts as lines, a colour each: `rows` has `device`, both rates and `batch_size`."""
    colours = [BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, GREY, "#000000", YELLOW]
    base = alt.Chart(rows).encode(
        x=alt.X("user_tokens_per_s:Q", title="tokens/s/user", scale=alt.Scale(type="log"),
                axis=alt.Axis(format=",~g", gridOpacity=0.4)),
        y=alt.Y("device_tokens_per_s:Q", title="tokens/s/device", scale=alt.Scale(type="log"),
                axis=alt.Axis(format=",~g", gridOpacity=0.4)),
        color=alt.Color("device:N", sort=list(names), title=None, legend=alt.Legend(orient="top"),
                        scale=alt.Scale(domain=list(names), range=colours[: len(names)])),
    )  # fmt: skip
    points = base.mark_point(filled=True, size=50).encode(
        tooltip=["device", "batch_size", alt.Tooltip("user_tokens_per_s:Q", format=",.4~g"),
                 alt.Tooltip("device_tokens_per_s:Q", format=",.4~g")]
    )  # fmt: skip
    labels = base.mark_text(align="left", dx=7, dy=-6, fontSize=9).encode(
        text=alt.Text("label:N")
    ).transform_calculate(label="'B ' + datum.batch_size")  # fmt: skip
    layers = [base.mark_line(strokeWidth=1.5), points]
    if rows.height <= 60:
        layers.append(labels)
    drawn = alt.layer(*layers).properties(width=WIDTH - 60, height=400)
    return styled(drawn, title, note)
