"""What is known of the error of answers: columns that frames of few rows gain."""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from sweepengine.data.error_classes import Case, error_class, ranges
from sweepengine.data.models import Model
from sweepengine.data.speeds import TimingTarget
from sweepengine.formulas.formats import WEIGHT_FORMATS
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.serving import CONTINUOUS, SERVING
from sweepengine.grid.columns import ERRORS
from sweepengine.grid.shorthand import read_layout
from sweepengine.search.options import DISAGGREGATED
from sweepengine.search.steady_state import LAYOUT_COLUMNS

ERROR_SCHEMA = {column.name: getattr(pl, column.dtype) for column in ERRORS}


def with_errors(
    frame: pl.DataFrame,
    model: Model,
    timing_of: Callable[[Mapping[str, Any]], TimingTarget],
    given: Mapping[str, Any] = {},
) -> pl.DataFrame:
    """Rows of answers with the columns `grid.columns.ERRORS`.

    Parameters
    ----------
    frame : polars.DataFrame
        With `ttft_s`, `tpot_s`, `batch_size` and `weight_format`; a column `layout` or those of a
        layout; and `serving`, `images`, `mode` and `draft_tokens` where these are not continuous,
        1, aggregated and 0.
    model : Model
    timing_of : callable
        Timing target of a row.
    given : mapping of str to object
        Values of columns that the frame may lack.
    """
    rows = frame.iter_rows(named=True)
    values = [error_values({**given, **row}, model, timing_of(row)) for row in rows]
    return frame.hstack(pl.DataFrame(values, schema=ERROR_SCHEMA))


def error_values(row: Mapping[str, Any], model: Model, timing: TimingTarget) -> dict[str, Any]:
    """Values of the columns `grid.columns.ERRORS`; parameters as of `with_errors`, for one row."""
    layout = row.get("layout")
    case = Case(
        WEIGHT_FORMATS.index(str(row["weight_format"])),
        read_layout(layout) if layout else Layout(*(row[name] for name in LAYOUT_COLUMNS)),
        row.get("serving", SERVING[CONTINUOUS]) == SERVING[CONTINUOUS],
        row["batch_size"] == 1,
        row.get("images", 1) > 0,
        row.get("mode") == DISAGGREGATED,
        row.get("draft_tokens", 0) > 0,
    )
    return ranges(error_class(model.architecture, timing, case), row["ttft_s"], row["tpot_s"])
