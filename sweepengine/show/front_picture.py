"""Pareto fronts drawn in characters."""

import math
import string
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

PICTURE_SIZE = (72, 18)
"""Characters and lines of the field of a picture; with its labels it fits 80 columns."""
CHOSEN = "*"


def front_picture(
    fronts: Mapping[str, pl.DataFrame], tpot_s: float, chosen: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Draw Pareto fronts, a letter for each, on logarithmic axes.

    Where fronts overlap the first one is drawn. The dotted line is the TPOT target: what lies to
    the right of it meets the target.

    Parameters
    ----------
    fronts : mapping of str to polars.DataFrame
        With the columns `user_tokens_per_s` and `device_tokens_per_s`, by name.
    tpot_s : float
        Seconds.
    chosen : sequence of mapping
        Points with the same columns that are marked with a star.
    """
    width, height = PICTURE_SIZE
    columns = "user_tokens_per_s", "device_tokens_per_s"
    marks = [
        (math.log10(user), math.log10(device), letter)
        for front, letter in zip(fronts.values(), string.ascii_uppercase * 8, strict=False)
        if front.height
        for user, device in front.select(columns).rows()
    ]
    starred = [tuple(point[name] for name in columns) for point in chosen]
    stars = [(math.log10(x), math.log10(y), CHOSEN) for x, y in starred if x and y]
    marks = [*stars, *marks]
    target = math.log10(1 / tpot_s)
    left, right = _span([x for x, _, _ in marks])
    low, high = _span([y for _, y, _ in marks])
    canvas = [[" "] * width for _ in range(height)]
    if left <= target <= right:
        for line in canvas:
            line[round((target - left) / (right - left) * (width - 1))] = ":"
    for x, y, letter in reversed(marks):
        column = round((x - left) / (right - left) * (width - 1))
        canvas[round((high - y) / (high - low) * (height - 1))][column] = letter
    labels = {0: f"{10**high:,.0f}", height - 1: f"{10**low:,.0f}"}
    edge = max(len(label) for label in labels.values())
    lines = ["tokens/s/device"]
    lines += [
        f"{labels.get(i, ''):>{edge}} |{''.join(line).rstrip()}" for i, line in enumerate(canvas)
    ]
    first, last = f"{10**left:,.0f}", f"{10**right:,.0f} tokens/s/user"
    lines.append(f"{'':>{edge}} +{'-' * width}")
    lines.append(f"{'':>{edge}}  {first}{last:>{width - len(first)}}")
    named = [f"{letter} {name}" for letter, name in
             zip(string.ascii_uppercase * 8, fronts, strict=False)]  # fmt: skip
    named += [f"{CHOSEN} best within the targets"] if stars else []
    named += [f": TPOT {tpot_s * 1000:g} ms"] if left <= target <= right else []
    return "\n".join([*lines, *named])


def _span(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
