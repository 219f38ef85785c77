"""Put the figures of results.json into README.md; `make bench` does it."""

import json
import re
import statistics
from pathlib import Path

from sweepengine.tables import markdown

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"


def rate(value: float) -> str:
    """Points a second, in words."""
    return f"{value / 1e6:.1f} million" if value >= 1e5 else f"{value:,.0f}"


def tables(facts: dict[str, object]) -> str:
    """The part of the README between its two marks."""
    found = facts["measurements"]
    ways = {(one["group"], one["way"]): one for one in found}  # type: ignore[index, union-attr]

    def of(group: str) -> list[dict[str, object]]:
        return [one for key, one in ways.items() if key[0] == group]

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
    scale = [
        (f"{one['points']:,}", f"{one['median']:.1f}", rate(one["points_per_second"]),
         f"{one['megabytes']:,.0f}")
        for one in of("scale")
        if one["way"].endswith("2 threads")
    ]  # fmt: skip
    text = f"On {facts['machine']}, medians of several runs (`make bench`; all figures in\n"
    text += "[benchmarks/results.json](benchmarks/results.json)). Ways to compute the same 22\n"
    text += "columns of the same points, results compared before they are timed:\n\n"
    text += markdown(("way", "points/s", "of filling the columns with a constant"), kernel)
    text += "\nInto Parquet: `run` computes, encodes, writes and syncs all of "
    text += "`grids/capacity.toml`; the others\nonly write a table that is already in memory:\n\n"
    text += markdown(("way", "points/s", "size"), written)
    text += "\nWhole processes, start included, and their peak memory:\n\n"
    text += markdown(("points", "seconds", "points/s", "peak MB"), scale)
    warm = statistics.median(starts["warm"]["seconds"])
    text += f"\nThe 53 published crop grids take {warm:.1f} s from a warm start and "
    text += (
        f"{starts['cold: compiles']['median']:.0f} s from the first,\nwhich compiles the kernel "
    )
    text += "and keeps it under `~/.cache/sweepengine`; `--help` takes "
    text += f"{starts['--help']['median']:.1f} s. A filter\non axes finds its points among 1.06 "
    text += f"billion in {billion['median'] * 1000:.0f} ms; a group-by over 100 million takes\n"
    text += f"{grouped['median']:.1f} s and {grouped['megabytes']:,.0f} MB.\n"
    return text


def main() -> None:
    """Rewrite the part between the marks."""
    facts = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    marked = r"(<!-- benchmarks -->\n).*?(<!-- end of benchmarks -->)"
    changed = re.sub(marked, lambda m: m[1] + tables(facts) + m[2], text, flags=re.DOTALL)
    README.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    main()
