"""What answers must meet, and what is best where two things are wanted."""

from typing import NamedTuple

import polars as pl

from sweepengine.data.errors import InputError

SECONDS_PER_HOUR = 3600


class Objectives(NamedTuple):
    """What an answer must meet: seconds to the first token, and for each further one."""

    ttft_s: float
    tpot_s: float


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
