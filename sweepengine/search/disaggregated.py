"""Some groups of devices prefill, others decode: every ratio that devices or a rate allow.

A group that prefills takes one request after the other a rank, and sends its cache on; it is busy
`BUSY` of the time at most, and requests wait for it as in a queue with one server
(`formulas.serving.queued`). Groups that decode hold a batch each, with no prefill in between.
"""

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.formulas.serving import queued
from sweepengine.search.options import DISAGGREGATED, DeployOptions
from sweepengine.search.plans import KEY, PLAN, spelled_layouts
from sweepengine.search.steady_state import LAID

BUSY = 0.8
"""Part of the time that a group prefills at most: beyond it queues grow without bound."""
GROUPS = 128
"""Numbers of groups that are tried one by one."""
MORE = 4
"""Groups that prefill tried beyond what a rate takes, as those wait less."""
WHOLE = 1 - 1e-12
"""A quotient this near below a whole number is that."""


class Groups(NamedTuple):
    """Groups that no other of the same formats and size beats."""

    prefill: pl.DataFrame = pl.DataFrame()
    decode: pl.DataFrame = pl.DataFrame()

    def beside(self, fitting: pl.DataFrame, output: float) -> "Groups":
        """With candidates more, all of which fit the memory; requests decode `output` tokens."""
        if not output or not fitting.height:
            return self
        ranks = pl.col("data_parallel") / pl.col("prefill_s")
        once = fitting.group_by(*KEY, *LAID, maintain_order=True).first()
        prefill = once.select(*KEY, *LAID, "devices", "memory_bytes", "prefill_s",
                              "prefill_square_s2", rate=ranks,
                              seconds="prefill_share_s")  # fmt: skip
        decode = fitting.select(*KEY, *LAID, "devices", "memory_bytes", "batch_size",
                                rate=pl.col("batch_size") / (pl.col("step_s") * output),
                                seconds="step_s")  # fmt: skip
        return Groups(*(
            _undominated(pl.concat([frame for frame in pair if frame.width]))
            for pair in ((self.prefill, prefill), (self.decode, decode))
        ))  # fmt: skip


def _undominated(frame: pl.DataFrame) -> pl.DataFrame:
    """Of groups of one key and size those that no other beats in both time and rate."""
    size = [*KEY, "devices"]
    ordered = frame.sort("seconds", pl.col("rate").neg(), maintain_order=True)
    before = pl.col("rate").cum_max().shift(1).over(size)
    return ordered.filter(before.is_null() | (pl.col("rate") > before))


def combined(groups: Groups, output: float, options: DeployOptions) -> tuple[pl.DataFrame, int]:
    """Combinations of groups on as many devices as there are, or as many as a rate takes.

    Returns
    -------
    plans : polars.DataFrame
        With the columns `PLAN`.
    looked : int
        How many combinations there are.
    """
    if not groups.prefill.height or not groups.decode.height:
        return pl.DataFrame(), 0
    plans, looked = [], 0
    decode_workers = groups.decode.partition_by(KEY, as_dict=True)
    for key, prefill in groups.prefill.partition_by(KEY, as_dict=True).items():
        if (decode := decode_workers.get(key)) is not None:
            found, many = _of_one_key(prefill, decode, output, options)
            plans.append(found)
            looked += many
    return pl.concat(plans), looked


def _of_one_key(
    prefill: pl.DataFrame, decode: pl.DataFrame, output: float, options: DeployOptions
) -> tuple[pl.DataFrame, int]:
    fill, fills = _sizes(prefill)
    hold, holds = _sizes(decode)
    takes = BUSY * fills
    if options.rate is not None:
        more, p, d = (index.ravel() for index in np.indices((MORE, len(fill), len(hold))))
        x = np.ceil(options.rate / takes[p] * WHOLE).astype(np.int64) + more
        y = np.ceil(options.rate / holds[d] * WHOLE).astype(np.int64)
    else:
        most = options.devices or 0
        counts = _counts(most // int(fill.min()))
        x, p, d = (index.ravel() for index in np.indices((len(counts), len(fill), len(hold))))
        x = counts[x]
        y = (most - x * fill[p]) // hold[d]
    looked = len(x)
    kept = np.flatnonzero(y > 0)
    x, y, p, d = x[kept], y[kept], p[kept], d[kept]
    used = x * fill[p] + y * hold[d]
    requests = np.minimum(x * takes[p], y * holds[d])
    one, other = prefill[p], decode[d]
    busy = requests / (x * fills[p])
    waited = queued(one["prefill_s"].to_numpy(), one["prefill_square_s2"].to_numpy(), busy)
    steps = other["seconds"].to_numpy()
    memory = np.maximum(one["memory_bytes"].to_numpy(), other["memory_bytes"].to_numpy())
    plans = other.select(*KEY, "batch_size").with_columns(
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
        pl.Series("ttft_s", one["seconds"].to_numpy() + waited + steps),
        pl.Series("tpot_s", steps),
        pl.Series("memory_bytes", memory),
    )
    return plans.select(*PLAN), looked


def _counts(most: int) -> NDArray[np.int64]:
    """How many groups may prefill: every number, of many ever larger steps."""
    if most <= GROUPS:
        return np.arange(1, most + 1)
    return np.unique(np.geomspace(1, most, 2 * GROUPS).round().astype(np.int64))


def _sizes(groups: pl.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    """Devices of groups, and requests a second of each."""
    return groups["devices"].to_numpy().astype(np.int64), groups["rate"].to_numpy()
