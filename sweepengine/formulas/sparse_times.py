"""Seconds of sparse latent attention, whose indexer scores all keys and chooses some of them.

Times are in microseconds, of one device's share; rates stand in `operator_rates.py`. Source of the
forms: docs/times.md, "Sparse attention".
"""

from sweepengine.formulas.architecture import Attention
from sweepengine.formulas.cost import formula
from sweepengine.formulas.operator_rates import (
    IndexRates,
    IndexStepRates,
    SparseRates,
    TopKRates,
)
from sweepengine.formulas.seconds import Line
from sweepengine.formulas.speeds import Speeds

SCORE = 4.0
"""Bytes of a score."""


@formula
def is_sparse(attention: Attention, tokens: int, cached: int, dense: int) -> int:
    """1 where a prefill attends to chosen keys alone, its own indexer's or an earlier layer's.

    Parameters
    ----------
    attention : Attention
        A device's share.
    tokens, cached : int
        New tokens of each sequence, and those before them.
    dense : int
        1: a serving engine chooses none where a prefill meets no more keys than are chosen.
    """
    if attention.latent == 0 or attention.index_keys == 0 or attention.stride > 0:
        return 0
    return 1 if cached + tokens > attention.index_keys * dense else 0


@formula
def index_logits(
    sequences: float, tokens: float, cached: float, heads: float, width: float, rates: IndexRates
) -> float:
    """Scores of all keys for s new tokens of each of b sequences behind c cached ones, us.

    `t0 + max(L, C) + g*min(L, C)`: a block walks all keys, `L = cs*(c+s)`; work
    `C = 2*n*h*b*(s*c + s*(s+pad)/2)/flops` of n index heads of h channels.
    """
    pairs = tokens * cached + tokens * (tokens + rates.pad) / 2.0
    work = 2.0 * sequences * heads * width * pairs / rates.flops
    walked = rates.latency * (cached + tokens)
    return rates.launch + max(walked, work) + rates.overlap * min(walked, work)


@formula
def top_k(sequences: float, tokens: float, cached: float, chosen: float, rates: TopKRates) -> float:
    """Choice of k keys for each token that meets more, us.

    `t0 + max(L, C) + g*min(L, C)`: a block walks the scores of a token, `L = cs*(c+s)`; all of them
    are `C = b*(4*pairs/bytes + ct*n)`, n tokens of a sequence that meet more than k keys.
    """
    choosing = tokens - max(0.0, min(tokens, chosen - cached))
    if choosing <= 0.0:
        return 0.0
    pairs = choosing * (cached + tokens) - choosing * (choosing - 1.0) / 2.0
    moved = sequences * (SCORE * pairs / rates.bytes + rates.row * choosing)
    walked = rates.latency * (cached + tokens)
    return rates.launch + max(walked, moved) + rates.overlap * min(walked, moved)


@formula
def sparse_prefill(
    sequences: float,
    tokens: float,
    heads: float,
    chosen: float,
    latent: float,
    rotary: float,
    rates: SparseRates,
) -> float:
    """Attention of s tokens of each of b sequences to k chosen latents each, absorbed, us.

    `max(t0, C) + g*min(t0, C)`, `C = 2*b*s*max(n, n0)*k*(2c+r)/flops`: a wave of blocks takes t0,
    and a token costs k keys however few it meets, and n0 heads where it has fewer.
    """
    filled = max(heads, rates.block)
    work = 2.0 * sequences * tokens * filled * chosen * (2.0 * latent + rotary) / rates.flops
    return max(rates.launch, work) + rates.overlap * min(rates.launch, work)


@formula
def chosen_us(attention: Attention, sequences: float, tokens: int, speeds: Speeds) -> float:
    """Attention of a prefill to the keys that its indexer chose, us."""
    return sparse_prefill(
        sequences,
        tokens,
        attention.heads,
        attention.index_keys,
        attention.latent,
        attention.rotary_width,
        speeds.sparse_prefill,
    )


@formula
def choosing_us(
    attention: Attention, sequences: float, tokens: int, cached: int, speeds: Speeds
) -> float:
    """Scores and choice of an indexer in a prefill, us; 0 where attention is dense."""
    if is_sparse(attention, tokens, cached, speeds.host.dense_prefills) == 0:
        return 0.0
    heads, width = attention.index_heads, attention.index_width
    scored = index_logits(sequences, tokens, cached, heads, width, speeds.index_logits)
    return scored + top_k(sequences, tokens, cached, attention.index_keys, speeds.top_k)


@formula
def index_step_line(
    sequences: float, tokens: float, heads: float, width: float, rates: IndexStepRates
) -> Line:
    """Scores of a step of q tokens for each of b sequences, as a line in the keys, us.

    `t0 + cq*b*q + max(b*K*(h+4)/bytes, 2*b*q*n*h*K/flops)` at K keys: h channels in fp8 and
    a scale each.
    """
    return Line(
        launch=rates.launch,
        latency=0.0,
        latency_keys=0.0,
        base=rates.query * sequences * tokens,
        growth=sequences * (width + SCORE) / rates.bytes,
        work=2.0 * sequences * tokens * heads * width / rates.flops,
    )


@formula
def choosing_line(attention: Attention, sequences: float, tokens: int, speeds: Speeds) -> Line:
    """Scores and choice of an indexer in a step, as a line in the keys that it scores, us.

    The choice adds to every key, whatever bounds the scores. Its start comes in evenly up to k
    keys, as up to there nothing is chosen.
    """
    scores = index_step_line(
        sequences, tokens, attention.index_heads, attention.index_width, speeds.index_step
    )
    rates, chosen = speeds.top_k, float(attention.index_keys)
    key = rates.latency + SCORE * sequences * tokens / rates.bytes
    return Line(
        launch=scores.launch,
        latency=rates.launch / chosen,
        latency_keys=chosen,
        base=scores.base,
        growth=scores.growth + key,
        work=scores.work + key,
    )
