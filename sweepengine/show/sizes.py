"""A word before a command works through a very large grid."""

from sweepengine.data.units import SECONDS_PER_HOUR
from sweepengine.show.terminal import say

LARGE = 10_000_000_000
"""Points from which on a command says that it takes long."""
A_SECOND = 2_000_000
"""Points a second that two cores compute with times and write."""


def say_size(command: str, points: int) -> None:
    """Say on the error stream how many points there are and about how long they take, if many.

    Parameters
    ----------
    command : str
    points : int
        Points that it may compute; conditions on axes leave some out.
    """
    if points >= LARGE:
        hours = points / A_SECOND / SECONDS_PER_HOUR
        say(f"{command}: {points:,} points: about {hours:,.0f} hours at {A_SECOND:,} points/s, "
            "less where conditions leave values out; Ctrl-C stops", error=True)  # fmt: skip
