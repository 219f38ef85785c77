"""Shapes of sparse attention's kernels from rows of their measured tables.

The tables `glm5_*` hold GLM-5's indexer (32 heads of 128 channels) and attention over latents, in
prefills; `dsv4_paged_mqa_logits` the scores of steps with DeepSeek-V4's indexer (64 heads), which
scores one compressed entry of 4 tokens.
"""

import polars as pl

GLM_5 = {"heads": 32, "width": 128, "chosen": 2048, "latent": 512, "rotary": 64}
DEEPSEEK_V4 = {"heads": 64, "width": 128}
_BATCH, _TOKENS, _CACHED = pl.col("batch_size"), pl.col("isl"), pl.col("step")


def scored(_: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Sequences, new and cached tokens, heads and width of an indexer in a prefill."""
    return [_BATCH, _TOKENS, _CACHED, pl.lit(GLM_5["heads"]), pl.lit(GLM_5["width"])]


def chosen(_: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Sequences, new and cached tokens, and keys that are chosen."""
    return [_BATCH, _TOKENS, _CACHED, pl.lit(GLM_5["chosen"])]


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
