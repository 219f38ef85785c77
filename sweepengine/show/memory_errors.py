"""Errors of memory against logged starts of serving engines: in a terminal and as Markdown."""

from typing import TYPE_CHECKING

from sweepengine.show.silicon import Table, page_of
from sweepengine.show.terminal import print_table, say

if TYPE_CHECKING:
    from sweepengine.validation.memory_errors import MemoryErrors

UNITS = {"KV bytes": ("B a token", ",.0f"), "tokens": ("tokens", ",.0f")}
"""Unit and format of a figure; others are GiB of one device."""
NOTE = "An error is |ours / logged - 1|; `make memory` writes this page."


def tables(errors: "MemoryErrors") -> list[Table]:
    """Return all tables; errors are in percent."""
    classes: list[tuple[str, ...]] = [
        (
            one.name,
            one.figure,
            f"{one.rows}",
            f"{one.median:.2f}",
            f"{one.p90:.2f}",
            f"{one.signed:+.2f}",
        )
        for one in errors.classes
    ]
    rows: list[tuple[str, ...]] = []
    for one in errors.rows.compared:
        unit, form = UNITS.get(one.figure, ("GiB", ".2f"))
        rows.append((
            one.model,
            f"tp{one.tensor}",
            f"{one.engine} {one.version}",
            one.figure,
            unit,
            f"{one.measured:{form}}",
            f"{one.ours:{form}}",
            f"{100 * (one.ours / one.measured - 1):+.2f}",
            one.source,
        ))  # fmt: skip
    reasons: list[tuple[str, ...]]
    reasons = [(reason, f"{count}") for reason, count in errors.rows.reasons.most_common()]
    columns = ("rows of", "figure", "rows", "median", "90th percentile", "signed median")
    result: list[Table] = [
        ("Memory of logged starts: errors in %", columns, classes),
        ("What is not compared", ("reason", "rows"), reasons),
    ]
    columns_of_rows = (
        "model",
        "group",
        "engine",
        "figure",
        "unit",
        "logged",
        "ours",
        "% off",
        "log",
    )
    return [*result, ("Rows", columns_of_rows, rows)]


def show_memory_errors(errors: "MemoryErrors") -> None:
    """Print the errors of classes, and those that are worse than recorded."""
    for title, columns, rows in tables(errors)[:2]:
        print_table(title, rows, columns)
        say()
    for problem in errors.problems:
        say(f"worse than recorded: {problem}")
    say(f"{len(errors.problems)} errors worse than recorded by more than a percentage point")


def as_markdown(errors: "MemoryErrors") -> str:
    """Write the tables as a page."""
    return page_of("Memory against logged starts of serving engines", NOTE, tables(errors))
