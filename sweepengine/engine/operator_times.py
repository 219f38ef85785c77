"""Compiled times of many shapes of one operator, by the formulas of `formulas.seconds`."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.engine.compiled import compiled, inner
from sweepengine.formulas import operator_rates, recurrent_times, seconds, sparse_times

Floats = NDArray[np.float64]


@compiled("operators")
def _gemm(shapes: Floats, rates: operator_rates.GemmRates, out: Floats) -> None:
    for i in range(len(out)):
        m, n, k = shapes[i]
        out[i] = seconds.gemm(m, n, k, rates)


@inner
def _decoded(line: seconds.Line, growth: float, keys: float) -> float:
    """Time at a number of keys, with growth per key reduced by the L2 cache."""
    warm = seconds.Line(
        line.launch, line.latency, line.latency_keys, line.base, growth, line.work
    )  # fmt: skip
    return seconds.at_keys(warm, keys)


@compiled("operators")
def _decode(shapes: Floats, rates: operator_rates.DecodeRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, heads, key_heads, width, keys, window, size = shapes[i]
        attended = min(keys, window) if window > 0 else keys
        line = seconds.decode_line(sequences, heads, key_heads, width, size, rates)
        moved = 2.0 * sequences * key_heads * width * size * attended
        growth = line.growth * seconds.warmth(rates.warm, rates.warm_bytes, moved)
        out[i] = _decoded(line, growth, attended)


@compiled("operators")
def _prefill(shapes: Floats, rates: operator_rates.PrefillRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, heads, key_heads, width, tokens, window, size = shapes[i]
        out[i] = seconds.prefill_attention(
            sequences, heads, key_heads, width, tokens, 0.0, window, size, rates
        )


@compiled("operators")
def _encoder(shapes: Floats, rates: operator_rates.EncoderRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, heads, width, tokens = shapes[i]
        out[i] = seconds.encoder_attention(sequences, heads, width, tokens, rates)


@compiled("operators")
def _moe(shapes: Floats, rates: operator_rates.MoeRates, out: Floats) -> None:
    for i in range(len(out)):
        tokens, hidden, width, chosen, experts, slices, parts, matrices, balanced = shapes[i]
        pairs, local_experts = max(1.0, tokens * chosen / parts), experts / parts
        activated = seconds.expected_experts(local_experts, pairs)
        if balanced > 0:
            activated = seconds.balanced_experts(local_experts, pairs)
        out[i] = seconds.moe(tokens, hidden, width / slices, pairs, activated, matrices, rates)


@compiled("operators")
def _latent_decode(shapes: Floats, rates: operator_rates.LatentDecodeRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, heads, keys, size = shapes[i]
        line = seconds.latent_decode_line(sequences, heads, 512.0, 64.0, size, rates)
        out[i] = seconds.at_keys(line, keys)


@compiled("operators")
def _latent_prefill(shapes: Floats, rates: operator_rates.LatentPrefillRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, heads, tokens = shapes[i]
        out[i] = seconds.latent_prefill(sequences, heads, 192.0, 128.0, tokens, 0.0, rates)


@compiled("operators")
def _convolution(shapes: Floats, rates: operator_rates.ConvolutionRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, tokens, channels, taps = shapes[i]
        out[i] = recurrent_times.convolution(sequences, tokens, channels, taps, rates)


@compiled("operators")
def _chunks(shapes: Floats, rates: operator_rates.ChunkRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, tokens, work, channels, state = shapes[i]
        out[i] = recurrent_times.chunked_scan(sequences, tokens, work, channels, state, rates)


@compiled("operators")
def _state(shapes: Floats, rates: operator_rates.StateRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, tokens, state = shapes[i]
        out[i] = recurrent_times.state_step(sequences, tokens, state, rates)


@compiled("operators")
def _index(shapes: Floats, rates: operator_rates.IndexRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, tokens, cached, heads, width = shapes[i]
        out[i] = sparse_times.index_logits(sequences, tokens, cached, heads, width, rates)


@compiled("operators")
def _index_step(shapes: Floats, rates: operator_rates.IndexStepRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, tokens, keys, heads, width = shapes[i]
        line = sparse_times.index_step_line(sequences, tokens, heads, width, rates)
        out[i] = seconds.at_keys(line, keys)


@compiled("operators")
def _top_k(shapes: Floats, rates: operator_rates.TopKRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, tokens, cached, chosen = shapes[i]
        out[i] = sparse_times.top_k(sequences, tokens, cached, chosen, rates)


@compiled("operators")
def _sparse(shapes: Floats, rates: operator_rates.SparseRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, tokens, heads, chosen, latent, rotary = shapes[i]
        out[i] = sparse_times.sparse_prefill(
            sequences, tokens, heads, chosen, latent, rotary, rates
        )


@compiled("operators")
def _exchange(shapes: Floats, rates: operator_rates.ExchangeRates, out: Floats) -> None:
    for i in range(len(out)):
        tokens, hidden, chosen, ranks = shapes[i]
        out[i] = seconds.exchange(tokens, hidden, chosen, ranks, rates)


@compiled("operators")
def _reduce(shapes: Floats, rates: operator_rates.AllReduceRates, out: Floats) -> None:
    for i in range(len(out)):
        sent, devices = shapes[i]
        out[i] = seconds.all_reduce(sent, devices, rates)


_LOOPS = {
    operator_rates.GemmRates: _gemm,
    operator_rates.DecodeRates: _decode,
    operator_rates.PrefillRates: _prefill,
    operator_rates.EncoderRates: _encoder,
    operator_rates.MoeRates: _moe,
    operator_rates.LatentDecodeRates: _latent_decode,
    operator_rates.LatentPrefillRates: _latent_prefill,
    operator_rates.IndexRates: _index,
    operator_rates.IndexStepRates: _index_step,
    operator_rates.TopKRates: _top_k,
    operator_rates.SparseRates: _sparse,
    operator_rates.ConvolutionRates: _convolution,
    operator_rates.ChunkRates: _chunks,
    operator_rates.StateRates: _state,
    operator_rates.ExchangeRates: _exchange,
    operator_rates.AllReduceRates: _reduce,
}
"""Loop over shapes by kind of rates; `validation.operator_kinds` declares their columns."""


def operator_times(shapes: Floats, rates: NamedTuple) -> Floats:
    """Microseconds of each shape, shape (N,), by the formula of the rates.

    Parameters
    ----------
    shapes : float64 array, shape (N, sizes of a shape)
    rates : NamedTuple
        A record of `formulas.operator_rates`.
    """
    out = np.empty(len(shapes))
    _LOOPS[type(rates)](shapes, rates, out)
    return out
