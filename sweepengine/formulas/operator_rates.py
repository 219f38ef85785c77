"""Rates of operators: what the forms of `seconds.py` take, each figure declared once.

A form's rates are a tuple of plain figures of one device, framework and format, in microseconds. A
rates file holds them as shares of data-sheet figures (`Rate.of`), so that a sibling of a device can
borrow them; `sweepengine calibrate` fits them.
"""

from typing import Annotated, NamedTuple

PEAK, BANDWIDTH, LINK = "peak", "bandwidth", "link"
A_BYTE, A_PROCESSOR = "1/bandwidth", "1/multiprocessors"


class Rate(NamedTuple):
    """What a figure of a form is; not fitted where `least` and `most` are alike."""

    unit: str
    start: float
    """Where a fit begins."""
    of: str = ""
    """The data-sheet figure that it is a share of, as a file holds it; empty: of none."""
    least: float = 1e-9
    most: float = 1e9


_Launch = Annotated[float, Rate("us", 5.0, least=0.2, most=500)]
_Flops = Annotated[float, Rate("FLOP/us", 0.7, PEAK, 0.01, 1)]
_Bytes = Annotated[float, Rate("byte/us", 0.85, BANDWIDTH, 0.05, 1)]
_Share = Annotated[float, Rate("", 0.3, most=1)]
_WarmShare = Annotated[float, Rate("", 0.3, most=0.99)]
_WarmBytes = Annotated[float, Rate("byte", 5e7, least=1e6, most=1e9)]
_Resident = Annotated[float, Rate("", 0.5, most=0.99)]
_ResidentBytes = Annotated[float, Rate("byte", 5e7, least=1e6, most=1.3e8)]
_HandedBytes = Annotated[float, Rate("byte", 5e7, least=1e6, most=1e9)]
"""Of all kernels of an operator together, each of which may fill the cache."""
_Moves = Annotated[float, Rate("us a byte", 0.3, A_BYTE, most=20)]
_WeightBytes = Annotated[float, Rate("byte a weight", 0)]


class GemmRates(NamedTuple):
    """Rates of `gemm`."""

    launch: _Launch
    depth: Annotated[float, Rate("us a channel", 0.001, most=0.1)]
    depth_cap: Annotated[float, Rate("channels", 3000.0, least=64, most=1e6)]
    """The pipeline along k fills until here."""
    quantise: Annotated[float, Rate("us a value", 2.0, A_BYTE, most=50)]
    """Of activations, where a kernel before the GEMM does it; bf16 and fused ones: 0."""
    quantise_pad: Annotated[float, Rate("channels", 500.0, most=2e4)]
    flops: _Flops
    pad: Annotated[float, Rate("channels", 100.0, most=2e3)]
    droop: Annotated[float, Rate("", 0.12, most=3)]
    """Share that the clock gives up under long kernels."""
    activations: Annotated[float, Rate("", 0.85, most=20)]
    """Times that activations are moved."""
    bytes: _Bytes
    overlap: _Share
    """Part of the shorter of work and traffic that does not hide behind the other."""
    warm: _WarmShare
    """Traffic that a collector's cache saves of small weights; 0 in serving."""
    warm_bytes: _WarmBytes
    weight_bytes: _WeightBytes


class DecodeRates(NamedTuple):
    """Rates of `decode_line`."""

    launch: _Launch
    latency: Annotated[float, Rate("us a key", 0.005, most=0.2)]
    latency_keys: Annotated[float, Rate("keys", 2000.0, least=32, most=3e5)]
    """Keys that one processor goes through before more of them share a sequence."""
    latency_single: Annotated[float, Rate("keys", 2000.0, least=32, most=3e5)]
    """The same where each head has keys of its own."""
    block: Annotated[float, Rate("us a head of keys", 1.5, A_PROCESSOR, most=20)]
    query: Annotated[float, Rate("us a query head", 0.05, A_PROCESSOR, most=5)]
    flops: Annotated[float, Rate("FLOP/us", 0.3, PEAK, 0.005, 1)]
    bytes: _Bytes
    warm: _WarmShare
    warm_bytes: _WarmBytes


class PrefillRates(NamedTuple):
    """Rates of `prefill_attention`."""

    launch: _Launch
    latency: Annotated[float, Rate("us a token", 0.005, most=0.2)]
    block: Annotated[float, Rate("us a head", 1.0, A_PROCESSOR, most=30)]
    pad: Annotated[float, Rate("tokens", 200.0, most=5e3)]
    width_pad: Annotated[float, Rate("channels", 60.0, most=3e3)]
    outside: Annotated[float, Rate("", 0.05, most=1)]
    """Part of the work that a kernel does for keys before a window, which it masks."""
    flops: _Flops
    bytes: _Bytes
    overlap: _Share
    resident: _Resident
    resident_bytes: _ResidentBytes


class EncoderRates(NamedTuple):
    """Rates of `encoder_attention`."""

    launch: _Launch
    latency: Annotated[float, Rate("us a token", 0.005, most=0.2)]
    block: Annotated[float, Rate("us a head", 1.0, A_PROCESSOR, most=30)]
    pad: Annotated[float, Rate("tokens", 100.0, most=5e3)]
    flops: _Flops
    bytes: _Bytes
    overlap: _Share
    resident: _Resident
    resident_bytes: _ResidentBytes
    wide: Annotated[float, Rate("", 1.3, least=1.125, most=20)]
    """Work of heads of 72 channels, those of 64 being 1."""
    wider: Annotated[float, Rate("", 1.4, least=1.25, most=20)]
    """Of 80."""


class MoeRates(NamedTuple):
    """Rates of `moe`."""

    launch: _Launch
    depth: Annotated[float, Rate("us a channel", 0.002, most=0.1)]
    expert: Annotated[float, Rate("us an expert", 0.1, most=5)]
    token: Annotated[float, Rate("us a token", 0.003, most=2)]
    flops: _Flops
    token_pad: Annotated[float, Rate("tokens an expert", 8.0, most=128)]
    width_pad: Annotated[float, Rate("channels", 100.0, most=2e3)]
    activations: Annotated[float, Rate("", 1.0, most=20)]
    bytes: _Bytes
    overlap: _Share
    token_moves: _Moves
    """Tokens in and out, where a kernel before or after the GEMMs moves them."""
    pair_moves: _Moves
    """Token-expert pairs at the hidden width, likewise."""
    inner_moves: _Moves
    """At the inner width."""
    warm: _WarmShare
    warm_bytes: _WarmBytes
    weight_bytes: _WeightBytes


class LatentDecodeRates(NamedTuple):
    """Rates of `latent_decode_line`."""

    launch: _Launch
    latency: Annotated[float, Rate("us a key", 0.005, most=0.5)]
    latency_keys: Annotated[float, Rate("keys", 2000.0, least=32, most=1e6)]
    query: Annotated[float, Rate("us a query head", 0.3, A_PROCESSOR, most=20)]
    flops: _Flops
    bytes: _Bytes


class LatentPrefillRates(NamedTuple):
    """Rates of `latent_prefill`."""

    launch: _Launch
    latency: Annotated[float, Rate("us a token", 0.005, most=0.2)]
    pad: Annotated[float, Rate("tokens", 200.0, most=5e3)]
    flops: _Flops
    bytes: _Bytes
    overlap: _Share


class ConvolutionRates(NamedTuple):
    """Rates of `recurrent_times.convolution`."""

    launch: _Launch
    latency: Annotated[float, Rate("us a token", 0.1, most=5)]
    latency_tokens: Annotated[float, Rate("tokens", 10.0, least=1, most=512)]
    """Tokens that one block goes through."""
    block: Annotated[float, Rate("us a channel", 1e-4, A_PROCESSOR, most=5)]
    bytes: _Bytes
    resident: _Resident
    """Share of the traffic that the L2 cache holds of what the kernel before wrote."""
    resident_bytes: _HandedBytes


class ChunkRates(NamedTuple):
    """Rates of `recurrent_times.chunked_scan`."""

    launch: _Launch
    """Of all its kernels."""
    latency: Annotated[float, Rate("us a token", 0.03, most=5)]
    flops: Annotated[float, Rate("FLOP/us", 0.1, PEAK, 0.001, 1)]
    activations: Annotated[float, Rate("", 4.0, most=50)]
    """Times that keys, queries, values and outputs are moved, between kernels too."""
    bytes: _Bytes
    overlap: _Share
    resident: _Resident
    resident_bytes: _HandedBytes


class StateRates(NamedTuple):
    """Rates of `recurrent_times.state_step`."""

    launch: _Launch
    bytes: _Bytes
    warm: _WarmShare
    warm_bytes: _WarmBytes


class IndexRates(NamedTuple):
    """Rates of `sparse_times.index_logits`."""

    launch: _Launch
    latency: Annotated[float, Rate("us a key", 0.003, most=0.2)]
    pad: Annotated[float, Rate("tokens", 400.0, most=5e3)]
    flops: _Flops
    overlap: _Share


class IndexStepRates(NamedTuple):
    """Rates of `sparse_times.index_step_line`."""

    launch: _Launch
    query: Annotated[float, Rate("us a token", 0.5, A_PROCESSOR, most=20)]
    flops: _Flops
    bytes: _Bytes


class TopKRates(NamedTuple):
    """Rates of `sparse_times.top_k`."""

    launch: _Launch
    latency: Annotated[float, Rate("us a key", 0.0003, most=0.02)]
    row: Annotated[float, Rate("us a token", 3.0, A_PROCESSOR, most=50)]
    bytes: Annotated[float, Rate("byte/us", 0.3, BANDWIDTH, 0.01, 1)]
    overlap: _Share


class SparseRates(NamedTuple):
    """Rates of `sparse_times.sparse_prefill`."""

    launch: _Launch
    """Of a wave of blocks."""
    block: Annotated[float, Rate("heads", 64.0, least=64, most=64)]
    """Query heads that a block works on: fewer are filled up."""
    flops: _Flops
    overlap: _Share


class AllReduceRates(NamedTuple):
    """Rates of `all_reduce`."""

    launch: Annotated[float, Rate("us", 5.0, least=0.2, most=500)]
    device: Annotated[float, Rate("us a device", 0.5, most=50)]
    two: Annotated[float, Rate("byte/us", 0.6, LINK, 0.01, 2)]
    """Reached by 2 devices."""
    four: Annotated[float, Rate("byte/us", 0.6, LINK, 0.01, 2)]
    more: Annotated[float, Rate("byte/us", 0.6, LINK, 0.01, 2)]
    ramp: Annotated[float, Rate("us a byte", 1.0, "1/link", most=100)]
    ramp_bytes: Annotated[float, Rate("byte", 1e6, least=1e3, most=1e9)]


class ExchangeRates(NamedTuple):
    """Rates of `seconds.exchange`."""

    launch: Annotated[float, Rate("us", 50.0, least=0.2, most=2000)]
    """Of dispatch and combine together."""
    link: Annotated[float, Rate("byte/us", 0.5, LINK, 0.01, 1)]
