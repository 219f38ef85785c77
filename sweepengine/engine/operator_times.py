"""Times of many shapes of one operator, by the compiled forms of `formulas.seconds`."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.engine.compiled import compiled, inner
from sweepengine.formulas import operator_rates, seconds

Floats = NDArray[np.float64]


@compiled("operators")
def _gemm(shapes: Floats, rates: operator_rates.GemmRates, out: Floats) -> None:
    for i in range(len(out)):
        m, n, k = shapes[i]
        out[i] = seconds.gemm(m, n, k, rates)


@inner
def _decoded(line: seconds.Line, growth: float, keys: float) -> float:
    """At keys whose traffic a collector's cache partly serves."""
    cold = seconds.Line(
        line.launch, line.latency, line.latency_keys, line.base, growth, line.work
    )  # fmt: skip
    return seconds.at_keys(cold, keys)


@compiled("operators")
def _decode(shapes: Floats, rates: operator_rates.DecodeRates, out: Floats) -> None:
    for i in range(len(out)):
        sequences, heads, key_heads, width, keys, window, size = shapes[i]
        met = min(keys, window) if window > 0 else keys
        line = seconds.decode_line(sequences, heads, key_heads, width, size, rates)
        moved = 2.0 * sequences * key_heads * width * size * met
        growth = line.growth * seconds.warmth(rates.warm, rates.warm_bytes, moved)
        out[i] = _decoded(line, growth, met)


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
def _mixture(shapes: Floats, rates: operator_rates.MoeRates, out: Floats) -> None:
    for i in range(len(out)):
        tokens, hidden, width, chosen, experts, slices, parts, matrices, balanced = shapes[i]
        copies, held = max(1.0, tokens * chosen / parts), experts / parts
        touched = seconds.expected_experts(held, copies)
        if balanced > 0:
            touched = seconds.balanced_experts(held, copies)
        out[i] = seconds.moe(tokens, hidden, width / slices, copies, touched, matrices, rates)


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
def _reduce(shapes: Floats, rates: operator_rates.AllReduceRates, out: Floats) -> None:
    for i in range(len(out)):
        sent, devices = shapes[i]
        out[i] = seconds.all_reduce(sent, devices, rates)


_LOOPS = {
    operator_rates.GemmRates: _gemm,
    operator_rates.DecodeRates: _decode,
    operator_rates.PrefillRates: _prefill,
    operator_rates.EncoderRates: _encoder,
    operator_rates.MoeRates: _mixture,
    operator_rates.LatentDecodeRates: _latent_decode,
    operator_rates.LatentPrefillRates: _latent_prefill,
    operator_rates.AllReduceRates: _reduce,
}
"""Kind of rates to the loop over shapes, whose columns `validation.measured_operators` declares."""


def operator_times(shapes: Floats, rates: NamedTuple) -> Floats:
    """Microseconds of each shape, shape (N,), by the form that its rates are for.

    Parameters
    ----------
    shapes : float64 array, shape (N, numbers of a shape)
    rates : NamedTuple
        Of one of the kinds of `formulas.seconds`.
    """
    out = np.empty(len(shapes))
    _LOOPS[type(rates)](shapes, rates, out)
    return out
