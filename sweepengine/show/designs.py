"""Designs of devices in a terminal: the cheapest, and what to double."""

from sweepengine.search.design import DESIGN, DESIGN_FIGURES, Designs
from sweepengine.show.terminal import print_table, say


def show_designs(found: Designs) -> None:
    """Print the cheapest designs and what doubling each figure buys."""
    targets = found.targets
    meeting = found.designs["cost_per_request"].is_not_null().sum()
    say(f"{found.grid.name}, model {found.grid.model.name}: {found.designs.height:,} designs of "
        f"{found.candidates:,} candidates, {meeting:,} serve within TTFT {targets.ttft_s:g} s and "
        f"TPOT {targets.tpot_s * 1000:g} ms")  # fmt: skip
    say(f"cost of a device: {found.grid.cost}")
    if found.cheapest is None or found.best_value is None:
        say("no design of the grid serves within the targets")
        say(f"rates as shares of the figures: {found.basis}")
        return
    rows = [
        (title, *(f"{row[name]:,g}" for name in DESIGN), f"{row['cost']:,.0f}",
         f"{row['devices']} at batch {row['batch_size']}", f"{row['device_tokens_per_s']:,.0f}",
         f"{row['ttft_s']:.3g}", f"{row['tpot_s'] * 1000:.3g}", f"{row['cost_per_request']:,.0f}")
        for title, row in (("cheapest", found.cheapest), ("best value", found.best_value))
    ]  # fmt: skip
    units = ("TFLOP/s", "GB/s", "GB", "link GB/s")
    print_table("", rows, ("", *units, "cost", "devices", "tokens/s/device", "TTFT s", "TPOT ms",
                           "cost / (request/s)"))  # fmt: skip
    doubled = [
        (DESIGN[one.figure], f"{one.value:,g}", f"{one.throughput:.2f}", f"{one.latency:.2f}",
         f"{one.cost:.2f}", f"{one.throughput / one.cost:.2f}")
        for one in found.sensitivity
        if one.cost
    ]  # fmt: skip
    columns = ("figure", "twice is", "requests/s", "latency", "cost", "requests/s for its cost")
    title = "Of the best value twice as much of one figure, as multiples"
    print_table(title, doubled, columns)
    if edges := at_edges(found):
        say(f"the best value lies at an edge of the grid in {', '.join(edges)}: a wider one may "
            "have a better")  # fmt: skip
    say(f"rates as shares of the figures: {found.basis}")


def at_edges(found: Designs) -> list[str]:
    """Figures in which the best value is the least or the most of the grid."""
    at, designs = found.best_value or {}, found.designs
    varied = [name for name in DESIGN_FIGURES if designs[name].n_unique() > 1]
    return [DESIGN[name].split(",")[0] for name in varied
            if at[name] in (designs[name].min(), designs[name].max())]  # fmt: skip
