"""Tables of exchanges between devices that hold experts: dispatch and combine of one node together.

SGLang's table states both in microseconds a row, those of vLLM and TensorRT-LLM a row each. Kernels
are those of high throughput, which run in prefills.
"""

from pathlib import Path

import polars as pl

MILLI = 1e-3
"""Milliseconds per microsecond: other tables are in milliseconds."""
SMS = 20
"""Multiprocessors of high-throughput kernels in DeepEP's defaults."""
_COLUMNS = ("num_tokens", "hidden_size", "topk", "ep_size")
_PRECISIONS = ("default", "fp8", "bfloat16")
"""What is dispatched in, the first that a table has: two bytes a value travel back."""


def _of_sglang(table: pl.DataFrame) -> pl.DataFrame:
    defaults = (pl.col("dispatch_sms") == SMS) & (pl.col("combine_sms") == SMS)
    parts = [f"{way}_{part}_us" for way in ("dispatch", "combine")
             for part in ("transmit", "notify")]  # fmt: skip
    ranks = pl.when(pl.col("device").str.contains("GB")).then(4).otherwise(8)
    return table.filter(defaults & (pl.col("node_num") == 1)).select(
        pl.col("num_token").alias("num_tokens"),
        "hidden_size",
        pl.col("num_topk").alias("topk"),
        ranks.alias("ep_size"),
        (pl.sum_horizontal(parts) * MILLI).alias("latency"),
    )


def exchanged(table: pl.DataFrame, _: Path) -> pl.DataFrame:
    """Rows of tokens, hidden width, experts a token, ranks and latency, from any of the tables."""
    if "num_token" in table.columns:
        return _of_sglang(table)
    rows = table.filter(pl.col("comm_backend").str.ends_with("_ht"))
    known = rows["comm_dtype"].unique().to_list()
    dispatched = next((name for name in _PRECISIONS if name in known), "")
    rows = rows.filter(pl.col("comm_dtype") == dispatched)
    ways = rows.group_by(*_COLUMNS, "phase").agg(pl.median("latency"))
    both = ways.group_by(_COLUMNS).agg(pl.sum("latency") * MILLI, pl.len())
    return both.filter(pl.col("len") == 2).select(*_COLUMNS, "latency").sort(_COLUMNS)
