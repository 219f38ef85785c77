"""What answers must meet, and what is best where two things are wanted."""

from collections.abc import Mapping, Sequence

import polars as pl

from sweepengine.data.errors import InputError
from sweepengine.search.options import GridTargets, LatencyTargets

SECONDS_PER_HOUR = 3600


def meets_ttft(targets: LatencyTargets) -> pl.Expr:
    """Whether a point's first token comes in time; `ttft_s` is a column."""
    return pl.col("ttft_s") <= targets.ttft_s


def meets_tpot(targets: LatencyTargets) -> pl.Expr:
    """Whether its further tokens do, or it has none; `tpot_s` is a column."""
    return (pl.col("tpot_s") <= targets.tpot_s) | pl.col("tpot_s").is_null()


def pareto_front(points: pl.DataFrame) -> pl.DataFrame:
    """Points that no other beats in one of tokens/s/user and tokens/s/device and matches in both.

    Points without decode steps make no tokens and are left out; of points alike in both the first
    stays.
    """
    user, device = "user_tokens_per_s", "device_tokens_per_s"
    ordered = points.filter(pl.col(user).is_not_null()).sort(
        [user, device], descending=True, maintain_order=True
    )
    before = pl.col(device).cum_max().shift(1)
    return ordered.filter(before.is_null() | (pl.col(device) > before))


def targets_of(
    command: str, given: GridTargets, of_grid: tuple[float | None, float | None]
) -> LatencyTargets:
    """Latencies as given, or else the grid's own.

    Parameters
    ----------
    command : str
        What to call it in messages.
    given : GridTargets
    of_grid : tuple of float or None
        Seconds of TTFT and TPOT.

    Raises
    ------
    InputError
        When there is neither, or one is no time above 0.
    """
    found = []
    for name, value, other in zip(given._fields, given, of_grid, strict=True):
        seconds = other if value is None else value
        if seconds is None:
            option = name.removesuffix("_s")
            raise InputError(f"{command}: the grid has no {name}: expected --{option} SECONDS")
        if not 0 < seconds < float("inf"):
            raise InputError(f"{command}: {name} = {seconds:g}: expected seconds above 0")
        found.append(seconds)
    return LatencyTargets(*found)


def check_prices(command: str, prices: Mapping[str, float], names: Sequence[str]) -> None:
    """Refuse a price of a device that is not asked for, or that is no price.

    Raises
    ------
    InputError
        Naming it.
    """
    for name, price in prices.items():
        if name not in names:
            raise InputError(f"{command}: price of {name}: expected one of {', '.join(names)}")
        if not 0 < price < float("inf"):
            raise InputError(
                f"{command}: price of {name} = {price:g}: expected USD an hour above 0"
            )
