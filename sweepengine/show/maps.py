"""Limits maps in a terminal: panels in characters, and what each device does best."""

from typing import Any

import numpy as np

from sweepengine.search.limits_map import (
    SERVES,
    STOPS,
    LimitsMap,
    Maps,
)
from sweepengine.show.terminal import PICTURE, print_table, say

LETTERS = ".MFT"
"""Of what stops a point, in a terminal: memory, the first token, the time of a token."""


def article(over: str) -> str:
    """A prompt or an answer, in words."""
    return "an answer" if over == "answer" else f"a {over}"


def show_maps(maps: Maps) -> None:
    """Print panels in characters, and what each device does best."""
    targets = maps.options.targets
    pages = (f"{maps.unit} there",) if maps.model.has_vision else ()
    rows = []
    for panel in maps.panels:
        counts = np.bincount(panel.stops.ravel(), minlength=len(STOPS))
        best = panel.best
        rows.append((
            panel.device.name,
            f"{panel.stops.size:,}",
            *(f"{count / panel.stops.size:.0%}" for count in counts),
            f"{best['batch_size']:,}, {best['length']:,} tokens" if best else "nothing serves",
            f"{best['device_tokens_per_s']:,.0f}" if best else "",
            *([f"{best['made']:,.0f}" if best else ""] if pages else []),
        ))  # fmt: skip
    title = (
        f"{maps.model.name}: batch against tokens of {article(maps.over)}, TTFT "
        f"{targets.ttft_s:g} s, TPOT {targets.tpot_s * 1000:g} ms"
    )
    stopped = tuple(f"stopped by {name}" if name != STOPS[SERVES] else name for name in STOPS)
    print_table(title, rows, ("device", "points", *stopped, "most at batch",
                              "tokens/s a device", *pages))  # fmt: skip
    for panel in maps.panels:
        say()
        say(picture(panel))
        say(panel.basis)


def picture(panel: LimitsMap) -> str:
    """A panel in characters, both axes logarithmic."""
    width, height = PICTURE
    rows = _places(panel.batches, height)[::-1]
    columns = _places(panel.lengths, width)
    lines = [[LETTERS[panel.stops[row, column]] for column in columns] for row in rows]
    if panel.best:
        row = int(np.abs(np.log(panel.batches[rows] / panel.best["batch_size"])).argmin())
        column = int(np.abs(np.log(panel.lengths[columns] / panel.best["length"])).argmin())
        lines[row][column] = "*"
    labels = {0: f"{panel.batches[-1]:,}", height - 1: f"{panel.batches[0]:,}"}
    edge = max(len(label) for label in labels.values())
    legend = "  ".join(map(" ".join, zip(LETTERS, STOPS, strict=True)))
    drawn = [f"{panel.device.name}: {legend}  * most tokens/s"]
    drawn += [f"{labels.get(i, ''):>{edge}} |{''.join(line)}" for i, line in enumerate(lines)]
    first, last = f"{panel.lengths[0]:,}", f"{panel.lengths[-1]:,} tokens"
    drawn.append(f"{'':>{edge}}  {first}{last:>{width - len(first)}}")
    return "\n".join(drawn)


def _places(values: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Positions of values evenly spaced on a logarithmic scale."""
    wanted = np.geomspace(values[0], values[-1], count)
    found: np.ndarray[Any, Any] = np.abs(np.log(values[None, :] / wanted[:, None])).argmin(axis=1)
    return found
