"""What the machine grants this process."""

import resource

from sweepengine.data.errors import InputError

LEAST, TO_DRAW = 1 << 31, 80_000_000_000
"""Addresses that libraries reserve, whether they use them or not, and V8, which draws charts."""
MOST_COUNTED = 2**32 - 1
"""Rows that Polars counts."""


def require_addresses(least: int) -> None:
    """Refuse a limit on addresses (``ulimit -v``) below which libraries abort without a word.

    Raises
    ------
    InputError
        Naming the limit and what is needed.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < least:
        raise InputError(
            f"out of memory: addresses are limited to {limit:,} bytes (ulimit -v): expected at "
            f"least {least:,}, which libraries reserve before they use them"
        )
