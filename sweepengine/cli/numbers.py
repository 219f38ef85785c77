"""Numbers on the command line: `4k`, `4,000`, `200ms` and `95%` are read where they are clear."""

import re
from decimal import Decimal
from typing import Any

import click

UNITS: dict[str, dict[str, Decimal]] = {
    "": {"k": Decimal(1_000), "M": Decimal(1_000_000)},
    "s": {"ms": Decimal("0.001"), "s": Decimal(1), "min": Decimal(60)},
    "share": {"%": Decimal("0.01")},
}
"""What a number of each unit of an option may end in, with what that multiplies."""
EXAMPLES = {"": "4000 or 4k", "s": "0.2 or 200ms", "share": "0.95 or 95%"}
WRITTEN = re.compile(r"([0-9]{1,15}(?:[,_][0-9]{3})*(?:\.[0-9]{1,15})?) ?([a-zA-Z%]*)")


class Number(click.ParamType[int | float]):
    """A number that may have a suffix of its unit.

    Parameters
    ----------
    kind : type
        int or float.
    unit : str
        A key of `UNITS`.
    """

    def __init__(self, kind: type[int] | type[float], unit: str = "") -> None:
        self.kind, self.unit = kind, unit
        self.name = "integer" if kind is int else "float"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | float:
        """Return the number; other text ends the command with one line."""
        try:
            return self.kind(value)
        except ValueError:
            pass
        units = UNITS[self.unit] | {"": Decimal(1)}
        written = WRITTEN.fullmatch(value.strip())
        if written and written[2] in units:
            number = Decimal(re.sub("[,_]", "", written[1])) * units[written[2]]
            if self.kind is float or number == int(number):
                return self.kind(number)
        article = "an" if self.kind is int else "a"
        self.fail(f"{value!r} is not {article} {self.name}: expected such as {EXAMPLES[self.unit]}",
                  param, ctx)  # fmt: skip
