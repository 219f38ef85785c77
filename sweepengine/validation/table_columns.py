"""Columns of measured tables of operators, and tables read with every value of them checked."""

from pathlib import Path
from typing import NamedTuple

import polars as pl

from sweepengine.data.errors import InputError


class Columns(NamedTuple):
    """Columns that a table needs; others are not read, or are optional."""

    words: tuple[str, ...]
    sizes: tuple[str, ...]
    """Whole numbers."""
    times: tuple[str, ...] = ("latency",)

    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.words + self.sizes + self.times


ALL_KERNELS = "all"
"""Name of the kernel where those of a table are not told apart."""
OPTIONAL_WORDS = {"kernel_source": ALL_KERNELS}
OPTIONAL_SIZES = {"step": 0, "window_size": 0}
"""Columns that a table may leave out where it does not need them, and their value there."""
MAY_BE_ZERO = frozenset({"step", "window_size", "num_key_value_heads"})
"""Sizes of 0: nothing cached, no window, as many key-value heads as query heads."""
SUFFIXES = (".csv", ".parquet")
MOST = 2**53
"""Sizes are smaller, so that Float64 holds them."""
_HEADS = ("num_heads", "num_key_value_heads", "head_dim")
_ATTENTION = ("attn_dtype", "kv_cache_dtype")
_INDEXER = ("batch_size", "isl", "step")
_MIXER = ("kernel_source", "phase")
_DELTA_NET = ("batch_size", "seq_len", "num_k_heads", "head_k_dim", "num_v_heads", "head_v_dim")
_DISPATCHES = tuple(
    f"{way}_{part}_us" for way in ("dispatch", "combine") for part in ("transmit", "notify")
)
COLUMNS = {
    "gemm": Columns(("gemm_dtype",), ("m", "n", "k")),
    "generation_attention": Columns(_ATTENTION, (*_HEADS, "batch_size", "isl", "step")),
    "context_attention": Columns(_ATTENTION, (*_HEADS, "batch_size", "isl")),
    "encoder_attention": Columns(("attn_dtype",), ("batch_size", "num_heads", "head_dim", "isl")),
    "moe": Columns(
        ("moe_dtype", "distribution"),
        ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size",
         "moe_ep_size"),
    ),
    "generation_mla": Columns(("kv_cache_dtype",), ("batch_size", "num_heads", "isl", "step")),
    "context_mla": Columns(("kv_cache_dtype",), ("batch_size", "num_heads", "isl")),
    "glm5_mqa_logits_module": Columns((), _INDEXER),
    "glm5_topk_module": Columns((), _INDEXER),
    "glm5_dsa_attn_module": Columns((), ("batch_size", "isl", "num_heads")),
    "dsa_context_module": Columns(("kernel_source", "gemm_type"), ("num_heads", *_INDEXER)),
    "dsv4_paged_mqa_logits_module": Columns(("kernel_source",), (*_INDEXER, "compress_ratio")),
    "gdn": Columns(_MIXER, (*_DELTA_NET, "d_conv")),
    "kda": Columns(_MIXER, _DELTA_NET),
    "mamba2": Columns(
        _MIXER,
        ("batch_size", "seq_len", "d_conv", "nheads", "head_dim", "n_groups", "d_state"),
    ),
    "moe_a2a": Columns(
        ("comm_backend", "comm_dtype", "phase"), ("num_tokens", "hidden_size", "topk", "ep_size")
    ),
    "wideep_deepep_normal": Columns(
        ("device",),
        ("num_token", "hidden_size", "num_topk", "node_num", "dispatch_sms", "combine_sms"),
        _DISPATCHES,
    ),
    "custom_allreduce": Columns(("kernel_source", "allreduce_dtype"), ("message_size", "num_gpus")),
    "nccl": Columns(("nccl_dtype", "op_name"), ("message_size", "num_gpus")),
}  # fmt: skip
"""Of each table, named NAME_perf.parquet or NAME_perf.csv."""


def read_table(path: Path, name: str) -> pl.DataFrame:
    """Read a measured table: words as text, sizes as Int64, times as Float64, optional ones too.

    Parameters
    ----------
    path : Path
        A CSV or Parquet file.
    name : str
        One of `COLUMNS`.

    Raises
    ------
    InputError
        When it cannot be read, lacks a column, or a column that is needed has no value in a row or
        one that it may not have.
    """
    try:
        if path.suffix == ".csv":
            table = pl.read_csv(path, infer_schema=False, glob=False)
        else:
            table = pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    needed = COLUMNS[name]
    if lacking := [column for column in needed.names() if column not in table.columns]:
        raise InputError(
            f"{path}: column {lacking[0]} is missing: expected {', '.join(needed.names())}"
        )
    optional: dict[str, str | int] = OPTIONAL_WORDS | OPTIONAL_SIZES
    table = table.with_columns(
        pl.lit(value).alias(name) for name, value in optional.items() if name not in table.columns
    )
    words = dict.fromkeys((*needed.words, *OPTIONAL_WORDS))
    sizes = dict.fromkeys((*needed.sizes, *OPTIONAL_SIZES))
    return table.with_columns(
        *(_words(path, table[column]) for column in words),
        *(_sizes(path, table[column]) for column in sizes),
        *(_times(path, table[column]) for column in needed.times),
    )


def _words(path: Path, values: pl.Series) -> pl.Series:
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise InputError(f"{path}: {values.name} is of type {values.dtype}: expected text")
    _refuse(path, values, values.is_null(), "text")
    return values.cast(pl.String)


def _sizes(path: Path, values: pl.Series) -> pl.Series:
    least = int(values.name not in MAY_BE_ZERO)
    numbers = _numbers(path, values)
    whole = (numbers >= least) & (numbers < MOST) & (numbers == numbers.floor())
    _refuse(path, values, ~whole.fill_null(value=False), f"a whole number, {least} or more")
    return numbers.cast(pl.Int64)


def _times(path: Path, values: pl.Series) -> pl.Series:
    numbers = _numbers(path, values)
    some = numbers.is_finite() & (numbers >= 0)
    _refuse(path, values, ~some.fill_null(value=False), "a finite number, 0 or more")
    return numbers


def _numbers(path: Path, values: pl.Series) -> pl.Series:
    """Values as Float64; nothing where text is no number."""
    if not (values.dtype.is_numeric() or values.dtype == pl.String):
        raise InputError(f"{path}: {values.name} is of type {values.dtype}: expected numbers")
    return values.cast(pl.Float64, strict=False)


def _refuse(path: Path, values: pl.Series, bad: pl.Series, expected: str) -> None:
    if bad.any():
        row = bad.arg_max() or 0
        found = "is empty" if values[row] is None else f"= {values[row]}"
        raise InputError(f"{path}: row {row + 1}: {values.name} {found}: expected {expected}")
