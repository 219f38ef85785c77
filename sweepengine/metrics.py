"""Derived measures as Polars expressions over the output columns; never stored.

`stages` names stages to add up: ``("vision", "prefill")`` is the published "vision+prefill".
Units as published: TFLOP is 1e12 FLOP, Tb is 1e12 bits, GiB is 2**30 bytes.
"""

from collections.abc import Sequence

import polars as pl

from sweepengine.errors import InputError

GIB = 2**30
TERA = 1e12
BITS_PER_BYTE = 8


def total(measure: str, stages: Sequence[str]) -> pl.Expr:
    """Sum of one measure over stages, such as ``total("tensor_flops", ["vision", "prefill"])``."""
    return pl.sum_horizontal([pl.col(f"{stage}_{measure}") for stage in stages])


def flops(stages: Sequence[str]) -> pl.Expr:
    """Tensor-core and CUDA-core FLOPs together."""
    return total("tensor_flops", stages) + total("cuda_flops", stages)


def moved_bytes(stages: Sequence[str]) -> pl.Expr:
    """Bytes moved: activations, weights (expected) and key-value cache."""
    measures = ("activation_io_bytes", "weight_io_bytes", "kv_io_bytes")
    return pl.sum_horizontal([total(measure, stages) for measure in measures])


def tensor_cuda_ratio(stages: Sequence[str]) -> pl.Expr:
    """Tensor-core FLOPs for each CUDA-core FLOP."""
    return total("tensor_flops", stages) / total("cuda_flops", stages)


def arithmetic_intensity(stages: Sequence[str], per: str = "byte") -> pl.Expr:
    """FLOPs for each byte moved; `per="bit"` is the published measure.

    Where the model's accounting counts no weight and KV I/O those add nothing, which makes it
    the published FLOPs / activation bits.

    Raises
    ------
    InputError
        When `per` is neither "byte" nor "bit".
    """
    units = {"byte": 1, "bit": BITS_PER_BYTE}
    if per not in units:
        raise InputError(f'arithmetic_intensity: per = "{per}": expected "byte" or "bit"')
    return flops(stages) / (moved_bytes(stages) * units[per])


def required_tflops_for_ttft(ttft_s: float) -> pl.Expr:
    """TFLOP/s needed for the first token after `ttft_s` seconds: vision + prefill FLOPs / TTFT."""
    return flops(("vision", "prefill")) / (_seconds("ttft_s", ttft_s) * TERA)


def required_tflops_for_tpot(tpot_s: float) -> pl.Expr:
    """TFLOP/s needed for a token every `tpot_s` seconds: decode FLOPs / K / TPOT."""
    return flops(("decode",)) / pl.col("decode_steps") / (_seconds("tpot_s", tpot_s) * TERA)


def _seconds(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise InputError(f"{name} = {value}: expected seconds above 0")
    return value
