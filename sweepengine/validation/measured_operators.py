"""Measured operators from the tables of the extra `silicon`, or from a folder of the user.

`KINDS` states for each kind of operator its table, its rows, the shape that its formula takes
from a row, and the format. Latencies in the tables are in ms.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sweepengine.data.errors import InputError
from sweepengine.data.serving_engines import order_of
from sweepengine.validation import exchange_tables, recurrent_tables, sparse_tables

Floats = NDArray[np.float64]
MICROSECONDS = 1e3
"""Microseconds per millisecond."""
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
MIN_ROWS = 60
"""Least number of rows of a fit."""
MIN_SHAPES = 30
"""Least number of distinct shapes of a fit."""
LOW_LATENCY = "min_latency"
"""Part of the names of kernels that a serving engine runs wherever they are faster."""
ALL_KERNELS = "all"
"""Name of the kernel where those of a table are not told apart."""


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


class Measured(NamedTuple):
    """Measurements of one kind in one format."""

    shapes: Floats
    """Shape (rows, numbers of the kind)."""
    microseconds: Floats
    """Shape (rows,), us."""
    training: NDArray[np.bool_]
    """Shape (rows,): rows to fit; the others are held out."""
    version: str
    kernels: tuple[str, ...]
    """Of each row."""


class Tables(NamedTuple):
    """A folder of measured tables."""

    folder: Path
    system: str
    """Name of the device in the package of the tables; empty for a folder of the user."""

    def find(self, kind: Kind, framework: str) -> tuple[Path, str] | None:
        """The newest complete table of a kind, and its version; None where there is none.

        A version with fewer than half the rows of the largest one is skipped as incomplete.
        """
        if not self.system:
            paths = sorted(self.folder.rglob(f"{kind.table_of(framework)}_perf.*"))
            return (paths[0], "own") if paths else None
        of_nccl = "nccl" if kind.name == "nccl" else framework
        home = self.folder / "data" / self.system / kind.operator / of_nccl
        tables = sorted(
            home.glob(f"*/{kind.table_of(framework)}_perf.parquet"),
            key=lambda p: order_of(p.parent.name),
        )
        if not tables and kind.borrowed and framework != kind.borrowed:
            return self.find(kind, kind.borrowed)
        if not tables:
            return None
        sizes = {path: pl.scan_parquet(path).select(pl.len()).collect().item() for path in tables}
        complete = [path for path in tables if 2 * sizes[path] >= max(sizes.values())]
        return complete[-1], complete[-1].parent.name

    def read(
        self, kind: Kind, framework: str, rows: int = MIN_ROWS, shapes: int = MIN_SHAPES
    ) -> dict[str, Measured]:
        """Measurements of a kind by format; formats with fewer rows or shapes are left out.

        Parameters
        ----------
        kind : Kind
        framework : str
            The serving engine.
        rows, shapes : int
            Least number of rows and of distinct shapes; by default those of a fit.

        Raises
        ------
        InputError
            When a table cannot be read, lacks a column, or has text in place of a number.
        """
        if (table_file := self.find(kind, framework)) is None:
            return {}
        path, version = table_file
        reader: Any = pl.read_csv if path.suffix == ".csv" else pl.read_parquet
        try:
            table = reader(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise InputError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
        if kind.prepared is not None:
            table = kind.prepared(table, path.parent)
        for name, value in (("window_size", 0), ("step", 0), ("kernel_source", ALL_KERNELS)):
            if name not in table.columns:
                table = table.with_columns(pl.lit(value).alias(name))
        if "distribution" in table.columns and (table["distribution"] == "balanced").any():
            table = table.filter(pl.col("distribution") == "balanced")
        try:
            named = table.with_columns(kind.of_format.alias("rates_format"))
            kept = named.filter(
                kind.rows & (pl.col("rates_format") != "") & (pl.col("latency") > 0)
            )
            numbers = [n.cast(pl.Float64) for n in kind.shaped(kept)]
            names = [f"number_{i}" for i in range(len(numbers))]
            shaped = kept.select(
                "rates_format",
                "kernel_source",
                "latency",
                *(number.alias(name) for number, name in zip(numbers, names, strict=True)),
            )
        except pl.exceptions.ColumnNotFoundError as error:
            missing = str(error).splitlines()[0]
            raise InputError(f"{path}: column {missing}: required for {kind.name}") from None
        except pl.exceptions.PolarsError as error:
            raise InputError(f"{path}: {' '.join(str(error).split())}") from None
        found = {
            str(name): _measured(kind, part, names, version)
            for (name,), part in shaped.sort("rates_format", *names).partition_by(
                "rates_format", as_dict=True
            ).items()
            if part.height >= rows
        }  # fmt: skip
        return {name: one for name, one in found.items() if len(one.shapes) >= shapes}


def _measured(kind: Kind, rows: pl.DataFrame, names: list[str], version: str) -> Measured:
    if not kind.key:
        rows = rows.with_columns(pl.lit(ALL_KERNELS).alias("kernel_source"))
    single = rows.group_by(*names, "kernel_source", maintain_order=True).agg(pl.median("latency"))
    single = _of_run_kernels(kind, _fastest(single, names), names)
    keys = single.select(pl.concat_str(names, separator=" ")).to_series().to_list()
    training = [_is_training(key) for key in keys]
    return Measured(
        np.ascontiguousarray(single.select(names).to_numpy()),
        single["latency"].to_numpy() * MICROSECONDS,
        np.array(training),
        version,
        tuple(single["kernel_source"]),
    )


@cache
def _is_training(shape: str) -> bool:
    """Whether a shape is fitted, not held out: half of them, the same for all devices."""
    return hashlib.sha256(shape.encode()).digest()[0] % 2 == 1


def _fastest(rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Shapes that a `LOW_LATENCY` kernel runs too have its name and the shorter of both times."""
    quick = pl.col("kernel_source").str.contains(LOW_LATENCY)
    if not rows.select(quick.any()).item():
        return rows
    both = rows.filter(quick.any().over(names))
    merged = both.group_by(names, maintain_order=True).agg(
        pl.col("kernel_source").filter(quick).first(), pl.min("latency")
    )
    return pl.concat([rows.filter(~quick.any().over(names)), merged]).sort(names)


def _of_run_kernels(kind: Kind, rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Rows of the kernel that has most of them for what decides it; other rows are dropped."""
    decide = [pl.col(names[position]) for position in kind.key]
    if kind.split >= 0:
        decide.append(pl.col(names[kind.split]) > 1)
    if not decide:
        return rows
    counted = rows.with_columns(pl.len().over(*decide, "kernel_source").alias("of_kernel"))
    first = pl.col("kernel_source").sort_by(
        pl.col("of_kernel"), pl.col("kernel_source"), descending=[True, False]
    ).first().over(decide)  # fmt: skip
    kept = counted.filter(pl.col("kernel_source") == first)
    large = kept.filter(pl.len().over("kernel_source") >= MIN_ROWS)
    return large if large.height else kept


def silicon_folder(part: str) -> Path:
    """A folder of the extra `silicon`: "systems" or "model_configs".

    Raises
    ------
    InputError
        When the extra is not installed.
    """
    spec = find_spec("aiconfigurator_core")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "aiconfigurator-core is not installed: expected the extra, "
            "pip install 'sweepengine[silicon]'"
        )
    return Path(next(iter(spec.submodule_search_locations))) / part


def shipped_tables() -> Path:
    """Folder of measured tables of the extra `silicon`."""
    return silicon_folder("systems")
