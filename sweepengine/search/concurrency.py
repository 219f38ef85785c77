"""How many requests may run at once within latency targets, on one replica."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from sweepengine.search.options import FitOptions
from sweepengine.search.steady_state import FITS
from sweepengine.search.targets import meets_tpot, meets_ttft

MEETS = "meets"
"""Column: whether a batch fits and meets both targets."""
TRIED = 16
"""Batch sizes of a step of the search between one that meets the targets and one that does not."""
States = Callable[[Sequence[int]], pl.DataFrame]
"""Steady states of batch sizes, a row each."""


class Verdict(NamedTuple):
    """Whether one replica does what is asked, and with how many requests at once."""

    yes: bool
    batch: int
    """The concurrency that is answered: the one asked, the fewest that serve the rate, or the one
    with the highest throughput within the targets; where none meets them, the smallest tried."""
    reason: str
    """What stands against it; empty where nothing does."""


def batches_within(states: States, most: int, options: FitOptions) -> pl.DataFrame:
    """Steady states of batch sizes up to the most that fit, with the column `MEETS`.

    Among them are the largest that meets the targets, the concurrency asked for, and the smallest
    that serves the rate. TTFT, TPOT and throughput grow with the batch, so both are found between
    neighbours that differ.

    Parameters
    ----------
    states : callable
    most : int
        Largest batch size that fits.
    options : FitOptions
    """
    asked = [options.users] if options.users is not None and options.users <= most else []
    first = [1 << power for power in range(most.bit_length()) if 1 << power <= most]
    rows = _states(states, sorted({*first, *asked, most}), options)
    rows = _between(states, rows, pl.col(MEETS), options)
    if options.rate is not None:
        rows = _between(states, rows, pl.col("requests_per_s") < options.rate, options)
    return rows


def _states(states: States, batches: Sequence[int], options: FitOptions) -> pl.DataFrame:
    meets = FITS & meets_ttft(options.targets) & meets_tpot(options.targets)
    return states(batches).with_columns(meets.alias(MEETS))


def _between(
    states: States, rows: pl.DataFrame, holds: pl.Expr, options: FitOptions
) -> pl.DataFrame:
    """Rows, and those that lead to the largest batch up to which a condition holds."""
    while True:
        batches, held = rows["batch_size"].to_list(), rows.select(holds).to_series().to_list()
        last = max((batch for batch, holding in zip(batches, held, strict=True) if holding),
                   default=0)  # fmt: skip
        beyond = min((batch for batch in batches if batch > last), default=last)
        if beyond - last <= 1:
            return rows
        gap = np.linspace(last + 1, beyond - 1, TRIED).round().astype(int)
        more = _states(states, sorted({*gap.tolist()}), options)
        rows = pl.concat([rows, more]).sort("batch_size")


def verdict(rows: pl.DataFrame, options: FitOptions) -> Verdict:
    """Whether batches serve what the options ask.

    Parameters
    ----------
    rows : polars.DataFrame
        From `batches_within`, or one row of a batch that does not fit.
    options : FitOptions
    """
    first, last = rows.row(0, named=True), rows.row(-1, named=True)
    if not first["fits"]:
        return Verdict(False, first["batch_size"], "does not fit")
    users, rate = options.users, options.rate
    if users is not None and users > last["batch_size"]:
        return Verdict(False, last["batch_size"], f"{last['batch_size']:,} fit at once")
    asked = rows.filter(pl.col("batch_size") >= (users or 1))
    if rate is not None:
        asked = asked.filter(pl.col("requests_per_s") >= rate)
        if asked.is_empty():
            most = max(rows["requests_per_s"].to_list())
            return Verdict(False, last["batch_size"], f"at most {most:,.3g} requests/s")
    within = asked.filter(MEETS)
    if within.is_empty():
        row = asked.row(0, named=True)
        return Verdict(False, row["batch_size"], _reason(row, options))
    if users is not None or rate is not None:
        return Verdict(True, within["batch_size"][0], "")
    best = within.sort("tokens_per_s", "batch_size", descending=[True, False])
    return Verdict(True, best["batch_size"][0], "")


def _reason(row: dict[str, float], options: FitOptions) -> str:
    """The target that a batch misses."""
    late = row["ttft_s"] > options.targets.ttft_s
    name, seconds = ("TTFT", row["ttft_s"]) if late else ("TPOT", row["tpot_s"])
    return f"{name} {seconds * 1000:,.1f} ms at {row['batch_size']:,}"
