"""Shapes of sparse attention's kernels from rows of their measured tables.

The tables `glm5_*` hold GLM-5's indexer (32 heads of 128 channels) and attention over latents, in
prefills; `dsv4_paged_mqa_logits` the scores of steps with DeepSeek-V4's indexer (64 heads), which
scores one compressed entry of 4 tokens.
"""

from pathlib import Path

import polars as pl

from sweepengine.validation.table_columns import SUFFIXES, read_table

GLM_5 = {
    "attention_heads": 64,
    "heads": 32,
    "width": 128,
    "chosen": 2048,
    "latent": 512,
    "rotary": 64,
}
DEEPSEEK_V4 = {"heads": 64, "width": 128}
MODULES = "dsa_context_module"
BF16_KERNEL = "sglang_dsa_skip_indexer_flashmla_sparse"
FP8_KERNEL = "sglang_dsa_skip_indexer_trtllm"
LEAST_TOKENS = 2048
_SHAPE = ("batch_size", "isl", "step")
_BATCH, _TOKENS, _CACHED = pl.col("batch_size"), pl.col("isl"), pl.col("step")


def scored(_: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Sequences, new and cached tokens, heads and width of an indexer in a prefill."""
    return [_BATCH, _TOKENS, _CACHED, pl.lit(GLM_5["heads"]), pl.lit(GLM_5["width"])]


def chosen(_: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Sequences, new and cached tokens, and keys that are chosen."""
    return [_BATCH, _TOKENS, _CACHED, pl.lit(GLM_5["chosen"])]


def with_fp8_cache(table: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """The table of attention, and below it the times of Blackwell's kernel for a KV cache in fp8.

    No table holds that kernel by itself. Modules without an indexer were measured with both, and
    differ in nothing else: from the time of the kernel for bf16 their difference is taken, in
    passes of `LEAST_TOKENS` or more, where the host does not decide.

    Parameters
    ----------
    table : pl.DataFrame
        `glm5_dsa_attn_module`.
    folder : Path
        Of the table.
    """
    plain = table.with_columns(pl.lit("bfloat16").alias("kv_cache_dtype"))
    files = [folder / f"{MODULES}_perf{suffix}" for suffix in SUFFIXES]
    file = next((file for file in files if file.exists()), None)
    if file is None:
        return plain
    of_module = (pl.col("num_heads") == GLM_5["attention_heads"]) & (
        pl.col("gemm_type") == "bfloat16"
    )
    modules = read_table(file, MODULES).filter(of_module)
    both = plain
    for kernel, name in ((BF16_KERNEL, "of_bf16"), (FP8_KERNEL, "of_fp8")):
        rows = modules.filter(pl.col("kernel_source") == kernel)
        both = both.join(rows.group_by(_SHAPE).agg(pl.median("latency").alias(name)), on=_SHAPE)
    faster = pl.col("latency") - pl.col("of_bf16") + pl.col("of_fp8")
    derived = both.with_columns(faster.alias("latency"), pl.lit("fp8").alias("kv_cache_dtype"))
    large = pl.col("batch_size") * pl.col("isl") >= LEAST_TOKENS
    return pl.concat([plain, derived.filter(large).select(plain.columns)])


def attended(_: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Sequences, new tokens, heads, chosen keys, latent and rotated channels."""
    fixed = [pl.lit(GLM_5[name]) for name in ("chosen", "latent", "rotary")]
    return [_BATCH, _TOKENS, pl.col("num_heads"), *fixed]


def scored_step(_: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Sequences, new tokens and entries of a step, heads and width of an indexer."""
    entries = _CACHED // pl.col("compress_ratio")
    heads, width = (pl.lit(DEEPSEEK_V4[name]) for name in ("heads", "width"))
    return [_BATCH, _TOKENS, entries, heads, width]


CHOOSING = GLM_5["chosen"] < _TOKENS + _CACHED
"""Rows in which keys are chosen."""
STEP = (_TOKENS == 1) & pl.col("kernel_source").str.contains("fp8_paged_mqa_logits")
