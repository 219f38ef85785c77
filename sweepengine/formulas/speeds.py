"""All rates that a pass needs, together."""

from typing import NamedTuple

from sweepengine.formulas import operator_rates

FRAMEWORKS = ("vllm", "trtllm", "sglang")
"""Serving engines whose kernels were measured; data/serving_engines has the rest."""
SILICON, MODEL, ROOFLINE = "silicon", "model", "roofline"
TIMES = (SILICON, MODEL, ROOFLINE)
"""What times are of: rates that kernels reach, with factors of families measured in serving or
without; or the data sheet's rates."""
VALUE = 2.0
"""Bytes of an activation."""


class Host(NamedTuple):
    """What stands around kernels: a framework's launches and what fits beside."""

    step_launch: float
    """Of an element-wise kernel in a step, us."""
    pass_launch: float
    """In a prefill."""
    head: float
    """Behind the head: sampling, us."""
    moved: float
    """Byte/us of element-wise kernels."""
    effective_experts: float
    """Tokens at random that activate as many experts as one token does in serving, where the
    tokens of a text go to like experts."""
    dense_prefills: int
    """1: sparse attention is dense in prefills that meet no more keys than are chosen."""


class Wires(NamedTuple):
    """What connects devices."""

    node: int
    """Devices of a node."""
    link: float
    """Byte/us one way within a node."""
    network: float
    """Byte/us beyond it."""
    latency: float
    """Of an exchange between devices, us."""
    network_latency: float
    """Beyond a node, more, us."""


class Speeds(NamedTuple):
    """All rates that a pass needs, of one device, framework and set of formats."""

    attention: operator_rates.GemmRates
    mlp: operator_rates.GemmRates
    plain: operator_rates.GemmRates
    """Unquantised GEMMs: router, head, vision."""
    decode: operator_rates.DecodeRates
    decode_wide: operator_rates.DecodeRates
    decode_window: operator_rates.DecodeRates
    prefill: operator_rates.PrefillRates
    prefill_wide: operator_rates.PrefillRates
    prefill_window: operator_rates.PrefillRates
    encoder: operator_rates.EncoderRates
    experts: operator_rates.MoeRates
    """Up to as many tokens as the model has experts."""
    experts_many: operator_rates.MoeRates
    """Beyond."""
    latent_decode: operator_rates.LatentDecodeRates
    latent_prefill: operator_rates.LatentPrefillRates
    index_logits: operator_rates.IndexRates
    """Of sparse attention's indexer in a prefill."""
    index_step: operator_rates.IndexStepRates
    top_k: operator_rates.TopKRates
    sparse_prefill: operator_rates.SparseRates
    convolution: operator_rates.ConvolutionRates
    convolution_step: operator_rates.ConvolutionRates
    delta_chunks: operator_rates.ChunkRates
    """Of a gated delta net."""
    kimi_chunks: operator_rates.ChunkRates
    """Of Kimi delta attention."""
    state_step: operator_rates.StateRates
    exchange: operator_rates.ExchangeRates
    """Of tokens with experts of other devices in a prefill."""
    exchange_step: operator_rates.ExchangeRates
    """In a step, as assumed for all devices."""
    reduce: operator_rates.AllReduceRates
    """The framework's own all-reduce."""
    nccl: operator_rates.AllReduceRates
    host: Host
    wires: Wires
    cached: float
    """Bytes of a cached value."""
