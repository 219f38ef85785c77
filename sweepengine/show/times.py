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
    timed = found.timed
    said = [f"vision {timed.vision_seconds * MILLI:,.1f} ms"] if timed.vision_seconds else []
    said += [
        f"prefill {timed.prefill_seconds * MILLI:,.1f} ms",
        f"decode {timed.decode_seconds * MILLI:,.1f} ms",
        f"TTFT {timed.ttft_seconds * MILLI:,.1f} ms",
        f"TPOT {timed.tpot_seconds * MILLI:,.2f} ms",
    ]
    say(", ".join(said))
