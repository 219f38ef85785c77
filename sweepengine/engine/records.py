"""Records of numbers as rows of arrays: positions follow from the records' own field names."""

from collections.abc import Iterator
from typing import Any, NamedTuple, get_type_hints

from sweepengine.formulas.figures import Figures, KeyGrowth

Record = type[NamedTuple]


def fields_of(record: Record) -> Iterator[tuple[str, Any]]:
    """Names and types of a record's fields."""
    hints = get_type_hints(record)
    return ((name, hints[name]) for name in record._fields)


def paths(record: Record) -> tuple[str, ...]:
    """Names of all numbers of a record: "decode.tensor_flops" where records hold records."""
    found: list[str] = []
    for name, kind in fields_of(record):
        inside = paths(kind) if hasattr(kind, "_fields") else ()
        found += [f"{name}.{path}" for path in inside] or [name]
    return tuple(found)


def flat(value: Any) -> list[Any]:
    """All numbers of a record, in the order of `paths`."""
    if not isinstance(value, tuple):
        return [value]
    return [number for part in value for number in flat(part)]


FIGURES = paths(Figures)
"""Rows of the table of figures."""
GROWTH = paths(KeyGrowth)
"""Rows of the table of what each key adds."""
