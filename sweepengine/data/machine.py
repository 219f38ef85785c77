"""Limits of the machine on this process."""

import resource

from sweepengine.data.errors import InputError

LEAST, TO_DRAW = 6 << 30, 80_000_000_000
"""Bytes of address space that libraries reserve, and that V8, which draws charts, reserves."""
MOST_COUNTED = 2**32 - 1
"""Largest number of rows that Polars can count."""


def require_addresses(least: int) -> None:
    """Check the limit on address space (``ulimit -v``); below `least` libraries abort silently.

    Raises
    ------
    InputError
        When the limit is below `least` bytes.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < least:
        raise InputError(
            f"out of memory: addresses are limited to {limit:,} bytes (ulimit -v): expected at "
            f"least {least:,}, which libraries reserve before they use them"
        )
