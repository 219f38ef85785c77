"""Kinds of measured operators: their tables, rows and formats, and the shapes of their formulas."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from sweepengine.validation import exchange_tables, recurrent_tables, sparse_tables

FORMAT_OF_TABLE = {
    "bfloat16": "bf16",
    "half": "bf16",
    "fp8": "fp8-tensor",
    "fp8_block": "fp8",
    "nvfp4": "nvfp4",
    "int4_wo": "int4",
    "w4a16_mxfp4": "mxfp4",
    "w4a8_mxfp4_mxfp8": "mxfp4-fp8",
}
"""Name of a format in the tables to its name in rates files."""
MAX_QUERIES_PER_KEY = 16
"""Largest number of query heads per key head in any model; more use other kernels."""


class Kind(NamedTuple):
    """One kind of operator in the tables."""

    name: str
    """Section of a rates file."""
    operator: str
    """Folder of its table."""
    table: str
    shaped: Callable[[pl.DataFrame], list[pl.Series | pl.Expr]]
    """Numbers that the formula takes, from rows; the median is taken over rows of one shape."""
    of_format: pl.Expr
    rows: pl.Expr
    """Filter for the rows of this kind."""
    borrowed: str = ""
    """Serving engine whose table is used for engines without one."""
    instead: tuple[tuple[str, str], ...] = ()
    """Serving engines with another table, and its name."""
    prepared: Callable[[pl.DataFrame, Path], pl.DataFrame] | None = None
    """Makes rows of shapes and latencies of a table, in a folder, that is laid out otherwise."""
    key: tuple[int, ...] = ()
    """Positions in a shape of what decides the kernel; empty: kernels are not told apart."""
    split: int = -1
    """Position of the number of devices that experts are spread over; negative: none."""
    many: tuple[int, int] | None = None
    """Positions of the tokens and the experts of a MoE kernel."""

    def table_of(self, framework: str) -> str:
        """Name of the table of a serving engine."""
        return dict(self.instead).get(framework, self.table)


def _plain(*names: str) -> Callable[[pl.DataFrame], list[pl.Series | pl.Expr]]:
    return lambda _: [pl.col(name) for name in names]


def _named(column: str) -> pl.Expr:
    return pl.col(column).replace_strict(FORMAT_OF_TABLE, default="")


_CACHE_FORMAT = _named("kv_cache_dtype").replace("fp8-tensor", "fp8")
_HEADS = pl.col("num_heads")
_KEY_HEADS = (
    pl.when(pl.col("num_key_value_heads") > 0).then("num_key_value_heads").otherwise(_HEADS)
)
_SIZE = pl.when(pl.col("kv_cache_dtype") == "fp8").then(1.0).otherwise(2.0)
_NARROW = (pl.col("window_size") == 0) & (pl.col("head_dim") <= 128)
_WIDE = (pl.col("window_size") == 0) & (pl.col("head_dim") > 128)
_WINDOW = pl.col("window_size") > 0
_REAL = (_HEADS <= MAX_QUERIES_PER_KEY * _KEY_HEADS) & (pl.col("attn_dtype") == "bfloat16")


def _attention(phase: str, name: str, keys: pl.Expr, rows: pl.Expr) -> Kind:
    numbers = [pl.col("batch_size"), _HEADS, _KEY_HEADS, pl.col("head_dim"), keys,
               pl.col("window_size"), _SIZE]  # fmt: skip
    return Kind(name, "attention", f"{phase}_attention", lambda _: [*numbers], _CACHE_FORMAT,
                rows & _REAL, key=(3,))  # fmt: skip


_CONVOLVED = pl.col("kernel_source").str.contains("conv1d")


_DECODE_KEYS, _PREFILL_KEYS = pl.col("isl") + pl.col("step"), pl.col("isl")
_PLAIN_EXPERTS = (pl.col("topk") == 22) | (pl.col("hidden_size") == 2688)
"""Rows of Nemotron, whose experts have no gate."""
_MATRICES = pl.when(_PLAIN_EXPERTS).then(2.0).otherwise(3.0)
_MOE = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size",
        "moe_ep_size")  # fmt: skip
KINDS = (
    Kind("gemm", "gemm", "gemm", _plain("m", "n", "k"),
         _named("gemm_dtype"), pl.lit(True)),
    _attention("generation", "decode", _DECODE_KEYS, _NARROW),
    _attention("generation", "decode-wide", _DECODE_KEYS, _WIDE),
    _attention("generation", "decode-window", _DECODE_KEYS, _WINDOW),
    _attention("context", "prefill", _PREFILL_KEYS, _NARROW),
    _attention("context", "prefill-wide", _PREFILL_KEYS, _WIDE),
    _attention("context", "prefill-window", _PREFILL_KEYS, _WINDOW),
    Kind("encoder", "encoder_attention", "encoder_attention",
         _plain("batch_size", "num_heads", "head_dim", "isl"), _named("attn_dtype"),
         pl.lit(True)),
    Kind("mixture", "moe", "moe",
         lambda rows: [*map(pl.col, _MOE), _MATRICES,
                       (pl.col("distribution") == "balanced").cast(pl.Float64)],
         _named("moe_dtype"), pl.lit(True), key=(1, 2, 3, 4), split=6, many=(0, 4)),
    Kind("latent-decode", "mla", "generation_mla",
         lambda _: [pl.col("batch_size"), _HEADS, _DECODE_KEYS, _SIZE],
         _CACHE_FORMAT, pl.lit(True), "trtllm"),
    Kind("latent-prefill", "mla", "context_mla",
         lambda _: [pl.col("batch_size"), _HEADS, pl.col("isl")],
         _CACHE_FORMAT, pl.lit(True), "trtllm"),
    Kind("index-logits", "sparse_attention", "glm5_mqa_logits_module", sparse_tables.scored,
         pl.lit("fp8"), pl.lit(True)),
    Kind("index-step", "sparse_attention", "dsv4_paged_mqa_logits_module",
         sparse_tables.scored_step, pl.lit("fp8"), sparse_tables.STEP),
    Kind("top-k", "sparse_attention", "glm5_topk_module", sparse_tables.chosen, pl.lit("bf16"),
         sparse_tables.CHOOSING),
    Kind("sparse-prefill", "sparse_attention", "glm5_dsa_attn_module", sparse_tables.attended,
         _CACHE_FORMAT, pl.lit(True),
         prepared=sparse_tables.with_fp8_cache),
    Kind("convolution", "linear_attention", "gdn", recurrent_tables.convolved, pl.lit("bf16"),
         _CONVOLVED & (pl.col("phase") == "context"), instead=(("trtllm", "mamba2"),)),
    Kind("convolution-step", "linear_attention", "gdn", recurrent_tables.convolved, pl.lit("bf16"),
         _CONVOLVED & (pl.col("phase") == "generation"), instead=(("trtllm", "mamba2"),)),
    Kind("delta-chunks", "linear_attention", "gdn", recurrent_tables.delta_chunks, pl.lit("bf16"),
         ~_CONVOLVED & (pl.col("phase") == "context")),
    Kind("kimi-chunks", "kda", "kda", recurrent_tables.kimi_chunks, pl.lit("bf16"),
         ~_CONVOLVED & (pl.col("phase") == "context")),
    Kind("state-step", "linear_attention", "gdn", recurrent_tables.stepped, pl.lit("bf16"),
         ~_CONVOLVED & (pl.col("phase") == "generation")),
    Kind("exchange", "comm", "wideep_deepep_normal",
         _plain("num_tokens", "hidden_size", "topk", "ep_size"), pl.lit("bf16"), pl.lit(True),
         instead=(("vllm", "moe_a2a"), ("trtllm", "moe_a2a")),
         prepared=exchange_tables.exchanged),
    Kind("all-reduce", "comm", "custom_allreduce",
         lambda _: [2.0 * pl.col("message_size"), pl.col("num_gpus")],
         _named("allreduce_dtype"), ~pl.col("kernel_source").str.contains("eager")),
    Kind("nccl", "comm", "nccl",
         lambda _: [2.0 * pl.col("message_size"), pl.col("num_gpus")], _named("nccl_dtype"),
         pl.col("op_name") == "all_reduce"),
)  # fmt: skip


def table_names(framework: str) -> list[str]:
    """Names of all tables of a serving engine."""
    return list(dict.fromkeys(kind.table_of(framework) for kind in KINDS))
