"""Run every benchmark: `make bench`. Prints a table, writes JSON and a chart beside this file."""

import argparse
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from benchmarks import deployments, end_to_end, kernel_ways, memory, silicon_ways
from benchmarks.measure import Measurement
from sweepengine.grid.columns import OUTPUT_NAMES
from sweepengine.show.look import BLUE, VERMILION, styled
from sweepengine.show.rendering import save_chart
from sweepengine.show.terminal import print_table

FOLDER = Path(__file__).parent
BASE = {
    "kernel": "kernel, all cores",
    "write": "run: computed, written and synced",
    "times": silicon_ways.LOOKED_UP,
}
"""Way that a group's ratios are against."""


def processor() -> str:
    """Name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "")


def show(found: list[Measurement]) -> None:
    """Print a table for each group."""
    for group in dict.fromkeys(one.group for one in found):
        ways = [one for one in found if one.group == group]
        base = next((one.rate for one in ways if one.way == BASE.get(group)), None)
        rows = [
            (
                one.way,
                f"{one.points:,}",
                f"{one.median:.3f}",
                f"{min(one.seconds):.3f}..{max(one.seconds):.3f}",
                f"{one.rate:,.0f}",
                "" if base is None else f"{one.rate / base:.3g}",
                "" if one.megabytes is None else f"{one.megabytes:,.0f}",
                one.note,
            )
            for one in ways
        ]
        ratio = f"x {BASE[group]}" if group in BASE else ""
        print_table(
            f"\n{group}",
            rows,
            ("way", "points", "seconds", "range", "points/s", ratio, "peak MB", ""),
        )


def draw(found: list[Measurement], machine: str) -> None:
    """Draw points a second of the kernel's and the writers' ways."""
    rows = pl.DataFrame(
        [
            {"group": one.group, "way": one.way, "rate": one.rate,
             "low": one.points / max(one.seconds), "high": one.points / min(one.seconds)}
            for one in found
            if one.group in ("kernel", "write")
        ]
    )  # fmt: skip
    base = alt.Chart(rows).encode(
        y=alt.Y("way:N", sort=None, title=None, axis=alt.Axis(labelLimit=300))
    )
    x = alt.X("rate:Q", title="points/s", scale=alt.Scale(type="log", domainMin=1000),
              axis=alt.Axis(format="~s"))  # fmt: skip
    marks = base.mark_circle(size=70, color=BLUE).encode(x=x)
    spread = base.mark_rule(color=BLUE).encode(x="low:Q", x2="high:Q")
    text = base.mark_text(align="left", dx=9, fontSize=10).encode(
        x="rate:Q", text=alt.Text("rate:Q", format=".3~s")
    )
    layers = alt.layer(spread, marks, text).properties(width=640)
    drawn = layers.facet(row=alt.Row("group:N", sort=None, title=None)).resolve_scale(
        y="independent"
    )
    rates = {one.way: one.rate for one in found}
    share = rates["kernel, all cores"] / rates["fill with a constant"]
    title = f"The kernel runs at {share:.0%} of filling its columns with a constant"
    save_chart(styled(drawn, title, machine), FOLDER / "results.svg")
    save_chart(styled(drawn, title, machine), FOLDER / "results.png")


def _facts(one: Measurement) -> dict[str, Any]:
    return {**one._asdict(), "median": one.median, "points_per_second": one.rate}


def _again(found: list[Measurement]) -> None:
    """Put a group measured anew into the results; its peaks do not depend on the day's speed."""
    show(found)
    path = FOLDER / "results.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    kept = [one for one in facts["measurements"] if one["group"] != found[0].group]
    facts["measurements"] = [*kept, *map(_facts, found)]
    facts.setdefault("again", {})[found[0].group] = f"{datetime.now(UTC):%Y-%m-%d}"
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    draw_peers(facts["measurements"])


def draw_peers(found: list[dict[str, Any]]) -> None:
    """Draw how fast tools answer, against how far they are from measured tables."""
    rows = pl.DataFrame(
        [{"tool": tool, "rate": rate, "off": float(off.rstrip("%"))}
         for tool, rate, off in silicon_ways.tools(found)]
    )  # fmt: skip
    base = alt.Chart(rows).encode(
        x=alt.X("rate:Q", title="points/s", axis=alt.Axis(format="~s"),
                scale=alt.Scale(type="log", domain=[5, 1e8])),
        y=alt.Y("off:Q", title="median difference from measured tables, %"),
    )  # fmt: skip
    colour = alt.condition("indexof(datum.tool, 'sweep') == 0", alt.value(VERMILION),
                           alt.value(BLUE))  # fmt: skip
    text = base.mark_text(align="left", dx=8, dy=-6, fontSize=11).encode(text="tool:N")
    drawn = alt.layer(base.mark_circle(size=90, opacity=1).encode(color=colour), text).properties(
        width=700, height=320
    )
    title = "Static batches of Llama-3.1-8B on an H100, asked of each tool in one run"
    note = "to the right: faster; down: closer to what was measured"
    save_chart(styled(drawn, title, note), FOLDER.parent / "docs" / "peers.svg")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave 100 million points out")
    parser.add_argument("--memory", action="store_true", help="measure memory again, nothing else")
    parser.add_argument("--peers", action="store_true", help="measure beside other tools alone")
    asked = parser.parse_args()
    quick = asked.quick
    if asked.memory or asked.peers:
        _again(memory.measurements() if asked.memory else silicon_ways.measurements())
        return
    sizes = end_to_end.SIZES[:-1] if quick else end_to_end.SIZES
    found = [
        *kernel_ways.measurements(),
        *silicon_ways.measurements(),
        *deployments.measurements(),
        *end_to_end.frame_measurements(),
        *end_to_end.writer_measurements(),
        *end_to_end.start_measurements(),
        *end_to_end.query_measurements(),
        *end_to_end.scaling_measurements(sizes),
        *memory.measurements(sizes[2:]),
    ]
    machine = f"{processor()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}"
    show(found)
    facts = {
        "machine": machine,
        "python": platform.python_version(),
        "columns": len(OUTPUT_NAMES),
        "measurements": [_facts(one) for one in found],
    }
    text = json.dumps(facts, indent=2) + "\n"
    (FOLDER / "results.json").write_text(text, encoding="utf-8")
    draw(found, machine)
    draw_peers(facts["measurements"])


if __name__ == "__main__":
    main()
