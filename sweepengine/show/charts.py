"""Charts of what a model and devices do: parameters, weight traffic, TPOT, rooflines, fronts."""

from collections.abc import Sequence

import altair as alt
import polars as pl

from sweepengine.costs.device_memory import figure_on
from sweepengine.costs.device_times import times_on
from sweepengine.data.basis import basis
from sweepengine.data.devices import Device
from sweepengine.data.models import Model
from sweepengine.data.speeds import timing_target
from sweepengine.formulas.layout import Layout, expert_groups
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.reductions import activated_experts
from sweepengine.formulas.tokens import ceil_div
from sweepengine.query.folds import Fold, folded
from sweepengine.query.sources import Source
from sweepengine.search.options import LatencyTargets
from sweepengine.search.slo import Answer
from sweepengine.show.layouts import LAYOUT_COLUMNS, layout_name, varying_layouts
from sweepengine.show.look import (
    BLUE,
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
from sweepengine.show.terminal import evenly

MOST_BATCHES = 256
"""Most batch sizes on a chart; of more it shows an even selection."""
MOST_TICKS = 16
MOST_FRONT = 2_000
"""Most points of all fronts of a chart."""
MOST_BINS = 48
"""Most steps of an axis of a heat map; more values are averaged in bins."""


def parameters_chart(source: Source, model: Model) -> Chart:
    """Draw the parameters of each part of a model."""
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
    """Draw the weights that a decode step reads on a device, by batch; None with one batch size.

    It shows the first layout and formats of the source, named in the note.
    """
    arch = model.architecture
    layouts = varying_layouts(source).head(1)
    first_layout = layouts.row(0, named=True) if layouts.width else {}
    chosen = pl.all_horizontal(
        pl.col("decode_steps") > 0, *(pl.col(name) == value for name, value in first_layout.items())
    )
    per_step = pl.col("decode_weight_io_bytes") / pl.col("decode_steps") / 1e9
    steps = folded(source, ["batch_size"], [Fold("bytes", per_step)], chosen).sort("batch_size")
    if steps.height < 2 or not arch.routings or not steps["bytes"].sum():
        return None
    steps = _some(steps, MOST_BATCHES)
    experts, per_token = arch.routings[0]
    layout = Layout(*(int(first_layout.get(name, 1)) for name in LAYOUT_COLUMNS))
    resident = ceil_div(experts, layout.expert)
    activated = [
        activated_experts(
            resident, experts, per_token, ceil_div(batch, layout.data) * expert_groups(layout)
        )
        for batch in steps["batch_size"]
    ]
    shown = steps.with_columns(experts=pl.Series(activated))
    first, last = shown.row(0, named=True), shown.row(-1, named=True)
    title = (
        f"A decode step reads {first['bytes']:.2f} GB of weights at batch {first['batch_size']}, "
        f"{last['bytes']:.2f} GB at {last['batch_size']}: "
        f"{first['experts']:.3g} to {last['experts']:.3g} of {resident} experts per layer"
    )
    base = alt.Chart(shown).encode(
        x=alt.X("batch_size:Q", title="batch size (B)", axis=alt.Axis(
            format=",d", values=_some(shown, MOST_TICKS)["batch_size"].to_list(), grid=False),
            scale=alt.Scale(type="log", base=2)),
        y=alt.Y("bytes:Q", title="GB/step"),
        tooltip=["batch_size", alt.Tooltip("bytes:Q", format=".4~g"),
                 alt.Tooltip("experts:Q", format=".4~g", title="activated experts per layer")],
    )  # fmt: skip
    labelled = base.properties(data=_some(shown, MOST_TICKS))
    text = labelled.mark_text(dy=-10, fontSize=10, color=GREY).encode(
        text=alt.Text("experts:Q", format=".3~g")
    )
    lines = base.mark_line(color=BLUE, point=alt.OverlayMarkDef(color=BLUE))
    drawn = alt.layer(lines, text).properties(width=WIDTH, height=HEIGHT)
    note = f"{note_of(source)}; labels: expected activated experts per layer"
    note += f"; {layout_name(first_layout)}" if first_layout else ""
    return Chart("weight_traffic", title, styled(drawn, title, note), "decode")


def _some(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """Return at most `most` rows, evenly spaced, with the first and the last."""
    return rows[evenly(rows.height, most)]


def heat_map(source: Source, device: Device) -> Chart | None:
    """Draw mean TPOT of points that fit, by decode steps and batch; None without both axes."""
    axes = source.points.select(
        pl.col("decode_steps").n_unique().alias("K"),
        pl.col("decode_steps").min().alias("low"),
        pl.col("decode_steps").max().alias("high"),
        pl.col("batch_size").n_unique().alias("B"),
        pl.col("batch_size").min().alias("least"),
        pl.col("batch_size").max().alias("largest"),
    )
    counts = axes.pipe(source.collected).row(0, named=True)
    timing = timing_target(device)
    if counts["K"] < 2 or counts["B"] < 2:
        return None
    steps = _binned("decode_steps", counts["K"], counts["low"], counts["high"])
    batches = _binned("batch_size", counts["B"], counts["least"], counts["largest"])
    fits = figure_on(source.loaded, device, source.columns, "fits")
    tpot = times_on(source.loaded, timing, source.columns).struct.field("tpot_s")
    cells = folded(
        source,
        [steps, batches],
        [Fold("tpot_ms", pl.when(fits).then(tpot * 1000)),
         Fold("fits", fits, "any")],
        pl.col("decode_steps") > 0,
    ).sort("batch_size", "decode_steps")  # fmt: skip
    shown = cells.filter("fits")
    if shown.is_empty():
        return None
    low, high = shown["tpot_ms"].min(), shown["tpot_ms"].max()
    title = f"TPOT on {device.name}: {figure(low)} to {figure(high)} ms"  # type: ignore[arg-type]
    note = f"{note_of(source)}; means of points that fit in memory; blank: none fits; "
    note += basis(source.loaded.architecture, timing, True)
    for letter, name in (("K", "decode_steps"), ("B", "batch_size")):
        if counts[letter] > MOST_BINS:
            note += f"; {letter} in {cells[name].n_unique()} bins"
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
        .properties(width=WIDTH - 80, height=min(30 * cells["batch_size"].n_unique(), 480))
    )  # fmt: skip
    return Chart("tpot_heat_map", title, styled(drawn, title, note), "decode")


def _binned(name: str, distinct: int, low: int, high: int) -> pl.Expr:
    """Return a column, or the smallest value of its bin if it has too many distinct values."""
    if distinct <= MOST_BINS:
        return pl.col(name)
    width = -(-(high - low + 1) // MOST_BINS)
    return ((pl.col(name) - low) // width * width + low).alias(name)


def front_chart(
    answers: Sequence[Answer], targets: LatencyTargets, source: Source
) -> alt.TopLevelMixin:
    """Draw Pareto fronts of devices: tokens/s/device against tokens/s/user."""
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
    goal = f"TTFT {targets.ttft_s:g} s and TPOT {targets.tpot_s * 1000:g} ms"
    title = f"No point meets {goal}"
    if best is not None and best.best is not None:
        rate = best.best["device_tokens_per_s"] or 0.0
        title = f"Highest throughput within {goal}: {best.device.name}, {rate:,.0f} tokens/s/device"
    note = f"{note_of(source)}; Pareto fronts of points that fit in memory and meet the TTFT"
    chosen = [
        {"device": answer.device.name} | {name: answer.best[name] for name in rows.columns[1:]}
        for answer in answers
        if answer.best and answer.best["user_tokens_per_s"]
    ]
    names = [answer.device.name for answer in answers]
    return fronts_drawn(rows, names, title, note, targets.tpot_s, pl.DataFrame(chosen))


def fronts_drawn(
    rows: pl.DataFrame,
    names: Sequence[str],
    title: str,
    note: str,
    tpot_s: float | None = None,
    chosen: pl.DataFrame = pl.DataFrame(),  # noqa: B008 -- not changed
) -> alt.TopLevelMixin:
    """Draw fronts as lines, with a colour for each.

    Parameters
    ----------
    rows : polars.DataFrame
        `device`, `user_tokens_per_s`, `device_tokens_per_s` and `batch_size`; without rows and
        names the chart is a template that a page fills.
    names : sequence of str
        Values of `device`, in the order of the legend.
    title, note : str
    tpot_s : float, optional
        The target for TPOT in seconds, drawn as a line.
    chosen : polars.DataFrame
        Points with the columns of `rows` that are ringed: the best within the targets.
    """
    if rows.height > MOST_FRONT:
        each = max(MOST_FRONT // max(len(names), 1), 2)
        rows = pl.concat([_some(rows.filter(pl.col("device") == n), each) for n in names])
    colours = [BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, GREY, "#000000", YELLOW]
    scale = alt.Scale(range=colours)
    if names:
        scale = alt.Scale(domain=list(names), range=colours[: len(names)])
    base = alt.Chart(rows).encode(
        x=alt.X("user_tokens_per_s:Q", title="tokens/s/user", scale=alt.Scale(type="log"),
                axis=alt.Axis(format=",~g", gridOpacity=0.4)),
        y=alt.Y("device_tokens_per_s:Q", title="tokens/s/device", scale=alt.Scale(type="log"),
                axis=alt.Axis(format=",~g", gridOpacity=0.4)),
        color=alt.Color("device:N", sort=list(names), title=None, legend=alt.Legend(orient="top"),
                        scale=scale),
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
    if chosen.height:
        layers.append(base.mark_point(size=260, strokeWidth=2.5).properties(data=chosen))
    if tpot_s is not None and rows.height:
        target = pl.DataFrame({"user_tokens_per_s": [1 / tpot_s],
                               "label": [f"TPOT {tpot_s * 1000:g} ms"]})  # fmt: skip
        at = alt.Chart(target).encode(x="user_tokens_per_s:Q")
        layers.append(at.mark_rule(color=GREY, strokeDash=[4, 4]))
        layers.append(at.mark_text(align="left", dx=4, color=GREY, fontSize=10).encode(
            y=alt.value(12), text="label:N"))  # fmt: skip
    drawn = alt.layer(*layers).properties(width=WIDTH - 60, height=400)
    return styled(drawn, title, note)
