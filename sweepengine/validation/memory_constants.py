"""Fits constants of vLLM's memory to the fitting half of logged starts, from the shipped ones.

    python -m sweepengine.validation.memory_constants

prints the constants in the format of data/serving_engines/vllm.toml, and errors of both halves with
the shipped and with the fitted constants: a fit is kept where it is better on the half that judges.
The loss is Huber's on log ratios, of tokens of the pool and of GiB of CUDA graphs.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sweepengine.data.serving_engines.memory import MIB, version_of
from sweepengine.formulas.memory import GIB, THOUSANDTHS, Resident, divided
from sweepengine.formulas.speeds import FRAMEWORKS
from sweepengine.validation.calibration import HUBER
from sweepengine.validation.engine_starts import FITTING, HALVES, Logged, read_starts

ENGINE = FRAMEWORKS[0]
OLDEST, LATER = (version_of(ENGINE, version).memory for version in ("0.8", "0.17"))
"""Versions whose sampler's warm-up differs."""
Floats = NDArray[np.float64]


class PoolConstants(NamedTuple):
    """Constants that the pool follows from, in units of the data file."""

    forward_factor: float
    sampler_bytes: float
    later_sampler_bytes: float
    """From 0.17 on."""
    fast_link_gib: float


class GraphConstants(NamedTuple):
    """Constants of CUDA graphs, in units of the data file."""

    graph_layer_mib: float
    graph_sequence_mib: float


SHIPPED_POOL = PoolConstants(
    OLDEST.forward_factor / THOUSANDTHS,
    OLDEST.sampler_bytes / THOUSANDTHS,
    LATER.sampler_bytes / THOUSANDTHS,
    OLDEST.fast_link_bytes / GIB,
)
SHIPPED_GRAPHS = GraphConstants(OLDEST.graph_layer_bytes / MIB, OLDEST.graph_sequence_bytes / MIB)


def with_constants(of: Resident, constants: PoolConstants) -> Resident:
    """What decides the memory of a device, with other constants than those shipped."""
    later = of.sampler_bytes == LATER.sampler_bytes
    sampler = constants.later_sampler_bytes if later else constants.sampler_bytes
    fast = of.runtime == OLDEST.runtime_bytes + OLDEST.fast_link_bytes
    runtime = OLDEST.runtime_bytes + round(constants.fast_link_gib * GIB) if fast else of.runtime
    return of._replace(
        forward_rate=round(
            of.forward_rate * constants.forward_factor / SHIPPED_POOL.forward_factor
        ),
        sampler_bytes=round(sampler * THOUSANDTHS),
        runtime=runtime,
    )


def pool_ratio(row: Logged, constants: PoolConstants) -> float:
    """Predicted over measured tokens of a row's pool."""
    of = with_constants(row.start.resident, constants)
    return row.start.tokens_of(divided(of, of.max_sequences).pool) / row.tokens


def graph_ratio(row: Logged, constants: GraphConstants) -> float:
    """Predicted over measured GiB of a row's CUDA graphs, where its log has some."""
    of = row.start.resident._replace(
        graph_layer_bytes=round(constants.graph_layer_mib * MIB),
        graph_sequence_bytes=round(constants.graph_sequence_mib * MIB),
    )
    return divided(of, of.max_sequences).graphs / GIB / (row.graphs or 1.0)


def loss(ratios: Floats) -> float:
    """Sum of Huber's loss of log ratios."""
    off = np.abs(np.log(np.maximum(ratios, 1e-6)))
    return float(np.where(off < HUBER, off * off / 2, HUBER * (off - HUBER / 2)).sum())


def fitted(ratios: Callable[[Floats], Floats], shipped: Sequence[float]) -> list[float]:
    """Constants of least loss, to three digits.

    Parameters
    ----------
    ratios : callable
        Ratios of rows of the fitting half, of constants.
    shipped : sequence of float
        Where the fit starts.
    """
    start = np.log(shipped)
    for _ in range(3):
        simplex = np.vstack([start, *(start + 0.2 * row for row in np.eye(len(start)))])
        options = {"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-9, "maxfev": 2000}
        start = minimize(lambda logs: loss(ratios(np.exp(logs))), start, method="Nelder-Mead",
                         options=options).x  # fmt: skip
    return [float(f"{value:.3g}") for value in np.exp(start)]


def pool_ratios(rows: Sequence[Logged], constants: PoolConstants) -> Floats:
    """`pool_ratio` of rows."""
    return np.array([pool_ratio(row, constants) for row in rows])


def graph_ratios(rows: Sequence[Logged], constants: GraphConstants) -> Floats:
    """`graph_ratio` of rows."""
    return np.array([graph_ratio(row, constants) for row in rows])


def errors_line(what: str, ratios: Floats) -> str:
    """Number of rows, median and 90th percentile of errors, in words."""
    error = 100 * np.abs(ratios - 1)
    return (f"# {what}: {len(error)} rows, median {np.median(error):.2f} %, "
            f"90th {np.quantile(error, 0.9):.2f} %")  # fmt: skip


def main() -> None:
    """Print fitted constants, and errors of both halves with shipped and fitted ones."""
    rows = [row for row in read_starts().pools if row.engine == ENGINE]
    with_graphs = [row for row in rows if row.graphs]
    training = [row for row in rows if row.half == FITTING]
    training_graphs = [row for row in with_graphs if row.half == FITTING]
    pool = PoolConstants(
        *fitted(lambda values: pool_ratios(training, PoolConstants(*values)), SHIPPED_POOL)
    )
    graphs = GraphConstants(
        *fitted(lambda values: graph_ratios(training_graphs, GraphConstants(*values)),
                SHIPPED_GRAPHS)
    )  # fmt: skip
    for constants in (pool, graphs):
        print("\n".join(f"{name} = {value}" for name, value in constants._asdict().items()))
    for half in HALVES:
        of_half = [row for row in rows if row.half == half]
        of_graphs = [row for row in with_graphs if row.half == half]
        for name, pools, graph in (("shipped", SHIPPED_POOL, SHIPPED_GRAPHS),
                                   ("fitted", pool, graphs)):  # fmt: skip
            print(errors_line(f"tokens, {half} half, {name}", pool_ratios(of_half, pools)))
            print(errors_line(f"graphs, {half} half, {name}", graph_ratios(of_graphs, graph)))


if __name__ == "__main__":
    main()
