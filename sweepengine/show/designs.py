"""The answer of `design` in a terminal: the cheapest designs, and what doubling a figure gains."""

from sweepengine.search.design import DESIGN, DESIGN_FIGURES, Designs
from sweepengine.show.terminal import print_table, say


def show_designs(answer: Designs) -> None:
    """Print the cheapest designs and what doubling each figure gains."""
    targets, grid = answer.targets, answer.grid
    meeting = answer.designs["cost_per_request"].is_not_null().sum()
    say(f"{grid.name}, model {grid.model.name}: {answer.designs.height:,} designs of "
        f"{answer.candidates:,} candidates, {meeting:,} meet TTFT {targets.ttft_s:g} s and "
        f"TPOT {targets.tpot_s * 1000:g} ms")  # fmt: skip
    say(f"cost of a device: {grid.cost}")
    basis = f"rates scale with the figures of the device: {answer.basis}"
    basis = "\n".join([basis, *answer.assumed])
    if answer.cheapest is None or answer.best_value is None:
        say("no design of the grid meets the targets")
        say(basis)
        return
    rows = [
        (title, *(f"{row[name]:,g}" for name in DESIGN), f"{row['cost']:,.0f}",
         f"{row['devices']} at batch {row['batch_size']}", f"{row['device_tokens_per_s']:,.0f}",
         f"{row['ttft_s']:.3g}", f"{row['tpot_s'] * 1000:.3g}", f"{row['cost_per_request']:,.0f}")
        for title, row in (("cheapest", answer.cheapest), ("best value", answer.best_value))
    ]  # fmt: skip
    units = ("TFLOP/s", "GB/s", "GB", "link GB/s")
    print_table("", rows, ("", *units, "cost", "devices", "tokens/s/device", "TTFT s", "TPOT ms",
                           "cost per request/s"))  # fmt: skip
    doubled = [
        (DESIGN[change.figure], f"{change.value:,g}", f"{change.throughput:.2f}",
         f"{change.latency:.2f}", f"{change.cost:.2f}", f"{change.throughput / change.cost:.2f}")
        for change in answer.sensitivity
        if change.cost
    ]  # fmt: skip
    columns = ("figure", "doubled to", "requests/s", "latency", "cost", "requests/s per cost")
    print_table("Best value with one figure doubled, as multiples", doubled, columns)
    if edges := at_edges(answer):
        say(f"the best value lies at the edge of the grid in {', '.join(edges)}: a wider grid may "
            "have a better one")  # fmt: skip
    say(basis)


def at_edges(answer: Designs) -> list[str]:
    """Return the figures in which the best value is the smallest or largest of the grid."""
    at, designs = answer.best_value or {}, answer.designs
    varied = [name for name in DESIGN_FIGURES if designs[name].n_unique() > 1]
    return [DESIGN[name].split(",")[0] for name in varied
            if at[name] in (designs[name].min(), designs[name].max())]  # fmt: skip
