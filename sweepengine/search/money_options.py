"""Options of money and energy."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

from sweepengine.data.prices import PRICE_LISTS
from sweepengine.search.declarations import Option

Prices = Annotated[
    Mapping[str, float],
    Option("Price of a device, USD an hour, such as h100-sxm=2.5.", flag="--price"),
]

PriceListName = Annotated[
    str | None,
    Option("Shipped list prices of a public cloud; --price comes first.", flag="--price-list",
           choices=PRICE_LISTS, shown="none"),
]  # fmt: skip


class EnergyOptions(NamedTuple):
    """What energy includes beside the power of devices under load."""

    idle_share: Annotated[
        float | None,
        Option("Power of a device without load, as a share of rated power.", least=0.0, most=1.0,
               shown="as measured, else rated power"),
    ] = None  # fmt: skip
    pue: Annotated[
        float,
        Option("Power usage effectiveness of the data centre, which multiplies energy.",
               least=1.0, most=10.0, expected="1 to 10"),
    ] = 1.0  # fmt: skip
