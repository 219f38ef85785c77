"""Requests over time: timestamps of a table of lengths, and the columns of public traces."""

from functools import cache
from typing import Any, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

from sweepengine.data.errors import InputError
from sweepengine.data.files import shipped_table
from sweepengine.data.units import SECONDS_PER_HOUR
from sweepengine.grid.lengths import Arrivals

TIMESTAMP = "timestamp"
"""Column of the time at which a request arrives: seconds, or a date and time."""
MOST_HOURS = 24 * 366
"""Longest trace."""
PER_SECOND = {"s": 1.0, "ms": 1000.0}


class Trace(NamedTuple):
    """Where a public trace holds its columns: a table of `traces.toml`."""

    title: str
    has: tuple[str, ...]
    columns: dict[str, str]
    unit: str
    unused: dict[str, str]
    source: str


@cache
def _traces() -> tuple[Trace, ...]:
    tables = shipped_table("traces.toml").values()
    return tuple(Trace(**{**table, "has": tuple(table["has"])}) for table in tables)


def split_arrivals(source: str, frame: pl.DataFrame) -> tuple[pl.DataFrame, Arrivals | None]:
    """A table of lengths without its timestamps, and when its requests arrive.

    Parameters
    ----------
    source : str
        Name of the table in messages.
    frame : polars.DataFrame
        With the columns of a public trace, or `timestamp` beside those of lengths.

    Raises
    ------
    InputError
        When a timestamp is neither a number nor a date and time.
    """
    found = next((trace for trace in _traces() if {*trace.has} <= {*frame.columns}), None)
    if found is None and TIMESTAMP not in frame.columns:
        return frame, None
    unit, notes = "s", list[str]()
    if found is not None:
        unit = found.unit
        notes = [f"{found.title}: {said}" for name, said in found.unused.items()
                 if name in frame.columns]  # fmt: skip
        frame = frame.select(pl.col(column).alias(name) for name, column in found.columns.items())
    seconds = _seconds(source, frame[TIMESTAMP], unit)
    start = float(seconds.min())  # type: ignore[arg-type]
    span = float(seconds.max()) - start  # type: ignore[arg-type]
    hours = int(span // SECONDS_PER_HOUR) + 1
    if hours > MOST_HOURS:
        raise InputError(
            f"{source}: {TIMESTAMP}: a span of {hours:,} hours: expected at most {MOST_HOURS:,}"
        )
    of_hour = ((seconds - start) // SECONDS_PER_HOUR).cast(pl.Int64)
    counts = pl.DataFrame({"hour": of_hour}).group_by("hour").len()
    by_hour = dict(counts.iter_rows())
    least = float(SECONDS_PER_HOUR) if hours == 1 and span == 0.0 else 1.0
    last = max(span - (hours - 1) * SECONDS_PER_HOUR, least)
    arrivals = Arrivals(tuple(by_hour.get(hour, 0) for hour in range(hours)), last, tuple(notes))
    return frame.drop(TIMESTAMP), arrivals


def _seconds(source: str, times: pl.Series, unit: str) -> pl.Series:
    """Timestamps as seconds."""
    wanted = f"{source}: {TIMESTAMP}: expected seconds, or a date and time"
    if times.null_count():
        row = times.is_null().arg_true()[0]
        raise InputError(f"{source}: {TIMESTAMP}[{row}] is empty: expected a value")
    if times.dtype.is_numeric():
        seconds = times.cast(pl.Float64) / PER_SECOND.get(unit, 1.0)
        if not seconds.is_finite().all():
            raise InputError(wanted)
        return seconds
    dated: Any = times
    if times.dtype == pl.String:
        try:
            dated = times.str.replace(r"(\.\d{6})\d+", "${1}").str.to_datetime(time_unit="us")
        except PolarsError:
            raise InputError(f"{wanted}, found {times[0]!r}") from None
    if not isinstance(dated.dtype, pl.Datetime):
        raise InputError(f"{wanted}, found {times.dtype}")
    micro: pl.Series = dated.dt.epoch("us").cast(pl.Float64)
    return micro / 1e6
