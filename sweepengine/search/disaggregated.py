"""Disaggregated plans: prefill workers and decode workers in every ratio that fits.

Each data-parallel rank of a prefill worker takes one request at a time and sends its KV cache on.
A prefill worker is busy at most `MAX_BUSY` of the time; requests wait as in a queue with one server
(`formulas.serving.queued`). A decode worker runs one batch, with no prefill in between.
"""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.formulas.serving import queued
from sweepengine.search.options import DISAGGREGATED, DeployOptions
from sweepengine.search.plans import PLAN, SHARED, spelled_layouts
from sweepengine.search.steady_state import LAYOUT_COLUMNS

MAX_BUSY = 0.8
"""Largest share of the time that a prefill worker is busy: queues grow without bound near 1."""
MAX_LISTED_WORKERS = 128
"""Up to this many prefill workers every count is tried."""
EXTRA_WORKERS = 4
"""Counts of prefill workers tried from the least that a rate needs: more workers wait less."""
ROUNDING = 1 - 1e-12
"""Factor before rounding up, so that a whole quotient stays as it is."""


class Workers(NamedTuple):
    """Prefill and decode workers that no other of the same formats and size dominates."""

    prefill: pl.DataFrame = pl.DataFrame()
    decode: pl.DataFrame = pl.DataFrame()

    def with_candidates(self, fitting: pl.DataFrame, output: float, node: int) -> "Workers":
        """Add candidates that fit the memory.

        Parameters
        ----------
        fitting : polars.DataFrame
            Candidates (`search.steady_state`).
        output : float
            Mean tokens that a request decodes.
        node : int
            Devices of a node.
        """
        if not output or not fitting.height:
            return self
        spanned = (pl.col("devices").cast(pl.Int64) + node - 1) // node
        fitting = fitting.with_columns(group_nodes=spanned)
        ranks = pl.col("data_parallel") / pl.col("prefill_s")
        once = fitting.group_by(*SHARED, *LAYOUT_COLUMNS, maintain_order=True).first()
        prefill = once.select(*SHARED, *LAYOUT_COLUMNS, "devices", "memory_bytes", "group_nodes",
                              "prefill_s", "prefill_square_s2", rate=ranks,
                              seconds="prefill_share_s")  # fmt: skip
        decode = fitting.select(*SHARED, *LAYOUT_COLUMNS, "devices", "memory_bytes", "group_nodes",
                                "batch_size", "max_sequences", "chunk_tokens", "step_s",
                                rate=pl.col("batch_size") / (pl.col("token_s") * output),
                                seconds="token_s")  # fmt: skip
        return Workers(*(
            _undominated(pl.concat([frame for frame in pair if frame.width]))
            for pair in ((self.prefill, prefill), (self.decode, decode))
        ))  # fmt: skip


def _undominated(frame: pl.DataFrame) -> pl.DataFrame:
    """Workers that no other of the same key and size beats in both time and rate."""
    size = [*SHARED, "devices"]
    ordered = frame.sort("seconds", pl.col("rate").neg(), maintain_order=True)
    before = pl.col("rate").cum_max().shift(1).over(size)
    return ordered.filter(before.is_null() | (pl.col("rate") > before))


class Pairing(NamedTuple):
    """What all combinations of prefill and decode workers share."""

    options: DeployOptions
    output: float
    """Mean tokens that a request decodes."""
    answer: float
    """Decoded tokens of an answer, at the percentile of `ServingAssumptions.share`."""
    prefill_limit: int
    """Most devices of prefill workers, where there is no load."""
    decode_limit: int
    """Most devices of decode workers, or of all workers where both have one device type."""


def combined(
    prefill: pl.DataFrame, decode: pl.DataFrame, pairing: Pairing
) -> tuple[pl.DataFrame, int]:
    """Combine prefill and decode workers on the given devices, or on as many as a load needs.

    Parameters
    ----------
    prefill, decode : polars.DataFrame
        Of `Workers`, each on one device type.
    pairing : Pairing

    Returns
    -------
    plans : polars.DataFrame
        With the columns `PLAN`.
    count : int
        Combinations.
    """
    if not prefill.height or not decode.height:
        return pl.DataFrame(), 0
    plans, count = [pl.DataFrame()], 0
    shared = SHARED[1:]
    decode_workers = decode.partition_by(shared, as_dict=True)
    for key, workers in prefill.partition_by(shared, as_dict=True).items():
        if (others := decode_workers.get(key)) is not None:
            of_key, combinations = _of_one_key(workers, others, pairing)
            plans.append(of_key)
            count += combinations
    return pl.concat([frame for frame in plans if frame.width] or plans), count


def _of_one_key(
    prefill: pl.DataFrame, decode: pl.DataFrame, pairing: Pairing
) -> tuple[pl.DataFrame, int]:
    """Plans of workers of one key: x prefill workers of kind p and y decode workers of kind d."""
    options, output = pairing.options, pairing.output
    prefill_devices, prefill_rate = _sizes(prefill)
    decode_devices, decode_rate = _sizes(decode)
    sustained = MAX_BUSY * prefill_rate
    yielded = (decode["step_s"] / decode["seconds"]).to_numpy()
    kinds = len(prefill), len(decode)
    one_type = prefill["device"][0] == decode["device"][0]
    if options.has_load:
        extra, p, d = (index.ravel() for index in np.indices((EXTRA_WORKERS, *kinds)))
        need = options.rate
        if options.users is not None:  # without a wait, which only lowers the rate of so many users
            steps = decode["seconds"].to_numpy()[d]
            spent = steps * (yielded[d] + output)
            need = options.users / (prefill["prefill_s"].to_numpy()[p] + spent)
        x = np.ceil(need / sustained[p] * ROUNDING).astype(np.int64) + extra
        y = np.ceil(need / decode_rate[d] * ROUNDING).astype(np.int64)
    else:
        counts = _counts(pairing.prefill_limit // int(prefill_devices.min()))
        x, p, d = (index.ravel() for index in np.indices((len(counts), *kinds)))
        x = counts[x]
        used = x * prefill_devices[p]
        left = pairing.decode_limit - used * one_type
        y = np.where(used <= pairing.prefill_limit, left // decode_devices[d], 0)
    combinations = len(x)
    kept = np.flatnonzero(y > 0)
    x, y, p, d = x[kept], y[kept], p[kept], d[kept]
    used = x * prefill_devices[p] + y * decode_devices[d]
    requests = np.minimum(x * sustained[p], y * decode_rate[d])
    prefills, decodes = prefill[p], decode[d]
    busy = requests / (x * prefill_rate[p])
    seconds, squares = (prefills[name].to_numpy() for name in ("prefill_s", "prefill_square_s2"))
    waited = queued(seconds, squares, busy)
    steps = decodes["seconds"].to_numpy()
    ttft = prefills["seconds"].to_numpy() + waited + decodes["step_s"].to_numpy()
    memory, nodes = (
        np.maximum(prefills[name].to_numpy(), decodes[name].to_numpy())
        for name in ("memory_bytes", "group_nodes")
    )
    settings = ("max_sequences", "chunk_tokens")
    plans = decodes.select(*SHARED, "batch_size", *settings).with_columns(
        pl.lit(DISAGGREGATED).alias("mode"),
        pl.col("batch_size").cast(pl.Int64),
        spelled_layouts(decode)[d],
        spelled_layouts(prefill)[p].alias("prefill_layout"),
        pl.lit(prefill["device"][0]).alias("prefill_device"),
        pl.Series("replicas", y),
        pl.Series("prefill_groups", x),
        pl.Series("prefill_devices", x * prefill_devices[p]),
        pl.Series("devices", used),
        pl.Series("group_nodes", nodes),
        pl.Series("users", requests * (seconds + waited + steps * (yielded[d] + output))),
        pl.Series("requests_per_s", requests),
        pl.Series("tokens_per_s", requests * output),
        pl.Series("device_tokens_per_s", requests * output / used),
        pl.Series("user_tokens_per_s", 1.0 / steps),
        pl.Series("ttft_s", ttft),
        pl.Series("tpot_s", steps),
        pl.Series("latency_s", ttft + pairing.answer * steps),
        pl.Series("memory_bytes", memory),
    )
    return plans.select(*PLAN), combinations


def _counts(most: int) -> NDArray[np.int64]:
    """Counts of prefill workers: every count, or a geometric sequence where they are many."""
    if most <= MAX_LISTED_WORKERS:
        return np.arange(1, most + 1)
    return np.unique(np.geomspace(1, most, 2 * MAX_LISTED_WORKERS).round().astype(np.int64))


def _sizes(workers: pl.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    """Devices and requests/s of each worker."""
    return workers["devices"].to_numpy().astype(np.int64), workers["rate"].to_numpy()
