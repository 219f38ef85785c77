"""TTFT and TPOT of a report's points: over batch or prompt, by layout, by part, and as a map."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from sweepengine.costs.time_parts import PARTS, time_parts
from sweepengine.costs.timeline import timeline
from sweepengine.grid.points import checked_point
from sweepengine.search.options import LatencyTargets
from sweepengine.show.curve_points import Axis, axis_of, label_of
from sweepengine.show.device_rows import LAID, RATE, OnDevice, points_of, rows_on
from sweepengine.show.look import (
    GREY,
    HEIGHT,
    SERIES,
    WIDTH,
    Chart,
    drawn_values,
    figure,
    styled,
)
from sweepengine.show.slices import Slice
from sweepengine.show.terminal import evenly

MILLI = 1000.0
MOST_LINES = 8
MOST_BARS = 12
MOST_TICKS = 16
NAMES = {"ttft": "TTFT", "tpot": "TPOT"}
BATCH = Axis(("batch_size",), "batch_size")


def time_charts(shown: Slice, devices: Sequence[Any], targets: LatencyTargets) -> list[Chart]:
    """Return the charts of times of a slice on devices, in the order shown.

    Lines over batch, and over tokens, are those of the layout and formats that serve each device
    best; the parts of TTFT and TPOT are theirs too. Where layouts or formats vary, a chart of each
    device has a line for each. Points that do not fit are left out.

    Parameters
    ----------
    shown : Slice
    devices : sequence of Device
    targets : LatencyTargets
        Of a request; drawn as lines.
    """
    charts: list[Chart] = []
    axis, batches = axis_of(shown), shown.varies("batch_size")
    if batches:
        found = rows_on(shown, BATCH.inputs, devices, targets)
        charts += [_lines(shown, found, time, BATCH, targets) for time in NAMES if found]
        for one in found:
            charts += _parts(shown, one, BATCH)
            if shown.varies(*LAID):
                charts.append(_by_layout(shown, one, targets))
    if axis is not None and (over := rows_on(shown, axis.inputs, devices, targets)):
        charts.append(_lines(shown, over, "ttft", axis, targets))
        if not batches:
            charts += [chart for one in over for chart in _parts(shown, one, axis)]
    return charts


def _title(axis: Axis) -> str:
    return "batch" if axis is BATCH else axis.tokens.replace("_", " ")


def _lines(
    shown: Slice,
    found: Sequence[OnDevice],
    time: str,
    axis: Axis,
    targets: LatencyTargets,
) -> Chart:
    rows = pl.concat(
        [
            one.best.with_columns(pl.lit(f"{one.device.name}, {one.laid}").alias("line"))
            for one in found[:MOST_LINES]
        ],
        how="vertical_relaxed",
    )
    target = targets.ttft_s if time == "ttft" else targets.tpot_s
    title = _within(rows, time, axis, target)
    chosen = "layout and formats of the highest throughput within the targets"
    note = f"{_note(shown, axis.inputs)}; {chosen}"
    name = f"{time}_by_{'batch' if axis is BATCH else 'tokens'}"
    return Chart(name, title, styled(_over(rows, time, axis, target), title, note), "times")


def _by_layout(shown: Slice, one: OnDevice, targets: LatencyTargets) -> Chart:
    rows = one.rows.with_columns(pl.col("laid").alias("line"))
    order = (
        rows.group_by("line", maintain_order=True)
        .agg(pl.col(RATE).max())
        .sort(RATE, descending=True)
    )
    kept = order["line"][:MOST_LINES].to_list()
    rows = rows.filter(pl.col("line").is_in(kept))
    fastest = rows.sort("tpot_seconds", maintain_order=True).row(0, named=True)
    title = (
        f"TPOT on {one.device.name}: least {figure(fastest['tpot_seconds'] * MILLI)} ms, with "
        f"{fastest['line']} at batch {fastest['batch_size']:,}"
    )
    note = _note(shown, (*BATCH.inputs, *LAID))
    if order.height > MOST_LINES:
        note += f"; {MOST_LINES} of {order.height} layouts and formats, of the highest throughput"
    drawn = _over(rows, "tpot", BATCH, targets.tpot_s)
    return Chart(f"tpot_by_layout-{one.device.name}", title, styled(drawn, title, note), "times")


def _note(shown: Slice, inputs: Sequence[str]) -> str:
    held = shown.text({*inputs, "device", *LAID})
    return f"Model {shown.source.model}, grid {shown.source.name}" + (
        f"; at {held}" if held else ""
    )


def _within(rows: pl.DataFrame, time: str, axis: Axis, target: float) -> str:
    """Say up to which batch or tokens each line meets its target."""
    texts = []
    for (line,), of_line in rows.group_by("line", maintain_order=True):
        meeting = of_line.filter(pl.col(f"{time}_seconds") <= target)
        where = f"to {_title(axis)} {max(meeting[axis.tokens]):,}" if meeting.height else "nowhere"
        texts.append(f"{str(line).split(',')[0]} {where}")
    return f"{NAMES[time]} within {target * MILLI:,g} ms: {'; '.join(texts[:4])}"


def _over(rows: pl.DataFrame, time: str, axis: Axis, target: float) -> Any:
    over, batch = axis.tokens, axis is BATCH
    value = f"{time}_seconds"
    data = rows.select(
        "line", over, "laid", pl.col(value).alias("seconds") * MILLI,
        *(pl.col(f"{time}_{end}_seconds").alias(end) * MILLI for end in ("low", "high")),
        RATE,
    ).sort("line", over)  # fmt: skip
    data = data.filter(pl.col(over).is_in(drawn_values(data[over]).implode()))
    names = data["line"].unique(maintain_order=True).to_list()
    values = data[over].unique().sort()
    ticks = values.gather(evenly(len(values), MOST_TICKS)).to_list()
    ticked = alt.Axis(format=",d", grid=False, labelOverlap=True,
                    values=ticks if batch else alt.Undefined)  # fmt: skip
    scale = alt.Scale(type="log", base=2, nice=False) if batch else alt.Scale(nice=False)
    x = alt.X(f"{over}:Q", title=_title(axis), axis=ticked,
              scale=scale)  # fmt: skip
    least, most = float(data["seconds"].min()), float(data["seconds"].max())  # type: ignore[arg-type]
    log = most > 20 * least > 0
    y = alt.Y("seconds:Q", title=f"{NAMES[time]}, ms",
              scale=alt.Scale(type="log") if log else alt.Scale(),
              axis=alt.Axis(format=",.6~g", gridOpacity=0.4))  # fmt: skip
    colour = alt.Color("line:N", title=None, sort=names,
                       legend=alt.Legend(orient="top", columns=2, labelLimit=300),
                       scale=alt.Scale(domain=names, range=list(SERIES[: len(names)])))  # fmt: skip
    base = alt.Chart(data).encode(x=x, y=y, color=colour)
    layers: list[Any] = []
    if len(names) <= 3 and data["low"].null_count() < data.height:
        band = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.15)
        layers.append(
            band.encode(y=alt.Y("low:Q", title=f"{NAMES[time]}, ms"), y2=alt.Y2("high:Q"))
        )
    layers.append(base.mark_line(strokeWidth=1.8))
    layers.append(base.mark_circle(size=40, opacity=1).encode(tooltip=[
        alt.Tooltip("line"), alt.Tooltip(over),
        alt.Tooltip("seconds:Q", format=",.3~g", title=f"{NAMES[time]}, ms"),
        alt.Tooltip("low:Q", format=",.3~g"), alt.Tooltip("high:Q", format=",.3~g"),
        alt.Tooltip(f"{RATE}:Q", format=",.3~r", title="tokens/s/device")]))  # fmt: skip
    rule = alt.Chart(
        pl.DataFrame({"at": [target * MILLI], "text": [f"target {target * MILLI:,g} ms"]})
    )
    layers.append(rule.mark_rule(color=GREY, strokeDash=[4, 4]).encode(y=alt.Y("at:Q")))
    layers.append(rule.mark_text(align="left", dx=4, dy=-6, fontSize=11, color=GREY).encode(
        x=alt.value(0), y=alt.Y("at:Q"), text=alt.Text("text:N")))  # fmt: skip
    return alt.layer(*layers, width=WIDTH, height=HEIGHT)


def _parts(shown: Slice, one: OnDevice, axis: Axis) -> list[Chart]:
    """Return stacked bars of the parts of TTFT and of TPOT, over batch or over tokens."""
    source, batch = shown.source, axis is BATCH
    label = pl.col("batch_size").cast(pl.String) if batch else label_of(source, axis)
    rows = one.best.with_columns(label.alias("at")).sort(axis.tokens)
    rows = rows[evenly(rows.height, MOST_BARS)]
    model = source.loaded._replace(devices=(one.device,), times=one.timing.times)
    stacked: dict[str, list[dict[str, Any]]] = {time: [] for time in NAMES}
    for given, at in zip(points_of(rows, source.inputs), rows["at"], strict=True):
        point = checked_point(model, {k: v for k, v in given.items() if v is not None}, "report")
        parts = time_parts(timeline(model, point, one.timing))
        for time in NAMES:
            stacked[time] += [{"at": at, "part": name, "ms": seconds * MILLI, "order": i}
                              for i, name in enumerate(PARTS)
                              if (seconds := getattr(parts, time).get(name, 0.0))]  # fmt: skip
    return [_stack(shown, one, time, bars, axis) for time, bars in stacked.items() if bars]


def _stack(
    shown: Slice,
    one: OnDevice,
    time: str,
    bars: list[dict[str, Any]],
    axis: Axis,
) -> Chart:
    data, over = pl.DataFrame(bars), _title(axis)
    last = data.filter(at=data["at"][-1])
    largest = last.sort("ms", descending=True).row(0, named=True)
    title = (
        f"Parts of {NAMES[time]} on {one.device.name}, {one.laid}: at {over} {largest['at']}, "
        f"{largest['part']} {largest['ms'] / last['ms'].sum():.0%}"
    )
    names = [name for name in PARTS if name in set(data["part"])]
    colours = [SERIES[PARTS.index(name)] for name in names]
    drawn = alt.Chart(data).mark_bar().encode(
        x=alt.X("at:O", sort=None, title=over, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("ms:Q", title=f"{NAMES[time]}, ms", axis=alt.Axis(format=",.6~g", gridOpacity=0.4)),
        color=alt.Color("part:N", title=None, sort=names,
                        legend=alt.Legend(orient="top", columns=2, labelLimit=300),
                        scale=alt.Scale(domain=names, range=colours)),
        order=alt.Order("order:Q"),
        tooltip=[alt.Tooltip("at"), alt.Tooltip("part"), alt.Tooltip("ms:Q", format=",.3~g")],
    ).properties(width=WIDTH, height=HEIGHT)  # fmt: skip
    name = f"{time}_parts-{one.device.name}"
    return Chart(name, title, styled(drawn, title, _note(shown, axis.inputs)), "times")
