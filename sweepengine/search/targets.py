"""Latency targets, the Pareto front of throughput, and checks of prices."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from sweepengine.data.errors import InputError
from sweepengine.search.options import GridTargets, LatencyTargets

_ROW = "row of a point"


def meets_ttft(targets: LatencyTargets) -> pl.Expr:
    """Whether the column `ttft_s` meets its target."""
    return pl.col("ttft_s") <= targets.ttft_s


def meets_tpot(targets: LatencyTargets) -> pl.Expr:
    """Whether the column `tpot_s` meets its target, or is null: nothing is decoded."""
    return (pl.col("tpot_s") <= targets.tpot_s) | pl.col("tpot_s").is_null()


def pareto_front(points: pl.DataFrame, each: Sequence[str] = ()) -> pl.DataFrame:
    """Pareto front in tokens/s/user and tokens/s/device, highest tokens/s/user first.

    Points without decode steps are left out; of points equal in both the first stays.

    Parameters
    ----------
    points : polars.DataFrame
    each : sequence of str
        Columns of whose values each has a front of its own.
    """
    user, device = "user_tokens_per_s", "device_tokens_per_s"
    rows = points.select(user, device, *each).with_row_index(_ROW)
    rows = rows.filter(pl.col(user).is_not_null())
    before = pl.col(device).cum_max().shift(1)
    before = before.over(*each) if each else before

    def unbeaten(some: pl.DataFrame, *keys: str) -> pl.DataFrame:
        ordered = some.sort(keys, descending=True, maintain_order=True)
        return ordered.filter(before.is_null() | (pl.col(device) > before))

    # One key sorts several times as fast, and leaves few rows to sort by both.
    few = unbeaten(rows, user).sort(_ROW)
    return points[unbeaten(few, user, device)[_ROW]]


def unbeaten_by(front: pl.DataFrame, points: pl.DataFrame) -> pl.Series:
    """Tell which points with decode steps a front, as `pareto_front` returns it, does not beat.

    It beats what is equal to one of its points, too.
    """
    user, device = "user_tokens_per_s", "device_tokens_per_s"
    if not front.height:
        return pl.repeat(True, points.height, eager=True)
    # Of the points of the front with no fewer tokens/s/user, the last has the highest rate.
    rates = np.append(front[device].reverse().to_numpy(), -np.inf)
    place = np.searchsorted(front[user].reverse().to_numpy(), points[user].to_numpy())
    return pl.Series(points[device].to_numpy() > rates[place]) & points[user].is_not_null()


def targets_of(
    command: str, given: GridTargets, of_grid: tuple[float | None, float | None]
) -> LatencyTargets:
    """Latency targets as given, or those of the grid.

    Parameters
    ----------
    command : str
        Name of the command in messages.
    given : GridTargets
    of_grid : tuple of float or None
        Seconds of TTFT and TPOT.

    Raises
    ------
    InputError
        When a target is missing, or is not above 0.
    """
    targets = []
    for name, value, default in zip(given._fields, given, of_grid, strict=True):
        seconds = default if value is None else value
        if seconds is None:
            option = name.removesuffix("_s")
            raise InputError(f"{command}: the grid has no {name}: expected --{option} SECONDS")
        if not 0 < seconds < float("inf"):
            raise InputError(f"{command}: {name} = {seconds:g}: expected seconds above 0")
        targets.append(seconds)
    return LatencyTargets(*targets)


def check_prices(command: str, prices: Mapping[str, float], names: Sequence[str]) -> None:
    """Check prices, USD per hour by device.

    Raises
    ------
    InputError
        Naming a device that is not one of `names`, or a price that is not above 0.
    """
    for name, price in prices.items():
        if name not in names:
            raise InputError(f"{command}: price of {name}: expected one of {', '.join(names)}")
        if not 0 < price < float("inf"):
            raise InputError(
                f"{command}: price of {name} = {price:g}: expected USD an hour above 0"
            )
