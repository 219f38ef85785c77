"""Times on a terminal: what they rest on stands beside them, always."""

from typing import TYPE_CHECKING

from sweepengine.show.terminal import print_table, say

if TYPE_CHECKING:
    from sweepengine.costs.timeline import Timeline

MICRO = 1e6
MILLI = 1e3


def show_timeline(found: "Timeline") -> None:
    """Print microseconds of each operator in a pass, what binds it, and its share of the peak."""
    passes = {"decode": max(found.steps, 1)}
    names = {"decode": "step"}
    rows = [
        (
            ": ".join(filter(None, (names.get(time.stage, time.stage), time.group))),
            time.operator,
            f"{time.seconds * MICRO / passes.get(time.stage, 1):,.1f}",
            f"{time.of_stage:.1%}",
            time.bound,
            f"{time.of_peak:.0%}",
        )
        for time in found.operators
    ]
    say()
    columns = ("pass", "operator", "microseconds", "of stage", "bound by", "of peak")
    print_table(found.basis, rows, columns)
    seconds = found.seconds
    said = [f"vision {seconds.vision * MILLI:,.1f} ms"] if seconds.vision else []
    said += [
        f"prefill {seconds.prefill * MILLI:,.1f} ms",
        f"decode {seconds.decode * MILLI:,.1f} ms",
        f"TTFT {seconds.ttft * MILLI:,.1f} ms",
        f"TPOT {seconds.tpot * MILLI:,.2f} ms",
    ]
    say(", ".join(said))
