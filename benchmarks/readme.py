"""Put the figures of results.json into docs/speed.md; `make bench` does it."""

import json
import re
import statistics
from collections.abc import Iterable
from pathlib import Path

from benchmarks import memory, silicon_ways
from sweepengine.show.tables import markdown

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "speed.md"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose first column is text."""
    return markdown(columns, rows).replace("|---:|", "|---|", 1)


def rate(value: float) -> str:
    """Points a second, in words."""
    return f"{value / 1e6:.1f} million" if value >= 1e5 else f"{value:,.0f}"


def tables(facts: dict[str, object]) -> str:
    """The figures between the marks "benchmarks"."""
    found = facts["measurements"]
    ways = {(one["group"], one["way"]): one for one in found}  # type: ignore[index, union-attr]

    def of(group: str) -> list[dict[str, object]]:
        return [one for one in found if one["group"] == group]  # type: ignore[attr-defined]

    limit = ways["kernel", "fill with a constant"]["points_per_second"]
    kernel = [
        (
            one["way"],
            rate(one["points_per_second"]),
            f"{100 * one['points_per_second'] / limit:.3g} %",
        )
        for one in of("kernel")
    ]
    written = [(one["way"], rate(one["points_per_second"]), one["note"]) for one in of("write")]
    starts = {one["way"]: one for one in of("start")}
    billion = ways["query", "axis filter on 1.06 billion points"]
    grouped = ways["query", "group by over 100 million points"]
    theirs = ways["times", "aiconfigurator, measured tables"]
    timed = [
        (
            one["way"],
            rate(one["points_per_second"]),
            f"{one['points_per_second'] / theirs['points_per_second']:,.3g}",
            one["note"],
        )
        for one in of("times")
    ]
    scale = [
        (f"{one['points']:,}", f"{one['median']:.1f}", rate(one["points_per_second"]),
         f"{one['megabytes']:,.0f}")
        for one in of("scale")
        if one["way"].endswith("2 threads")
    ]  # fmt: skip
    *answers, large = of("deploy")
    asked = [
        (one["way"], f"{one['points']:,}", f"{one['median']:.2f}", one["note"]) for one in answers
    ]
    text = f"On {facts['machine']}, medians of several runs; all figures in\n"
    text += "`benchmarks/results.json`. Ways to compute the same\n"
    text += (
        f"{facts['columns']} columns, or 8 of them, of the same points; results compared before "
    )
    text += "they are timed:\n\n"
    text += table(("way", "points/s", "of filling the columns with a constant"), kernel)
    text += "\nInto Parquet: `run` computes, encodes, writes and syncs all of "
    text += "`grids/capacity.toml`; the others\nonly write a table that is already in memory:\n\n"
    text += table(("way", "points/s", "size"), written)
    text += "\nTimes of Llama-3.1-8B's static batches on an H100, ours and those of the tool that\n"
    text += f"comes with the measured tables and of two more, on the same points{_anew(facts)}:\n\n"
    columns = ("way", "points/s", "times the look-up", "off the measured tables, median")
    text += table(columns, timed)
    text += "\nThree questions that aiconfigurator's README asks (Qwen3-32B in fp8 on H200, 4,000 "
    text += "tokens in,\nTensorRT-LLM's kernels), asked of it and of `deploy` in the same run; "
    text += "candidates are what each considered\nand says so:\n\n"
    text += table(("question, tool", "candidates", "seconds", "answer"), asked)
    text += f"\n{large['points']:,} candidates take a whole process {large['median']:.1f} s and "
    text += f"{large['megabytes']:,.0f} MB.\n"
    text += "\nWhole processes, start included, and their peak memory:\n\n"
    text += table(("points", "seconds", "points/s", "peak MB"), scale)
    peaks: dict[str, dict[int, float]] = {}
    for one in of("memory"):
        peaks.setdefault(one["way"], {})[one["points"]] = one["megabytes"]
    small, large_grid = memory.SIZES
    held = [
        (way, *(f"{by_size[size]:,.0f}" if size in by_size else "" for size in memory.SIZES))
        for way, by_size in peaks.items()
        if small in by_size
    ]
    text += f"\nPeak MB of commands over {small:,} and {large_grid:,} points:\n\n"
    text += table(("command", f"{small:,}", f"{large_grid:,}"), held)
    text += "\nA sort holds all rows, with `--top` few. "
    searched = [
        f"`{way}` takes {peak:,.0f} MB for {points:,} points"
        for way, by_size in peaks.items()
        if small not in by_size
        for points, peak in by_size.items()
    ]
    text += f"{', '.join(searched)}.\n"

    def seconds(way: str) -> str:
        return f"{statistics.median(starts[way]['seconds']):.1f} s"

    def of_frame(way: str) -> str:
        return rate(ways["frame", way]["points_per_second"])

    text += "\n`evaluate` makes "
    text += f"{of_frame('evaluate, 4,500 workloads scattered')} points/s of a million scattered "
    text += f"points, `cost`\n{of_frame('cost, a new context each call')} one-point calls/s, and a "
    text += "scan of the capacity grid for the largest of every\ncolumn "
    text += f"{of_frame('scan, the largest of every column')} points/s. On a machine that never "
    text += "compiled anything `run` of the 53 published\ncrop grids takes "
    text += f"{seconds('published-vision, cold')}, of the 10 million points of the capacity grid "
    text += f"{seconds('capacity, cold')}, the next time\n{seconds('capacity, warm')}: compiled "
    text += "code is kept under `~/.cache/sweepengine`. `--help` takes "
    text += f"{seconds('--help')}, `explain`\n{seconds('explain')}. A filter on axes finds its "
    text += f"points among 1.06 billion in {billion['median'] * 1000:.0f} ms; a group-by over\n"
    text += f"100 million takes {grouped['median']:.1f} s and {grouped['megabytes']:,.0f} MB.\n"
    return text


def _anew(facts: dict[str, object]) -> str:
    """When that was, where it was measured again by itself."""
    again = facts.get("again", {}).get("times")  # type: ignore[attr-defined]
    return f" (measured again on {again})" if again else ""


def peers(facts: dict[str, object]) -> str:
    """The table between the marks "speed": tools on the same points, the fastest first."""
    found = silicon_ways.tools(facts["measurements"])  # type: ignore[arg-type]
    rows = [(tool, rate(each), off) for tool, each, off in found]
    return table(("tool", "points/s", "off the measured tables, median"), rows)


def main() -> None:
    """Rewrite the parts between the marks."""
    facts = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    for mark, made in (("benchmarks", tables(facts)), ("speed", peers(facts))):
        marked = rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)"
        text = re.sub(marked, lambda m, made=made: m[1] + made + m[2], text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
