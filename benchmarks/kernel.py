"""How fast the kernel is, in one run beside what a user would do otherwise.

Compared on the same points, after checking that the results are equal: a plain Python loop over
the same formulas, and filling as many columns with a constant, which is the machine's limit.
Times are medians of several runs, with their range.
"""

import statistics
import time
from collections.abc import Callable

import numba
import numpy as np
from rich.console import Console
from rich.table import Table

from sweepengine.evaluation import compute_chunk
from sweepengine.grid import Chunk, load_grid
from sweepengine.layers.residual import ATTENTIONS
from sweepengine.schema import INPUT_NAMES, OUTPUT_NAMES
from sweepengine.stages import Point, point_columns

RUNS = 7
POINTS = 2_000_000
PYTHON_POINTS = 2_000


@numba.njit(parallel=True)
def fill_constant(columns: np.ndarray) -> None:
    """Fill columns with a constant on all cores."""
    blocks = (columns.shape[1] + 511) // 512
    for block in numba.prange(blocks):
        for column in range(columns.shape[0]):
            columns[column, block * 512 : (block + 1) * 512] = 7


def median_rate(points: int, work: Callable[[], object]) -> tuple[float, float, float]:
    """Points a second: median, lowest and highest of `RUNS` runs, after one that warms up."""
    work()
    rates = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        rates.append(points / (time.perf_counter() - began))
    return statistics.median(rates), min(rates), max(rates)


def main() -> None:
    """Print the table."""
    from sweepengine.grid import kernel_inputs
    from sweepengine.kernel import compute

    grid = load_grid("capacity")
    chunk = next(iter(grid.chunks(POINTS)))
    rows = chunk.stop - chunk.start
    inputs = kernel_inputs(chunk.axes)
    arch = grid.model.architecture

    head = compute_chunk(grid.model, Chunk(0, PYTHON_POINTS, chunk.axes))
    drawn = [
        Point(*row[:9], ATTENTIONS.index(row[9])) for row in head.select(INPUT_NAMES).iter_rows()
    ]
    plain = [point_columns(arch, point) for point in drawn]
    if plain != head.select(OUTPUT_NAMES).to_dicts():
        raise SystemExit("kernel and plain Python differ")

    measured = {
        "fill with a constant": median_rate(
            rows, lambda: fill_constant(np.empty((len(OUTPUT_NAMES), rows), np.int64))
        ),
        "kernel, all cores": median_rate(rows, lambda: compute(arch, *inputs, rows, OUTPUT_NAMES)),
        "kernel, one core": median_rate(
            rows, lambda: compute(arch, *inputs, rows, OUTPUT_NAMES, parallel=False)
        ),
        "plain Python": median_rate(
            PYTHON_POINTS, lambda: [point_columns(arch, point) for point in drawn]
        ),
    }
    limit = measured["fill with a constant"][0]
    table = Table(title=f"{len(OUTPUT_NAMES)} columns, {rows:,} points", title_justify="left")
    for column in ("way", "points/s, median", "range", "of the limit"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, (median, low, high) in measured.items():
        table.add_row(way, f"{median:,.0f}", f"{low:,.0f}..{high:,.0f}", f"{median / limit:.2%}")
    Console().print(table)


if __name__ == "__main__":
    main()
