"""Times of operators in a terminal, always with their basis and expected error."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweepengine.costs.titles import PHASES_OF_STEPS
from sweepengine.show.terminal import four_digits, print_table, say

if TYPE_CHECKING:
    from sweepengine.costs.roofline import OnDevice
    from sweepengine.costs.time_parts import TimeParts
    from sweepengine.costs.timeline import Timeline

MICRO = 1e6
MILLI = 1e3


def show_roofline(point: "OnDevice") -> None:
    """Print the least time of each phase on a device, and whether the point fits."""
    rows = [
        (time.stage, *(f"{seconds * 1000:,.3f}" for seconds in time[1:5]), time.bound)
        for time in point.stages
    ]
    many = f" x {point.devices}" if point.devices > 1 else ""
    title = f"{point.device.name}{many}: lower bound at the peaks of the data sheet, ms"
    say()
    print_table(title, rows, ("phase", "compute", "memory", "links", "total", "bound by"))
    memory = point.memory
    parts = (("weights", point.weight_bytes), ("runtime", memory.runtime_bytes),
             ("activations", memory.activation_bytes), ("CUDA graphs", memory.graph_bytes),
             ("KV pool", memory.pool_bytes))  # fmt: skip
    shown = ", ".join(f"{name} {value / 1e9:,.1f}" for name, value in parts)
    say(f"memory per device, GB: {shown}; of {memory.usable_bytes / 1e9:,.1f} usable")
    fits = f"{'fits' if point.fits else 'does not fit'}, largest batch {memory.largest_batch:,}"
    fits += "" if point.fits else "; times below are as if it fitted"
    say(f"KV pool: {memory.pool_tokens:,} tokens; the batch {fits}")


def show_parts(parts: "TimeParts") -> None:
    """Print the parts of TTFT and of TPOT, which add up to them, and the largest of each."""
    rows = [(name, *_part(parts.ttft, name), *_part(parts.tpot, name)) for name in parts.names]
    whole = [
        text
        for of in (parts.ttft, parts.tpot)
        for text in (four_digits(sum(of.values()) * MILLI) if of else "", "")
    ]
    say()
    print_table("What a request sees, ms: parts of its TTFT and TPOT", [*rows, ("sum", *whole)],
                ("part", "TTFT", "share", "TPOT", "share"))  # fmt: skip
    say(f"limited by: {limits_text(parts)}")


def _part(parts: Mapping[str, float], name: str) -> tuple[str, str]:
    if name not in parts:
        return "", ""
    return four_digits(parts[name] * MILLI), f"{parts[name] / sum(parts.values()):.0%}"


def limits_text(parts: "TimeParts") -> str:
    """Name the largest part of TTFT and of TPOT."""
    return "; ".join(
        f"{name} by {part} ({share:.0%})" for name, (part, share) in parts.limits.items()
    )


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
