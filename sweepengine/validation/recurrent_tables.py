"""Shapes of recurrent mixers from rows of their measured tables.

The tables `gdn` and `kda` hold delta nets, `mamba2` convolutions alone. Where a table `gdn` knows
one number of key heads, its convolutions took the same time whatever the value heads: they run over
the channels of the keys alone.
"""

from collections.abc import Callable

import polars as pl

from sweepengine.formulas.architecture import NO_RECURRENT, Recurrent
from sweepengine.formulas.gemms import convolved_width
from sweepengine.formulas.mixers import Mixing, gated_delta_net, kimi_delta_attention

CHUNK = 64
"""Tokens of a chunk of a delta net."""
_BATCH, _TOKENS = pl.col("batch_size"), pl.col("seq_len")


def convolved(rows: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Sequences, tokens, channels and taps of convolutions."""
    if "nheads" in rows.columns:
        channels = pl.col("nheads") * pl.col("head_dim")
        channels = channels + 2 * pl.col("n_groups") * pl.col("d_state")
    else:
        keys = pl.col("num_k_heads") * pl.col("head_k_dim")
        channels = keys
        if rows["num_k_heads"].n_unique() > 1:
            channels = 2 * keys + pl.col("num_v_heads") * pl.col("head_v_dim")
    return [_BATCH, _TOKENS, channels, pl.col("d_conv")]


def _mixers(rows: pl.DataFrame) -> list[Recurrent]:
    """The delta net of each row."""
    named = rows.select("num_v_heads", "num_k_heads", "head_k_dim", "head_v_dim")
    return [
        NO_RECURRENT._replace(
            heads=heads, key_heads=key_heads, key_width=keys, value_width=values, chunk=CHUNK
        )
        for heads, key_heads, keys, values in named.iter_rows()
    ]


def _chunked(
    rows: pl.DataFrame, formula: Callable[[Recurrent, int, int], Mixing]
) -> list[pl.Series | pl.Expr]:
    found = _mixers(rows)
    tokens = rows["seq_len"].to_list()
    work = [formula(m, t, 0).tensor_flops for m, t in zip(found, tokens, strict=True)]
    channels = [convolved_width(m) + m.heads * m.value_width for m in found]
    state = [m.heads * m.key_width * m.value_width for m in found]
    return [_BATCH, _TOKENS, pl.Series(work), pl.Series(channels), pl.Series(state)]


def delta_chunks(rows: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Sequences, tokens, work, channels and state of a gated delta net's chunks."""
    return _chunked(rows, gated_delta_net)


def kimi_chunks(rows: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """The same of Kimi delta attention's chunks."""
    return _chunked(rows, kimi_delta_attention)


def stepped(rows: pl.DataFrame) -> list[pl.Series | pl.Expr]:
    """Sequences, tokens and state of steps."""
    state = pl.col("num_v_heads") * pl.col("head_k_dim") * pl.col("head_v_dim")
    return [_BATCH, pl.lit(1), state]
