"""Seconds of attention: its projections, its prefill, and its steps as lines in the keys they meet.

Times are in microseconds, of one device's share.
"""

from typing import NamedTuple

from sweepengine.formulas.architecture import Attention, Span
from sweepengine.formulas.attention import chooses, entry_values
from sweepengine.formulas.cost import formula
from sweepengine.formulas.gemms import (
    compressor_gemm,
    gemms_us,
    indexer_gemms,
    indexer_query,
    into_attention,
    latent_up,
    out_of_attention,
)
from sweepengine.formulas.operator_rates import PrefillRates
from sweepengine.formulas.seconds import (
    NO_LINE,
    Line,
    at_keys,
    decode_line,
    filled_width,
    gemm,
    latent_decode_line,
    latent_prefill,
    prefill_attention,
    up_to,
)
from sweepengine.formulas.sparse_times import (
    choosing_line,
    choosing_us,
    chosen_us,
    is_sparse,
)
from sweepengine.formulas.speeds import Speeds
from sweepengine.formulas.tokens import Pass, entries_of_pass, keys_of_pass

WIDE = 128
"""Channels of a head from which on attention has kernels of its own."""


@formula
def projection_us(
    attention: Attention, hidden: int, rows: float, expanded: float, speeds: Speeds
) -> float:
    """Projections around attention of `rows` tokens, us.

    Parameters
    ----------
    attention : Attention
        A device's share.
    hidden : int
        h.
    rows : float
        Tokens of all sequences.
    expanded : float
        Tokens whose latents expand; 0: a decode step, where `latent_up` is absorbed as two GEMMs
        in bf16, one for queries and one for mixed latents.
    speeds : Speeds
        Rates of the device.
    """
    rates = speeds.attention
    found = gemms_us(into_attention(attention, hidden), rows, rates)
    if expanded > 0.0:
        found += gemms_us((latent_up(attention),), expanded, rates)
    else:
        plain = attention.heads * (attention.key_width - attention.rotary_width)
        values = attention.heads * attention.value_width
        found += gemm(rows, plain, attention.latent, speeds.plain)
        found += gemm(rows, values, attention.latent, speeds.plain)
    return found + gemms_us(out_of_attention(attention, hidden), rows, rates)


@formula
def indexer_us(attention: Attention, hidden: int, rows: float, speeds: Speeds) -> float:
    """GEMMs of an indexer; its scores grow with the keys (`step_lines`, `index_scores`)."""
    found = gemms_us((indexer_query(attention, hidden),), rows, speeds.attention)
    made = compressor_gemm(attention, attention.index_width, hidden)
    if attention.index_heads > 0:
        found += gemms_us((made,), rows, speeds.plain)
    return found + gemms_us(indexer_gemms(attention, hidden), rows, speeds.plain)


@formula
def time_window(attention: Attention) -> int:
    """Keys that kernels attend to at most: of a window, or those that an indexer chose; 0: all.

    Counts meet all keys of a sparse attention, as transformers masks the others; kernels do not.
    A layer without an indexer takes the choice of an earlier one.
    """
    if attention.index_keys > 0 and attention.stride == 0:
        return attention.index_keys
    return attention.window


@formula
def attended_entries(attention: Attention, tokens: int, cached: int) -> int:
    """Compressed entries that a token of a pass attends to in the mean.

    Those of cached tokens and half of the pass's own; an indexer chooses at most `index_keys`.
    """
    met = entries_of_pass(tokens - tokens // 2, cached, attention.stride)
    return min(met, attention.index_keys) if attention.index_keys > 0 else met


@formula
def attended_us(
    attention: Attention, sequences: float, tokens: int, cached: int, speeds: Speeds
) -> float:
    """Attention of a prefill; entries beside a window widen it."""
    if attention.heads == 0:
        return 0.0
    if is_sparse(attention, tokens, cached, speeds.host.dense_prefills) > 0:
        return chosen_us(attention, sequences, tokens, speeds)
    if attention.latent > 0:
        return latent_prefill(
            sequences,
            attention.heads,
            attention.key_width,
            attention.value_width,
            tokens,
            cached,
            speeds.latent_prefill,
        )
    window = time_window(attention)
    rates = speeds.prefill
    if window > 0:
        rates = speeds.prefill_window
        window += attended_entries(attention, tokens, cached)
    elif attention.key_width > WIDE:
        rates = speeds.prefill_wide
    times = 1 + attention.difference
    return prefill_attention(
        sequences,
        times * attention.heads,
        times * attention.key_value_heads,
        attention.key_width,
        tokens,
        cached,
        window,
        speeds.cached,
        rates,
    )


def attended_share(attention: Attention, tokens: int, cached: int) -> float:
    """Part of the rectangle that counts hold which kernels do: a causal half, a window's band.

    All of it where tokens attend to features of images.
    """
    if attention.crossed:
        return 1.0
    window = time_window(attention)
    uncut = min(tokens, max(0, window - cached)) if window else tokens
    pairs = uncut * cached + uncut * (uncut + 1) / 2 + (tokens - uncut) * window
    keys = keys_of_pass(tokens, cached, attention.window)
    entries = entries_of_pass(tokens, cached, attention.stride)
    chosen = attended_entries(attention, tokens, cached)
    return (pairs + tokens * chosen) / (tokens * (keys + entries))


@formula
def index_scores(
    attention: Attention, sequences: float, tokens: int, cached: int, speeds: Speeds
) -> float:
    """Scores of an indexer in a prefill, and its choice; us.

    Of compressed entries or blocks of keys, whose choice no table measured, the scores alone, at
    the rate of the GEMMs of attention.
    """
    if chooses(attention) > 0:
        return choosing_us(attention, sequences, tokens, cached, speeds)
    met = cached + tokens / 2.0
    stride = max(attention.stride, 1)
    flops = 2.0 * sequences * tokens * met / stride * attention.index_heads * attention.index_width
    return flops / speeds.attention.flops


class StepLines(NamedTuple):
    """A step's attention in one layer: over the keys of `time_spans`, and over what is beside."""

    attended: Line
    beside: Line
    """An indexer's scores of all keys, or compressed entries."""


class TimeSpans(NamedTuple):
    """Which keys the lines of `StepLines` are over."""

    attended: Span
    beside: Span


@formula
def time_spans(attention: Attention) -> TimeSpans:
    """Keys within `time_window`, and all keys or entries that an indexer scores.

    Entries that it chooses widen a window by as many; tokens stand for those that are missing.
    """
    stride, window = attention.stride, time_window(attention)
    if window > 0:
        window += min(stride, 1) * attention.index_keys
    return TimeSpans(Span(window, 0, 1), Span(0, stride, attention.series))


@formula
def step_lines(
    attention: Attention, sequences: float, speeds: Speeds, tokens: int = 1
) -> StepLines:
    """Attention of a step of b sequences, as lines in the keys that it meets; us.

    Beside keys it attends to all compressed entries, or scores them where an indexer chooses.
    None of cross attention, whose keys are as many in all steps (`crossed_us`).

    Parameters
    ----------
    attention : Attention
        A device's share.
    sequences : float
        b.
    speeds : Speeds
        Rates of the device.
    tokens : int
        New tokens of each sequence: those that a step verifies.
    """
    if attention.heads == 0 or attention.crossed > 0:
        return StepLines(NO_LINE, NO_LINE)
    beside = NO_LINE
    if chooses(attention) > 0:
        beside = choosing_line(attention, sequences, tokens, speeds)
    indexed = attention.index_heads * attention.index_width
    if chooses(attention) == 0 and (indexed > 0 or attention.stride > 0):
        entry, channels = attention.index_width, indexed
        if indexed == 0:
            entry = entry_values(attention)
            channels = 2 * attention.heads * attention.key_width
        beside = Line(
            launch=0.0,
            latency=0.0,
            latency_keys=0.0,
            base=0.0,
            growth=sequences * entry * speeds.cached / speeds.decode.bytes,
            work=2.0 * sequences * tokens * channels / speeds.attention.flops,
        )
    if attention.latent > 0:
        line = latent_decode_line(
            sequences,
            attention.heads,
            attention.latent,
            attention.rotary_width,
            speeds.cached,
            speeds.latent_decode,
            tokens,
        )
        return StepLines(line, beside)
    return StepLines(grouped_line(attention, sequences, speeds, tokens), beside)


@formula
def grouped_line(attention: Attention, sequences: float, speeds: Speeds, tokens: int) -> Line:
    """A step's attention of grouped heads, as a line in the keys that it meets; us.

    Parameters are those of `step_lines`.
    """
    rates = speeds.decode
    if time_window(attention) > 0:
        rates = speeds.decode_window
    elif attention.key_width > WIDE:
        rates = speeds.decode_wide
    times = 1 + attention.difference
    return decode_line(
        sequences,
        times * attention.heads,
        times * attention.key_value_heads,
        attention.key_width,
        speeds.cached,
        rates,
        tokens,
    )


@formula
def cross_attention(
    sequences: float,
    heads: float,
    key_heads: float,
    width: float,
    tokens: float,
    features: float,
    value_bytes: float,
    rates: PrefillRates,
) -> float:
    """Attention of s new tokens to S features of images, us.

    That of a prefill whose keys are cached, `prefill_attention` without its causal part:
    `t0 + cs*S + ct*b*n*h/128 + max(C, M) + o*min(C, M)`, `C = 4*b*n*s*S*h'/flops` and
    `M = b*h*(4*n*s + 2*kb*g*S)/bytes`. An extension of ours: no table has measured it.
    """
    channels = filled_width(width, rates)
    work = 4.0 * sequences * heads * tokens * features * channels / rates.flops
    values = 4.0 * heads * tokens + 2.0 * value_bytes * key_heads * features
    moved = sequences * width * values / rates.bytes
    before = rates.launch + rates.latency * features
    before += rates.block * sequences * heads * width / 128.0
    return before + max(work, moved) + rates.overlap * min(work, moved)


@formula
def crossed_us(attention: Attention, one: Pass, speeds: Speeds) -> float:
    """Attention to the features of images, in a prefill or a step; us."""
    if one.features == 0:
        return 0.0
    if one.decode > 0:
        line = grouped_line(attention, one.sequences, speeds, one.tokens)
        return at_keys(line, float(one.features))
    return cross_attention(
        one.sequences,
        attention.heads,
        attention.key_value_heads,
        attention.key_width,
        one.tokens,
        one.features,
        speeds.cached,
        speeds.prefill_wide if attention.key_width > WIDE else speeds.prefill,
    )


@formula
def steps_us(line: Line, cached: int, steps: int, span: Span) -> float:
    """Attention of K steps behind C cached tokens in one kind of layers, us.

    The sum over all steps, exact: `up_to(C+K) - up_to(C)`, and beyond a window its last value.
    Entries, one each `stride` tokens, are taken at their mean.
    """
    if steps == 0:
        return 0.0
    if span.stride > 0:
        mean = (cached + (steps + 1) / 2.0) / span.stride
        return steps * at_keys(line, mean)
    if span.window == 0:
        return up_to(line, cached + steps) - up_to(line, cached)
    uncut = min(steps, max(0, span.window - cached))
    found = 0.0
    if uncut > 0:
        found = up_to(line, cached + uncut) - up_to(line, cached)
    return found + (steps - uncut) * at_keys(line, float(span.window))
