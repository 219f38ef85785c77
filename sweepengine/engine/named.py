"""Points that name devices and drafts, and their model with these."""

import polars as pl

from sweepengine.data.devices import load_device
from sweepengine.data.drafts import with_drafts
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.data.speeds import on_devices
from sweepengine.formulas.points import DRAFT_COLUMNS
from sweepengine.formulas.speculation import DRAFTS


def _names_in(points: pl.DataFrame, column: str) -> list[str]:
    """The distinct names in a column of devices or drafts."""
    series = points[column]
    if not (series.dtype == pl.String or isinstance(series.dtype, pl.Enum | pl.Categorical)):
        raise InputError(f"points: {column}: expected names of {column}s; found {series.dtype}")
    if series.null_count():
        row = series.is_null().arg_true()[0]
        raise InputError(f"points: {column}[{row}] is null: expected the name of a {column}")
    return series.cast(pl.String).unique(maintain_order=True).to_list()


def named_drafts(points: pl.DataFrame, model: Model) -> tuple[pl.DataFrame, Model]:
    """The points with names of drafts instead of paths, and the model with these drafts."""
    if "draft" not in points.columns:
        return points, model
    given = _names_in(points, "draft")
    model, names = with_drafts(model, given, "points: draft")
    named = dict(zip(given, names, strict=True))
    draft = points["draft"].cast(pl.String).replace(named).alias("draft")
    return points.with_columns(draft), model


def drafts_of(points: pl.DataFrame) -> list[tuple[int, float, str]]:
    """Distinct tokens drafted, tokens accepted and drafts of points that draft tokens."""
    if "draft_tokens" not in points.columns:
        return []
    unstated = {"draft_tokens": 0, "accepted_tokens": 0.0, "draft": DRAFTS[0]}
    columns = [
        (pl.col(name).fill_null(value) if name in points.columns else pl.lit(value)).alias(name)
        for name, value in unstated.items()
    ]
    drafting = points.filter(pl.col("draft_tokens") > 0).select(columns)
    return drafting.unique().sort(DRAFT_COLUMNS).rows()


def named_devices(points: pl.DataFrame, model: Model, times: str) -> tuple[pl.DataFrame, Model]:
    """The points with names of devices instead of paths, and the model with these devices."""
    if "device" not in points.columns:
        return points, model
    series, names = points["device"], _names_in(points, "device")
    named = {name: load_device(name).name for name in names}
    device = series.cast(pl.String).replace(named).alias("device")
    return points.with_columns(device), on_devices(model, names, times)
