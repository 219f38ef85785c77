"""What answers must meet, and what is best where two things are wanted."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from sweepengine.data.errors import InputError

SECONDS_PER_HOUR = 3600


class Objectives(NamedTuple):
    """What an answer must meet: seconds to the first token, and for each further one."""

    ttft_s: float
    tpot_s: float

    @property
    def prompt(self) -> pl.Expr:
        """Whether a point's first token comes in time; `ttft_s` is a column."""
        return pl.col("ttft_s") <= self.ttft_s

    @property
    def smooth(self) -> pl.Expr:
        """Whether its further tokens do, or it has none; `tpot_s` is a column."""
        return (pl.col("tpot_s") <= self.tpot_s) | pl.col("tpot_s").is_null()


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


def seconds_target(command: str, name: str, value: float | None, of_grid: float | None) -> float:
    """A target as given, or else the grid's own.

    Raises
    ------
    InputError
        When there is neither, or it is no time above 0.
    """
    found = of_grid if value is None else value
    if found is None:
        raise InputError(
            f"{command}: the grid has no {name}: expected --{name.removesuffix('_s')} SECONDS"
        )
    if not 0 < found < float("inf"):
        raise InputError(f"{command}: {name} = {found:g}: expected seconds above 0")
    return found


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
