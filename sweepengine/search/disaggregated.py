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

    def with_candidates(self, fitting: pl.DataFrame, output: float) -> "Workers":
        """Add candidates that fit the memory; requests decode `output` tokens on average."""
        if not output or not fitting.height:
            return self
        ranks = pl.col("data_parallel") / pl.col("prefill_s")
        once = fitting.group_by(*SHARED, *LAYOUT_COLUMNS, maintain_order=True).first()
        prefill = once.select(*SHARED, *LAYOUT_COLUMNS, "devices", "memory_bytes", "prefill_s",
                              "prefill_square_s2", rate=ranks,
                              seconds="prefill_share_s")  # fmt: skip
        decode = fitting.select(*SHARED, *LAYOUT_COLUMNS, "devices", "memory_bytes", "batch_size",
                                "max_sequences", "chunk_tokens",
                                "step_s",
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


def combined(workers: Workers, output: float, options: DeployOptions) -> tuple[pl.DataFrame, int]:
    """Combine prefill and decode workers on the given devices, or on as many as a rate needs.

    Parameters
    ----------
    workers : Workers
    output : float
        Mean tokens that a request decodes.
    options : DeployOptions

    Returns
    -------
    plans : polars.DataFrame
        With the columns `PLAN`.
    count : int
        Combinations.
    """
    if not workers.prefill.height or not workers.decode.height:
        return pl.DataFrame(), 0
    plans, count = [], 0
    decode_workers = workers.decode.partition_by(SHARED, as_dict=True)
    for key, prefill in workers.prefill.partition_by(SHARED, as_dict=True).items():
        if (decode := decode_workers.get(key)) is not None:
            of_key, combinations = _of_one_key(prefill, decode, output, options)
            plans.append(of_key)
            count += combinations
    return pl.concat(plans), count


def _of_one_key(
    prefill: pl.DataFrame, decode: pl.DataFrame, output: float, options: DeployOptions
) -> tuple[pl.DataFrame, int]:
    """Plans of workers of one key: x prefill workers of kind p and y decode workers of kind d."""
    prefill_devices, prefill_rate = _sizes(prefill)
    decode_devices, decode_rate = _sizes(decode)
    sustained = MAX_BUSY * prefill_rate
    kinds = len(prefill), len(decode)
    if options.rate is not None:
        extra, p, d = (index.ravel() for index in np.indices((EXTRA_WORKERS, *kinds)))
        x = np.ceil(options.rate / sustained[p] * ROUNDING).astype(np.int64) + extra
        y = np.ceil(options.rate / decode_rate[d] * ROUNDING).astype(np.int64)
    else:
        most = options.devices or 0
        counts = _counts(most // int(prefill_devices.min()))
        x, p, d = (index.ravel() for index in np.indices((len(counts), *kinds)))
        x = counts[x]
        y = (most - x * prefill_devices[p]) // decode_devices[d]
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
    memory = np.maximum(prefills["memory_bytes"].to_numpy(), decodes["memory_bytes"].to_numpy())
    settings = ("max_sequences", "chunk_tokens")
    plans = decodes.select(*SHARED, "batch_size", *settings).with_columns(
        pl.lit(DISAGGREGATED).alias("mode"),
        pl.col("batch_size").cast(pl.Int64),
        spelled_layouts(decode)[d],
        spelled_layouts(prefill)[p].alias("prefill_layout"),
        pl.Series("replicas", y),
        pl.Series("prefill_groups", x),
        pl.Series("devices", used),
        pl.Series("requests_per_s", requests),
        pl.Series("tokens_per_s", requests * output),
        pl.Series("device_tokens_per_s", requests * output / used),
        pl.Series("user_tokens_per_s", 1.0 / steps),
        pl.Series("ttft_s", prefills["seconds"].to_numpy() + waited + decodes["step_s"].to_numpy()),
        pl.Series("tpot_s", steps),
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
