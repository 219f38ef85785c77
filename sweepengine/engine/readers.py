"""Compiled functions that make records of rows of numbers."""

from collections.abc import Callable
from typing import Any

from sweepengine.engine.compiled import inner
from sweepengine.engine.records import Record, fields_of


def reader(record: Record) -> Callable[[Any], Any]:
    """A compiled function that makes the record of a row of its numbers.

    Numba cannot make a tuple of records of a run of an array by itself, so the call is written out
    for it: `Group(row[0], row[1], Attention(row[2], ...), ...)`.
    """
    names: dict[str, Any] = {}
    position = 0

    def call(kind: Record) -> str:
        nonlocal position
        names[kind.__name__] = kind
        arguments = []
        for _, part in fields_of(kind):
            if hasattr(part, "_fields"):
                arguments.append(call(part))
            else:
                arguments.append(f"row[{position}]")
                position += 1
        return f"{kind.__name__}({', '.join(arguments)})"

    source = f"def read(row):\n    return {call(record)}"
    names["__name__"] = record.__module__  # whose file decides what a compiled part is made of
    exec(source, names)
    return inner(names["read"])  # type: ignore[no-any-return]
