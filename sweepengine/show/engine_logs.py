"""A start-up log of a serving engine compared with ours, in a terminal."""

from sweepengine.measured.log_comparison import ComparedLog
from sweepengine.show.terminal import print_table, say_text

WHOLE = ("tokens",)
"""Figures that are whole numbers."""


def show_log(comparison: ComparedLog) -> None:
    """Print each figure of a log with ours, what the log does not say, and settings."""
    rows = []
    for row in comparison.figures.to_dicts():
        form = ",.0f" if row["figure"] in WHOLE else ",.2f"
        logged, off = row["logged"], row["off_percent"]
        rows.append((
            row["figure"],
            "" if logged is None else f"{logged:{form}}",
            f"{row['ours']:{form}}",
            "" if off is None else f"{off:+.1f} %",
            row["unit"],
        ))  # fmt: skip
    title = f"{comparison.model.name} on {comparison.device.name}, {comparison.engine}"
    print_table(title, rows, ("figure", "log", "ours", "difference", "unit"))
    if comparison.missing:
        say_text(f"not in the log: {', '.join(comparison.missing)}")
    for name, text in comparison.settings.items():
        say_text(f"{name}: {text}")
