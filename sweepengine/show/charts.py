"""Charts of what a model and devices do: parameters, weight traffic, and Pareto fronts."""

from collections.abc import Mapping, Sequence

import altair as alt
import polars as pl

from sweepengine.data.models import Model
from sweepengine.formulas.layout import Layout, expert_groups
from sweepengine.formulas.parameters import parameter_parts
from sweepengine.formulas.reductions import activated_experts
from sweepengine.formulas.tokens import ceil_div
from sweepengine.query.sources import Source
from sweepengine.search.options import LatencyTargets
from sweepengine.search.slo import Answer
from sweepengine.show.layouts import LAYOUT_COLUMNS, layout_label
from sweepengine.show.look import (
    BLUE,
    GREY,
    HEIGHT,
    SERIES,
    WIDTH,
    YELLOW,
    Chart,
    note_of,
    styled,
)
from sweepengine.show.plans import units_of
from sweepengine.show.slices import Slice
from sweepengine.show.terminal import evenly

MOST_BATCHES = 256
"""Most batch sizes on a chart; of more it shows an even selection."""
MOST_TICKS = 16
FRONT = {"device": pl.String, "user_tokens_per_s": pl.Float64, "device_tokens_per_s": pl.Float64,
         "batch_size": pl.Int64, "laid": pl.String, "label": pl.String, "low": pl.Float64,
         "high": pl.Float64}  # fmt: skip
"""Columns of drawn fronts; the last two are tokens/s/device at the ends of the range of TPOT."""
CHOSEN_COLUMNS = ("user_tokens_per_s", "device_tokens_per_s", "batch_size")
MOST_FRONT = 2_000
"""Most points of all fronts of a chart."""


LEFT_HALF = "(scale('x', datum.user_tokens_per_s) < width / 2)"
"""Whether a point is in the left half of a chart of fronts. As fronts fall to the right, a label
there stands right of its point and above the front, others left of it and below."""
SHORT_LABEL = "width < 450 ? split(datum.label, ',')[0] : datum.label"
"""Label of a point; without its batch where the chart is as narrow as on a phone."""


def parameters_chart(source: Source, model: Model) -> Chart:
    """Draw the parameters of each part of a model."""
    parts = parameter_parts(model.architecture)
    largest = max(parts, key=lambda name: parts[name])
    total = sum(parts.values())
    title = (
        f"{total / 1e9:.2f} billion parameters, {parts[largest] / total:.0%} of them in {largest}"
    )
    millions = {name: count / 1e6 for name, count in parts.items()}
    drawn = _bars(millions, "million parameters", ",.4~g")
    return Chart("parameters", title, styled(drawn, title, f"Model {source.model}"))


def phase_weights(model: Model) -> dict[str, float]:
    """Return the weights that an accounting counts in each phase, in its unit of memory."""
    size = model.architecture.convention.dtype_bytes / units_of(model).memory_bytes
    parts = {name: count * size for name, count in parameter_parts(model.architecture).items()}
    decoder = parts["decoder"] + parts["LM head"]
    return {"vision": sum(parts.values()) - decoder, "prefill and decode": decoder,
            "all phases": sum(parts.values())}  # fmt: skip


def weights_chart(source: Source, model: Model, note: str = "") -> Chart:
    """Draw the weights that an accounting counts in each phase."""
    weights, unit = phase_weights(model), units_of(model).memory
    texts = [f"{name} {weight:.4f}" for name, weight in weights.items()]
    title = f"Weights by phase, {unit}: {', '.join(texts)}"
    drawn = _bars(weights, unit, ",.4f")
    about = f"Model {source.model}" + (f"; {note}" if note else "")
    return Chart("weights_by_phase", title, styled(drawn, title, about))


def _bars(values: Mapping[str, float], unit: str, form: str) -> alt.TopLevelMixin:
    rows = pl.DataFrame({"part": list(values), "value": list(values.values())})
    bars = alt.Chart(rows).mark_bar(color=BLUE).encode(
        x=alt.X("value:Q", title=unit, axis=alt.Axis(format=",~g")),
        y=alt.Y("part:N", sort=None, title=None),
    )  # fmt: skip
    text = bars.mark_text(align="left", dx=4, color=GREY).encode(
        text=alt.Text("value:Q", format=form)
    )
    return alt.layer(bars, text, width=WIDTH, height=26 * len(values))


def weight_traffic_chart(shown: Slice) -> Chart | None:
    """Draw the weights that a decode step reads on a device, by batch; None with one batch size."""
    source, arch, layout_row = shown.source, shown.source.loaded.architecture, shown.point
    if not shown.varies("batch_size") or not arch.routings:
        return None
    per_step = pl.col("decode_weight_io_bytes") / pl.col("decode_steps") / 1e9
    points = shown.points(("batch_size",)).filter(pl.col("decode_steps") > 0)
    steps = points.select("batch_size", per_step.alias("bytes")).pipe(source.collected)
    steps = steps.sort("batch_size")
    if steps.height < 2 or not steps["bytes"].sum():
        return None
    steps = _some(steps, MOST_BATCHES)
    experts, per_token = arch.routings[0]
    layout = Layout(*(int(layout_row.get(name, 1)) for name in LAYOUT_COLUMNS))
    resident = ceil_div(experts, layout.expert)
    activated = [
        activated_experts(
            resident, experts, per_token, ceil_div(batch, layout.data) * expert_groups(layout)
        )
        for batch in steps["batch_size"]
    ]
    rows = steps.with_columns(experts=pl.Series(activated))
    first, last = rows.row(0, named=True), rows.row(-1, named=True)
    title = (
        f"A decode step reads {first['bytes']:.2f} GB of weights at batch {first['batch_size']}, "
        f"{last['bytes']:.2f} GB at {last['batch_size']}: "
        f"{first['experts']:.3g} to {last['experts']:.3g} of {resident} experts per layer"
    )
    base = alt.Chart(rows).encode(
        x=alt.X("batch_size:Q", title="batch size (B)", axis=alt.Axis(
            format=",d", values=_some(rows, MOST_TICKS)["batch_size"].to_list(), grid=False),
            scale=alt.Scale(type="log", base=2)),
        y=alt.Y("bytes:Q", title="GB/step"),
        tooltip=[alt.Tooltip("batch_size"), alt.Tooltip("bytes:Q", format=".4~g"),
                 alt.Tooltip("experts:Q", format=".4~g", title="activated experts per layer")],
    )  # fmt: skip
    labelled = base.properties(data=_some(rows, MOST_TICKS))
    text = labelled.mark_text(dy=-10, fontSize=11, color=GREY).encode(
        text=alt.Text("experts:Q", format=".3~g")
    )
    lines = base.mark_line(color=BLUE, point=alt.OverlayMarkDef(color=BLUE))
    drawn = alt.layer(lines, text).properties(width=WIDTH, height=HEIGHT)
    note = f"{note_of(source)}; labels: expected activated experts per layer"
    held = shown.text(("batch_size",))
    note += f"; at {held}" if held else ""
    return Chart("weight_traffic", title, styled(drawn, title, note), "decode")


def _some(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """Return at most `most` rows, evenly spaced, with the first and the last."""
    return rows[evenly(rows.height, most)]


def front_chart(
    answers: Sequence[Answer], targets: LatencyTargets, source: Source
) -> alt.TopLevelMixin:
    """Draw Pareto fronts of devices: tokens/s/device against tokens/s/user."""
    fronts = [front_rows(answer.device.name, answer.front, source) for answer in answers]
    rows = pl.concat([front for front in fronts if front.height] or [pl.DataFrame(schema=FRONT)])
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
        {"device": answer.device.name, **{name: answer.best[name] for name in CHOSEN_COLUMNS}}
        for answer in answers
        if answer.best and answer.best["user_tokens_per_s"]
    ]
    names = [answer.device.name for answer in answers]
    return fronts_drawn(rows, names, title, note, targets.tpot_s, pl.DataFrame(chosen))


def front_rows(device: str, front: pl.DataFrame, source: Source) -> pl.DataFrame:
    """Return a front with the columns of `FRONT`."""
    if not front.height:
        return pl.DataFrame()
    laid = [layout_label(source, row) for row in front.iter_rows(named=True)]
    return labelled_front(device, front.with_columns(laid=pl.Series(laid)))


def labelled_front(device: str, front: pl.DataFrame) -> pl.DataFrame:
    """Return a front with a column `laid` as `fronts_drawn` takes it.

    A point is labelled where its layout or formats are not those of the point before.
    """
    changed = pl.col("laid") != pl.col("laid").shift(1)
    named = pl.format("{}, batch {}", "laid", "batch_size")
    rate, tpot = pl.col("device_tokens_per_s"), 1 / pl.col("user_tokens_per_s")
    return front.select(
        pl.lit(device).alias("device"), "user_tokens_per_s", "device_tokens_per_s",
        pl.col("batch_size").cast(pl.Int64), "laid",
        pl.when(changed.fill_null(True)).then(named).otherwise(pl.lit("")).alias("label"),
        (rate * tpot / pl.col("tpot_high_seconds")).alias("low"),
        (rate * tpot / pl.col("tpot_low_seconds")).alias("high"),
    )  # fmt: skip


def fronts_drawn(
    rows: pl.DataFrame,
    names: Sequence[str],
    title: str,
    note: str,
    tpot_s: float | None = None,
    chosen: pl.DataFrame = pl.DataFrame(),  # noqa: B008 -- not changed
) -> alt.TopLevelMixin:
    """Draw fronts as lines, with a colour for each, and the band of errors of measured runs.

    Parameters
    ----------
    rows : polars.DataFrame
        Columns of `FRONT`; without rows and names the chart is a template that a page fills.
    names : sequence of str
        Values of `device`, in the order of the legend.
    title, note : str
    tpot_s : float, optional
        The target for TPOT in seconds, drawn as a line.
    chosen : polars.DataFrame
        `device` and `CHOSEN_COLUMNS` of points that are ringed: the best within the targets.
    """
    if rows.height > MOST_FRONT:
        each = max(MOST_FRONT // max(len(names), 1), 2)
        rows = pl.concat([_some(rows.filter(pl.col("device") == n), each) for n in names])
    scale = alt.Scale(range=[*SERIES, YELLOW])
    if names:
        scale = alt.Scale(domain=list(names), range=[*SERIES, YELLOW][: len(names)])
    base = alt.Chart(rows).encode(
        x=alt.X("user_tokens_per_s:Q", title="tokens/s/user", scale=alt.Scale(type="log"),
                axis=alt.Axis(format=",~g", gridOpacity=0.4)),
        y=alt.Y("device_tokens_per_s:Q", title="tokens/s/device", scale=alt.Scale(type="log"),
                axis=alt.Axis(format=",~g", gridOpacity=0.4)),
        color=alt.Color("device:N", sort=list(names), title=None, legend=alt.Legend(orient="top"),
                        scale=scale),
    )  # fmt: skip
    points = base.mark_point(filled=True, size=50).encode(
        tooltip=[alt.Tooltip("device"), alt.Tooltip("laid"), alt.Tooltip("batch_size"),
                 alt.Tooltip("user_tokens_per_s:Q", format=",.3~r"),
                 alt.Tooltip("device_tokens_per_s:Q", format=",.3~r")]
    )  # fmt: skip
    labels = base.mark_text(
        text=alt.ExprRef(SHORT_LABEL),
        fontSize=11,
        align=alt.ExprRef(f"{LEFT_HALF} ? 'left' : 'right'"),
        dx=alt.ExprRef(f"{LEFT_HALF} ? 9 : -9"),
        dy=alt.ExprRef(f"{LEFT_HALF} ? -7 : 9"),
    )
    layers: list[alt.Chart] = []
    if not names or rows["low"].null_count() < rows.height:
        band = base.transform_filter("isValid(datum.low)").mark_area(opacity=0.12)
        layers.append(band.encode(y=alt.Y("low:Q", title="tokens/s/device"), y2=alt.Y2("high:Q")))
    layers += [base.mark_line(strokeWidth=1.5), points, labels]
    if chosen.height:
        layers.append(base.mark_point(size=260, strokeWidth=2.5).properties(data=chosen))
    if tpot_s is not None and rows.height:
        target = pl.DataFrame({"user_tokens_per_s": [1 / tpot_s],
                               "label": [f"TPOT {tpot_s * 1000:g} ms"]})  # fmt: skip
        at = alt.Chart(target).encode(x=alt.X("user_tokens_per_s:Q"))
        layers.append(at.mark_rule(color=GREY, strokeDash=[4, 4]))
        layers.append(at.mark_text(align="left", dx=4, color=GREY, fontSize=11).encode(
            y=alt.value(12), text=alt.Text("label:N")))  # fmt: skip
    drawn = alt.layer(*layers).properties(width=WIDTH - 60, height=400)
    return styled(drawn, title, note)
