"""The answer of `map` in a terminal: panels in characters, and the best point of each device."""

from typing import Any

import numpy as np

from sweepengine.search.limits_map import SERVES, STOPS, LimitsMap, Maps
from sweepengine.show.front_picture import PICTURE_SIZE
from sweepengine.show.terminal import print_table, say

LETTERS = ".MFT"
"""Letters of the limiting factors: none, memory, TTFT, TPOT."""


def article(over: str) -> str:
    """Return the word with its article."""
    return "an answer" if over == "answer" else f"a {over}"


def show_maps(maps: Maps) -> None:
    """Print the panels in characters, and the best point of each device."""
    targets = maps.options.targets
    pages = (maps.unit,) if maps.model.has_vision else ()
    rows = []
    for panel in maps.panels:
        counts = np.bincount(panel.stops.ravel(), minlength=len(STOPS))
        best = panel.best
        rows.append((
            panel.device.name,
            f"{panel.stops.size:,}",
            *(f"{count / panel.stops.size:.0%}" for count in counts),
            f"{best['batch_size']:,}, {best['length']:,} tokens" if best else "no point",
            f"{best['device_tokens_per_s']:,.0f}" if best else "",
            *([f"{best['made']:,.0f}" if best else ""] if pages else []),
        ))  # fmt: skip
    title = (
        f"{maps.model.name}: batch against tokens of {article(maps.over)}, TTFT "
        f"{targets.ttft_s:g} s, TPOT {targets.tpot_s * 1000:g} ms"
    )
    limits = tuple("within targets" if name == STOPS[SERVES] else f"limited by {name}"
                   for name in STOPS)  # fmt: skip
    print_table(title, rows, ("device", "points", *limits, "highest throughput at batch",
                              "tokens/s/device", *pages))  # fmt: skip
    for panel in maps.panels:
        say()
        say(picture(panel))
        say(panel.basis)
    for note in maps.notes:
        say(note)


def picture(panel: LimitsMap) -> str:
    """Draw a panel in characters, on logarithmic axes."""
    width, height = PICTURE_SIZE
    rows = _nearest(panel.batches, height)[::-1]
    columns = _nearest(panel.lengths, width)
    lines = [[LETTERS[panel.stops[row, column]] for column in columns] for row in rows]
    if panel.best:
        row = int(np.abs(np.log(panel.batches[rows] / panel.best["batch_size"])).argmin())
        column = int(np.abs(np.log(panel.lengths[columns] / panel.best["length"])).argmin())
        lines[row][column] = "*"
    labels = {0: f"{panel.batches[-1]:,}", height - 1: f"{panel.batches[0]:,}"}
    edge = max(len(label) for label in labels.values())
    limits = ("within targets", *STOPS[SERVES + 1 :])
    legend = ", ".join(map(": ".join, zip(LETTERS, limits, strict=True)))
    drawn = [f"{panel.device.name}: {legend}, *: highest tokens/s within targets"]
    drawn += [f"{labels.get(i, ''):>{edge}} |{''.join(line)}" for i, line in enumerate(lines)]
    first, last = f"{panel.lengths[0]:,}", f"{panel.lengths[-1]:,} tokens"
    drawn.append(f"{'':>{edge}}  {first}{last:>{width - len(first)}}")
    return "\n".join(drawn)


def _nearest(values: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Return positions of `count` values that are evenly spaced on a logarithmic scale."""
    spaced = np.geomspace(values[0], values[-1], count)
    result: np.ndarray[Any, Any] = np.abs(np.log(values[None, :] / spaced[:, None])).argmin(axis=1)
    return result
