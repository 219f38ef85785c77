"""Points of the line charts of a report: a row for each image or prompt and attention.

All other inputs have one value, so that nothing in a chart is averaged.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from sweepengine.costs import metrics
from sweepengine.data.models import Model
from sweepengine.engine.frames import evaluate
from sweepengine.formulas.points import IMAGE_COLUMNS
from sweepengine.query.sources import Source
from sweepengine.show.look import drawn_values
from sweepengine.show.plans import Plan
from sweepengine.show.slices import Slice

MEASURED_AT = {"text_tokens": 10, "decode_steps": 100, "batch_size": 1, "attention_heads": 10,
               "key_value_heads": 10}  # fmt: skip
"""Inputs of `validation.measured_stages`, in addition to the published images."""
TORCH = "measured by torch"
ROUNDING = 1e-12
"""Largest relative difference of equal counts in another unit."""


class Axis(NamedTuple):
    """The x axis of line charts."""

    inputs: tuple[str, ...]
    """Varying inputs that make its values."""
    tokens: str
    """Column of its values."""


class Frame(NamedTuple):
    """The points of the line charts of a slice."""

    axis: Axis
    rows: pl.DataFrame
    """Columns are ``{chart}:{i}`` for curve i of each chart, `attention`, `tokens`, `crops`,
    `family`; and ``{chart}:other`` and ``{chart}:tensor``, tensor FLOPs of the other count and of
    the source in the unit of the chart, null where there is no other count."""
    other: str
    """Title of the other count."""
    checked: str
    """How the other count compares with torch where torch ran; empty without another accounting."""
    held: str
    """What all points have in common, of inputs that vary."""


def axis_of(shown: Slice) -> Axis | None:
    """Return the x axis of a slice: tokens of images or of prompts; None if neither varies."""
    images = tuple(name for name in (*IMAGE_COLUMNS, "images") if shown.varies(name))
    if images:
        return Axis(images, "image_tokens")
    prompts = tuple(name for name in ("prompt_tokens", "text_tokens") if shown.varies(name))
    return Axis(prompts[:1], prompts[0]) if prompts else None


def chart_frame(
    shown: Slice,
    chosen: Sequence[Plan],
    measured: Sequence[Mapping[str, str]],
    against: Model | None = None,
) -> Frame | None:
    """Return the points of line charts; None if images and prompts do not vary.

    Parameters
    ----------
    shown : Slice
    chosen : sequence of Plan
    measured : sequence of mappings
        Rows of `data.measurements.measured_stages`, the other count without another accounting.
    against : Model, optional
        Another accounting of the model, whose tensor FLOPs are the other count.
    """
    axis = axis_of(shown)
    if axis is None:
        return None
    source, drawn = shown.source, {*axis.inputs, "attention"}
    points = shown.points(drawn)
    counted = points.select(axis.tokens).pipe(source.collected).to_series()
    curves_drawn = max((len(plan.curves) + 1 for plan in chosen), default=1)
    points = points.filter(pl.col(axis.tokens).is_in(drawn_values(counted, curves_drawn).implode()))
    curves = {f"{plan.name}:{i}": _stepping(curve.measure)
              for plan in chosen for i, curve in enumerate(plan.curves)}  # fmt: skip
    compared = [plan for plan in chosen if plan.measured]
    tensor = {f"{plan.name}:tensor": _tensor(plan) for plan in compared}
    rows = points.select(
        *source.inputs, pl.col(axis.tokens).alias("tokens"), label_of(source, axis).alias("crops"),
        _family(source).alias("family"),
        *(of.cast(pl.Float64).alias(name) for name, of in {**curves, **tensor}.items()),
    ).pipe(source.collected)  # fmt: skip
    rows, other, checked = _with_measured(rows, compared, measured), TORCH, ""
    if against is not None:
        costs = evaluate(rows.select(source.inputs), against)
        named = [_tensor(plan).alias(f"{plan.name}:other") for plan in compared]
        other, of_other = against.name, costs.select(named)
        checked = _checked(against.name, rows, of_other)
        rows = rows.with_columns(of_other)
    return Frame(axis, rows.sort("tokens", "attention"), other, checked, shown.text(drawn))


def _tensor(plan: Plan) -> pl.Expr:
    """Return the tensor FLOPs of a plan's phases in its unit."""
    return _stepping(metrics.total("tensor_flops", plan.stages) * plan.per)


def label_of(source: Source, axis: Axis) -> pl.Expr:
    """Name an image by its tiles, view or size, and a prompt by its tokens."""
    label = pl.format("{} tokens", axis.tokens)
    if "crop_rows" in source.columns:
        crops = pl.format("{}x{}", "crop_rows", "crop_cols")
        whole = pl.format("{} px", "view_size")
        label = pl.when(pl.col("crop_rows") > 0).then(crops).otherwise(whole)
        given = pl.format("{}x{} px", "image_height", "image_width")
        label = pl.when(pl.col("image_height") > 0).then(given).otherwise(label)
    return label


def _family(source: Source) -> pl.Expr:
    """Name the images that a line may join: those without tiles, and those of tiles of a size."""
    if "crop_rows" not in source.columns:
        return pl.lit("")
    tiles = pl.format("tiles of {} px", "tile_size")
    return pl.when(pl.col("crop_rows") > 0).then(tiles).otherwise(pl.lit("no tiles"))


def _stepping(measure: pl.Expr) -> pl.Expr:
    """Return a measure that is null where it needs decode steps and there are none."""
    if "decode_steps" not in measure.meta.root_names():
        return measure
    return pl.when(pl.col("decode_steps") > 0).then(measure)


def _with_measured(
    rows: pl.DataFrame, compared: Sequence[Plan], measured: Sequence[Mapping[str, str]]
) -> pl.DataFrame:
    """Add the FLOPs of torch where its inputs are those of a row."""
    empty = [pl.lit(None, dtype=pl.Float64).alias(f"{plan.name}:other") for plan in compared]
    if not compared or not set(MEASURED_AT) <= set(rows.columns):
        return rows.with_columns(empty)
    alike = pl.all_horizontal(pl.col(name) == value for name, value in MEASURED_AT.items())
    of_torch = pl.DataFrame(measured).select(
        pl.col("image_tokens").cast(rows.schema["tokens"]).alias("tokens"),
        pl.format("{}x{}", "crop_rows", "crop_cols").alias("crops"),
        *(pl.col(name).replace("", None).cast(pl.Float64).alias(f"torch:{name}")
          for name in dict.fromkeys(plan.measured for plan in compared)),
    )  # fmt: skip
    joined = rows.join(of_torch, on=["tokens", "crops"], how="left", maintain_order="left")
    return joined.with_columns(
        pl.when(alike).then(pl.col(f"torch:{plan.measured}") * plan.per).alias(f"{plan.name}:other")
        for plan in compared
    )


def _checked(name: str, torch: pl.DataFrame, other: pl.DataFrame) -> str:
    """Say in how many runs torch counts what another accounting does."""
    runs = equal = 0
    for column in other.columns:
        both = pl.DataFrame({"torch": torch[column], "other": other[column]}).drop_nulls()
        runs += both.height
        equal += both.filter((pl.col("torch") / pl.col("other") - 1).abs() < ROUNDING).height
    return f"{name}: its tensor FLOPs; torch counts the same in {equal} of {runs} runs"
