"""What a number of a model file is: its unit, bounds and default, stated in its annotation."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, NamedTuple, get_type_hints


class Quantity(NamedTuple):
    """What a number of a model file is."""

    unit: str
    least: int = 1
    default: int | str | None = None
    """Where a file leaves it out; the name of another number stands for that; None: it must."""
    switch: bool = False
    """Written as true or false."""
    names: tuple[str, ...] = ()
    """Written as one of these; the number is its position."""


Channels = Annotated[int, Quantity("channels")]
Heads = Annotated[int, Quantity("heads")]
Pixels = Annotated[int, Quantity("pixels an edge")]
Patches = Annotated[int, Quantity("patches an edge")]
Blocks = Annotated[int, Quantity("blocks")]
NoBlocks = Annotated[int, Quantity("blocks", 0)]
Widths = Annotated[int, Quantity("widths a token", 0)]
Scores = Annotated[int, Quantity("values a token pair", 0)]
NoChannels = Annotated[int, Quantity("channels", 0, 0)]
NoExperts = Annotated[int, Quantity("experts", 0, 0)]
Yes = Annotated[int, Quantity("", 0, 1, switch=True)]
No = Annotated[int, Quantity("", 0, 0, switch=True)]


@cache
def quantities(numbers: type[NamedTuple]) -> Mapping[str, Quantity]:
    """Annotation of each number of a record, by name."""
    hints = get_type_hints(numbers, include_extras=True)
    stated = {name: hint for name, hint in hints.items() if hasattr(hint, "__metadata__")}
    return MappingProxyType({name: hint.__metadata__[0] for name, hint in stated.items()})
