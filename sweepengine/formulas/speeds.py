"""All rates that a pass needs, together."""

from typing import NamedTuple

from sweepengine.formulas.operator_rates import (
    Decode,
    Encoder,
    Gemm,
    LatentDecode,
    LatentPrefill,
    Mixture,
    Prefill,
    Reduce,
)

FRAMEWORKS = ("vllm", "trtllm", "sglang")
"""Serving engines whose kernels were measured; what is around those: data/frameworks.toml."""
SILICON, ROOFLINE = "silicon", "roofline"
TIMES = (SILICON, ROOFLINE)
"""What times are of: rates that kernels reach, or the data sheet's."""
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
    spread: float
    """Tokens that touch as many experts at random as one does in serving, where tokens of a text
    go to experts alike."""


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

    attention: Gemm
    mlp: Gemm
    plain: Gemm
    """Unquantised products: router, head, vision."""
    decode: Decode
    decode_wide: Decode
    decode_window: Decode
    prefill: Prefill
    prefill_wide: Prefill
    prefill_window: Prefill
    encoder: Encoder
    experts: Mixture
    latent_decode: LatentDecode
    latent_prefill: LatentPrefill
    reduce: Reduce
    """The framework's own all-reduce."""
    nccl: Reduce
    host: Host
    wires: Wires
    cached: float
    """Bytes of a cached value."""
