"""Shipped list prices of public clouds."""

from functools import cache
from typing import NamedTuple

from sweepengine.data.files import shipped_table


class PriceList(NamedTuple):
    """Prices of one provider and term, a table of `prices.toml`."""

    title: str
    term: str
    date: str
    """Day on which they were read."""
    source: str
    """Page of the provider."""
    usd: dict[str, float]
    """USD an hour by device."""
    copy: str = ""
    """A public copy of that day; empty where there is none."""

    @property
    def stated(self) -> str:
        """Where the prices come from, in one sentence."""
        return f"prices: {self.title}, list prices of {self.date}, {self.source}"


@cache
def price_lists() -> dict[str, PriceList]:
    """All lists by name."""
    return {name: PriceList(**row) for name, row in shipped_table("prices.toml").items()}


PRICE_LISTS = tuple(price_lists())
"""Names of the lists."""
