"""Times of operators in a terminal, always with their basis and expected error."""

from typing import TYPE_CHECKING

from sweepengine.costs.titles import PHASES_OF_STEPS
from sweepengine.show.terminal import print_table, say

if TYPE_CHECKING:
    from sweepengine.costs.timeline import Timeline

MICRO = 1e6
MILLI = 1e3


def show_timeline(times: "Timeline") -> None:
    """Print microseconds of each operator in a pass, its bound, and its share of the peak."""
    passes = dict.fromkeys(PHASES_OF_STEPS, max(times.steps, 1))
    names = {"decode": "step", "draft": "draft of a step"}
    rows = [
        (
            ": ".join(filter(None, (names.get(time.stage, time.stage), time.group))),
            time.operator,
            f"{time.seconds * MICRO / passes.get(time.stage, 1):,.1f}",
            f"{time.of_stage:.1%}",
            time.bound,
            f"{time.of_peak:.0%}",
        )
        for time in times.operators
    ]
    say()
    columns = ("pass", "operator", "microseconds", "share of phase", "bound by", "share of peak")
    print_table(times.basis, rows, columns)
    seconds = times.seconds
    texts = [f"vision {seconds.vision * MILLI:,.1f} ms"] if seconds.vision else []
    texts += [
        f"prefill {seconds.prefill * MILLI:,.1f} ms",
        f"decode {seconds.decode * MILLI:,.1f} ms",
        f"TTFT {seconds.ttft * MILLI:,.1f} ms",
        f"TPOT {seconds.tpot * MILLI:,.2f} ms",
    ]
    say(", ".join(texts))
