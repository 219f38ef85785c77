"""Values as the tables of `query` show them."""

import math

DIGITS = 6
"""Digits of a number with a fraction."""
LARGEST = 1e18
"""From here on, and below `SMALLEST`, numbers have an exponent."""
SMALLEST = 1e-4


def cell(value: object) -> str:
    """A value as text: whole numbers in full, others with `DIGITS` digits, groups of thousands."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not SMALLEST <= abs(value) < LARGEST:
        return f"{value:.{DIGITS}g}"
    digits = DIGITS - 1 - math.floor(math.log10(abs(value)))
    text = f"{round(value, digits):,.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
