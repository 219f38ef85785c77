"""The published charts: curves over image tokens, with titles that state their result.

`chart_frame` has one row for each image and attention, with the smallest, mean and largest value
over all other inputs. Thousands of images are grouped in bins of their tokens. So every point
counts in a chart, and the chart stays small.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.devices import TERA
from sweepengine.formulas.points import IMAGE_COLUMNS
from sweepengine.query.folds import Fold, folded, spread
from sweepengine.query.sources import Source
from sweepengine.show.look import (
    COLOURS,
    GREY,
    HEIGHT,
    WIDTH,
    Chart,
    figure,
    note_of,
    padded,
    styled,
    value_axis,
)
from sweepengine.show.plans import Plan

MOST_IMAGES = 2_000
"""Most images or prompts drawn one by one; more are drawn in bins of their tokens."""
TOKEN_BINS = 256
LABEL_WIDTH = 27
"""Width of a label such as 1x29 with its margin, in pixels."""
DASHES = {"eager": [6, 3], "CUDA cores": [6, 3], "after decoding": [6, 3], "LM head": [2, 2]}
NEAR = 1 / 180
"""Share of the width around the cursor in which points show their values."""
CURSOR = alt.param(name="cursor", value=-1e12)
"""Tokens at the cursor; a page sets it in all its charts at once."""
ATTENTION = alt.param(name="attention", value="all")
CHOSEN = (
    "attention == 'all' || datum.curve == attention || indexof(['eager', 'flash'], datum.curve) < 0"
)
"""Filter of curves, for the choice of attention on a page."""
PROMPT = (*IMAGE_COLUMNS, "text_tokens", "prompt_tokens")
"""Keys of the rows of a chart's frame, those that the model has."""
MEASURED_AT = {"text_tokens": 10, "decode_steps": 100, "batch_size": 1, "attention_heads": 10,
               "key_value_heads": 10}  # fmt: skip
"""Inputs of `validation.measured_stages`, in addition to the published images."""


def chart_frame(source: Source, chosen: Sequence[Plan]) -> pl.DataFrame:
    """Fold the points into a row for each image and attention.

    More than `MOST_IMAGES` images share rows by bins of tokens, named by the smallest.

    Columns are ``{chart}:{i}:min``, ``:mean`` and ``:max`` for curve i of each chart, the keys of
    the row, `attention`, `tokens` and `crops`; and ``{chart}:torch``, the tensor FLOPs of rows with
    the inputs that torch ran, null in others.
    """
    as_measured = pl.lit(False)
    if "vision" in source.stages_there:
        as_measured = pl.all_horizontal(
            pl.col(name) == value for name, value in MEASURED_AT.items()
        )
    folds = [
        fold
        for plan in chosen
        for i, curve in enumerate(plan.curves)
        for fold in spread(f"{plan.name}:{i}", _stepping(curve.measure))
    ]
    folds += [
        Fold(f"{plan.name}:torch",
             pl.when(as_measured).then(metrics.total("tensor_flops", plan.stages)), "max")
        for plan in chosen
        if plan.measured
    ]  # fmt: skip
    label = pl.format("{} tokens", tokens_column(source))
    if "crop_rows" in source.columns:
        crops = pl.format("{}x{}", "crop_rows", "crop_cols")
        whole = pl.format("{} px", "view_size")
        label = pl.when(pl.col("crop_rows") > 0).then(crops).otherwise(whole)
        given = pl.format("{}x{} px", "image_height", "image_width")
        label = pl.when(pl.col("image_height") > 0).then(given).otherwise(label)
    tokens = tokens_column(source)
    keys = list(dict.fromkeys(name for name in (*PROMPT, tokens) if name in source.columns))
    binned = _binned(source, keys, tokens)
    if binned is None:
        frame = folded(source, [*keys, "attention"], folds)
    else:
        # A bin is named by its smallest keys.
        firsts = [Fold(name, pl.col(name), "min") for name in keys]
        frame = folded(source, [binned, "attention"], [*firsts, *folds]).drop("bin")
    named = frame.with_columns(label.alias("crops"), pl.col(tokens).alias("tokens"))
    return named.sort(tokens, "attention", *keys)


def _stepping(measure: pl.Expr) -> pl.Expr:
    """Return a measure that is null where it needs decode steps and there are none."""
    if "decode_steps" not in measure.meta.root_names():
        return measure
    return pl.when(pl.col("decode_steps") > 0).then(measure)


def _binned(source: Source, keys: Sequence[str], tokens: str) -> pl.Expr | None:
    """Return the bin of each point's tokens; None if there are few images and prompts."""
    counts = [pl.col(name).approx_n_unique().cast(pl.Int64).alias(name) for name in keys]
    ends = [pl.col(tokens).min().alias("low"), pl.col(tokens).max().alias("high")]
    summary = source.points.select(*counts, *ends).pipe(source.collected).row(0, named=True)
    if math.prod(summary[name] for name in keys if name != tokens) <= MOST_IMAGES:
        return None
    width = -(-(summary["high"] - summary["low"] + 1) // TOKEN_BINS)
    binned: pl.Expr = ((pl.col(tokens) - summary["low"]) // width).alias("bin")
    return binned


def tokens_column(source: Source) -> str:
    """Return the column of the x axis: tokens of the image, or of the prompt of a text model."""
    return "image_tokens" if "image_tokens" in source.columns else "prompt_tokens"


def line_chart(
    plan: Plan, frame: pl.DataFrame, measured: Sequence[Mapping[str, str]], source: Source
) -> Chart | None:
    """Draw one plan over image tokens.

    Parameters
    ----------
    plan : Plan
    frame : polars.DataFrame
        Of `chart_frame`.
    measured : sequence of mappings
        Rows of `data.measurements.measured_stages`.
    source : Source

    Returns
    -------
    Chart or None
        None if there are fewer than two images.
    """
    curves = _curves(plan, frame)
    if plan.logarithmic:
        curves = curves.filter(pl.col("least") > 0)
    if curves["tokens"].n_unique() < 2:
        return None
    off = None
    if plan.measured:
        torch = _measured(plan, frame, measured)
        if torch.height:
            off = float((torch["analytic"] / torch["value"] - 1).abs().max())  # type: ignore[arg-type]
            figure = pl.col("value") / TERA
            of_torch = torch.select(
                "tokens", "crops", pl.lit("measured by torch").alias("curve"),
                *(figure.alias(name) for name in ("least", "value", "most")),
            )  # fmt: skip
            curves = pl.concat([curves, of_torch])
    names = curves["curve"].unique(maintain_order=True).to_list()
    domain = padded(curves["tokens"])
    over = tokens_column(source).replace("_", " ")
    x = alt.X("tokens:Q", scale=alt.Scale(domain=domain, nice=False), title=over,
              axis=alt.Axis(format=",d", grid=False))  # fmt: skip
    title = f"{plan.unit}, logarithmic" if plan.logarithmic else plan.unit
    ends = [float(curves["least"].min()) * 0.7, float(curves["most"].max()) * 1.4]  # type: ignore[arg-type]
    scale = alt.Scale(type="log", domain=ends, nice=False) if plan.logarithmic else alt.Scale()
    y = alt.Y("value:Q", title=title, axis=value_axis(curves["most"]), scale=scale)
    legend = alt.Legend(orient="top", symbolType="stroke", symbolSize=300)
    palette = alt.Scale(domain=names, range=[COLOURS[name] for name in names])
    colour = alt.Color("curve:N", title=None, sort=names, legend=legend, scale=palette)
    tooltip = [
        alt.Tooltip("crops:N"),
        alt.Tooltip("tokens:Q", format=","),
        alt.Tooltip("curve:N"),
        alt.Tooltip("value:Q", format=",.6~g", title=plan.unit),
    ]
    base = alt.Chart(curves).encode(x=x, color=colour)
    params = [CURSOR]
    if {"eager", "flash"} <= set(names):
        base = base.transform_filter(CHOSEN)
        params.append(ATTENTION)
    layers: list[alt.Chart] = []
    banded = (curves["least"] < curves["most"]).any()
    if banded:
        band = base.mark_area(opacity=0.18).encode(y=alt.Y("least:Q", title=title), y2="most:Q")
        layers.append(band)
    analytic = base.transform_filter("datum.curve != 'measured by torch'")
    dashes = alt.Scale(domain=names, range=[DASHES.get(name, [1, 0]) for name in names])
    dash = alt.StrokeDash("curve:N", title=None, legend=legend, sort=names, scale=dashes)
    layers.append(analytic.mark_line(strokeWidth=1.5).encode(y=y, strokeDash=dash))
    near = f"abs(datum.tokens - {CURSOR.name}) <= {(domain[1] - domain[0]) * NEAR:g}"
    size = alt.condition(near, alt.value(90), alt.value(22))
    layers.append(analytic.mark_circle(opacity=1).encode(y=y, tooltip=tooltip, size=size))
    value = alt.condition(near, alt.Text("value:Q", format=",.4~g"), alt.value(""))
    labels = analytic.mark_text(align="left", dx=7, dy=-7, fontSize=11)
    layers.append(labels.encode(y=y, text=value))
    if "measured by torch" in names:
        torch_points = base.transform_filter("datum.curve == 'measured by torch'").mark_point(
            shape="diamond", size=85, strokeWidth=2
        )
        layers.append(torch_points.encode(y=y, tooltip=tooltip))
    finding = _finding(plan, curves, off)
    subtitle = note_of(source) + (
        "; bands: smallest to largest over all other inputs" if banded else ""
    )
    # Altair copies all layers whenever a chart of layers changes: what it has is given at once.
    layers[0] = layers[0].add_params(*params)
    drawn: Any = alt.layer(*layers, width=WIDTH, height=HEIGHT)
    if "crop_rows" in source.columns:
        shared = alt.Resolve(scale={"x": "shared"})
        drawn = alt.vconcat(drawn, _labels(curves, domain), spacing=2, resolve=shared)
    return Chart(plan.name, finding, styled(drawn, finding, subtitle), plan.stage)


def _curves(plan: Plan, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the curves in long form: tokens, crops, curve, least, value, most."""
    frames = []
    for i, curve in enumerate(plan.curves):
        shown = frame.select(
            "tokens",
            "crops",
            pl.lit(curve.name).alias("curve")
            if curve.name
            else pl.col("attention").cast(pl.String).alias("curve"),
            pl.col(f"{plan.name}:{i}:min").cast(pl.Float64).alias("least"),
            pl.col(f"{plan.name}:{i}:mean").cast(pl.Float64).alias("value"),
            pl.col(f"{plan.name}:{i}:max").cast(pl.Float64).alias("most"),
        )
        frames.append(shown.drop_nulls())
    curves = pl.concat(frames)
    if plan.curves[0].name:
        return curves.unique(maintain_order=True)
    figures = ["tokens", "crops", "least", "value", "most"]
    alike = curves.select(figures).unique(maintain_order=True)
    if curves["curve"].n_unique() == 2 and alike.height * 2 == curves.height:
        both = pl.lit("eager and flash").alias("curve")
        return alike.select("tokens", "crops", both, "least", "value", "most")
    return curves.sort(pl.col("curve") == "eager", maintain_order=True)


def _measured(
    plan: Plan, frame: pl.DataFrame, measured: Sequence[Mapping[str, str]]
) -> pl.DataFrame:
    """Join FLOPs of torch (`value`) and tensor FLOPs of the formulas (`analytic`) by image."""
    analytic = frame.select(
        "tokens", "crops", pl.col(f"{plan.name}:torch").cast(pl.Float64).alias("analytic")
    )
    of_torch = pl.DataFrame(measured).select(
        pl.col("image_tokens").cast(pl.Int32).alias("tokens"),
        pl.format("{}x{}", "crop_rows", "crop_cols").alias("crops"),
        pl.col(plan.measured).replace("", None).cast(pl.Float64).alias("value"),
    )
    distinct = analytic.drop_nulls().unique(maintain_order=True)
    return distinct.join(of_torch.drop_nulls(), on=["tokens", "crops"], maintain_order="left")


def _finding(plan: Plan, curves: pl.DataFrame, off: float | None) -> str:
    """Return the title: values of the smallest and largest image, and how curves differ there."""
    names = curves["curve"].unique(maintain_order=True).to_list()
    ends = {}
    for name in names:
        curve = curves.filter(pl.col("curve") == name).sort("tokens")
        ends[name] = (curve.row(0, named=True), curve.row(-1, named=True))
    first, last = ends[names[0]]
    title = f"{plan.what}: {figure(first['value'])}"
    if abs(last["value"] - first["value"]) <= 5e-4 * abs(first["value"]):
        title += f" {plan.unit} everywhere"
    else:
        title += f" to {figure(last['value'])} {plan.unit}, {first['crops']} to {last['crops']}"
    if off is not None:
        title += f"; tensor FLOPs within {off:.2%} of torch's" if off else "; equal to torch"
    elif len(names) > 1 and last["value"]:
        ratio = ends[names[1]][1]["value"] / last["value"]
        factor = (
            f"1/{figure(1 / ratio)} of that" if 0 < ratio < 1 else f"{figure(ratio)} times that"
        )
        factor = "within 1 % of that" if abs(ratio - 1) < 0.01 else factor
        named = f"{names[0]}; " if plan.curves[0].name else ""
        title += f" ({named}{names[1]} {factor})"
    return title


def _labels(curves: pl.DataFrame, domain: list[float]) -> alt.Chart:
    """Draw the crop grids under the points, stacked where they have the same number of tiles.

    A column of labels that would touch the one before is left out; tooltips show all.
    """
    images = curves.select("tokens", "crops").unique().sort("tokens")
    pixels = WIDTH / (domain[1] - domain[0])
    columns: list[tuple[float, float, list[str]]] = []
    for tokens, crops in images.rows():
        if columns and (tokens - columns[-1][0]) * pixels < LABEL_WIDTH / 2:
            first, _, stacked = columns[-1]
            columns[-1] = (first, tokens, [*stacked, crops])
        else:
            columns.append((tokens, tokens, [crops]))
    rows: list[dict[str, object]] = []
    end = -float(LABEL_WIDTH)
    for first, final, stacked in columns:
        middle = (first + final) / 2
        place = (middle - domain[0]) * pixels
        width = LABEL_WIDTH * max(len(label) for label in stacked) / 4
        if place - width / 2 < end:
            continue
        end = place + width / 2
        rows += [
            {"tokens": middle, "line": line, "crops": label}
            for line, label in enumerate(dict.fromkeys(stacked))
        ]
    lines = 1 + max(int(str(row["line"])) for row in rows)
    labels: alt.Chart = (
        alt.Chart(pl.DataFrame(rows))
        .mark_text(fontSize=9, color=GREY)
        .encode(
            x=alt.X("tokens:Q", axis=None, scale=alt.Scale(domain=domain, nice=False)),
            y=alt.Y("line:O", axis=None),
            text="crops:N",
        )
        .properties(width=WIDTH, height=11 * lines)
    )
    return labels
