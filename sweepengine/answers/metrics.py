"""Derived measures as Polars expressions over the output columns; never stored.

`stages` names stages to add up: ``("vision", "prefill")`` is the published "vision+prefill".
Units as published: TFLOP is 1e12 FLOP, Tb is 1e12 bits, GiB is 2**30 bytes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from sweepengine.data.devices import TERA, Device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.formulas.attention import cached_values, entry_values
from sweepengine.formulas.recurrent import state_values
from sweepengine.grid.columns import STAGES

GIB = 2**30
PAGE_TOKENS = 16
"""Tokens of a page, as vLLM and SGLang keep them by default."""
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


def required_tflops_for_ttft(
    ttft_s: float, stages: Sequence[str] = ("vision", "prefill")
) -> pl.Expr:
    """TFLOP/s needed for the first token after `ttft_s` seconds: vision + prefill FLOPs / TTFT."""
    return flops(stages) / (_seconds("ttft_s", ttft_s) * TERA)


def required_tflops_for_tpot(tpot_s: float) -> pl.Expr:
    """TFLOP/s needed for a token every `tpot_s` seconds: decode FLOPs / K / TPOT."""
    return flops(("decode",)) / pl.col("decode_steps") / (_seconds("tpot_s", tpot_s) * TERA)


class Achievable(NamedTuple):
    """Fractions of a device's peaks that kernels reach; 1.0 is the roofline itself."""

    compute: float = 1.0
    bandwidth: float = 1.0


AT_PEAK = Achievable()


def roofline_seconds(
    device: Device, stages: Sequence[str], achievable: Achievable = AT_PEAK
) -> pl.Expr:
    """Seconds that stages take on a device, one after the other.

    A stage takes the longer of its work, tensor / peak + CUDA / peak, and its traffic, bytes /
    bandwidth, bytes being those of activations, weights and key-value cache. As all fields of a
    stage's pass overlap, this is a lower bound; the published rooflines (Williams et al. 2009)
    take the same maximum.

    Raises
    ------
    InputError
        When a fraction of `achievable` is not above 0 and at most 1.
    """
    return pl.sum_horizontal(
        [
            pl.max_horizontal(
                compute_seconds(device, stage, achievable),
                memory_seconds(device, stage, achievable),
            )
            for stage in stages
        ]
    )


def compute_seconds(device: Device, stage: str, achievable: Achievable = AT_PEAK) -> pl.Expr:
    """Seconds of a stage's work: tensor FLOPs / tensor peak + CUDA FLOPs / CUDA peak."""
    reached = _fraction("compute", achievable.compute)
    tensor = pl.col(f"{stage}_tensor_flops") / (device.tensor_flops_per_s * reached)
    return tensor + pl.col(f"{stage}_cuda_flops") / (device.cuda_flops_per_s * reached)


def memory_seconds(device: Device, stage: str, achievable: Achievable = AT_PEAK) -> pl.Expr:
    """Seconds of a stage's traffic: bytes moved / bandwidth."""
    reached = _fraction("bandwidth", achievable.bandwidth)
    return moved_bytes((stage,)) / (device.bytes_per_s * reached)


def bound(device: Device, stage: str, achievable: Achievable = AT_PEAK) -> pl.Expr:
    """Which roof binds a stage: "compute" or "bandwidth"."""
    work = compute_seconds(device, stage, achievable)
    binds = work >= memory_seconds(device, stage, achievable)
    return pl.when(binds).then(pl.lit("compute")).otherwise(pl.lit("bandwidth"))


def ttft_seconds(
    device: Device, achievable: Achievable = AT_PEAK, stages: Sequence[str] = STAGES
) -> pl.Expr:
    """Time to first token of a batch: vision, where `stages` has it, then prefill."""
    return roofline_seconds(device, [s for s in stages if s != "decode"], achievable)


def tpot_seconds(device: Device, achievable: Achievable = AT_PEAK) -> pl.Expr:
    """Time per output token, the mean over all decode steps; null without steps."""
    total_time = roofline_seconds(device, ("decode",), achievable)
    return pl.when(pl.col("decode_steps") > 0).then(total_time / pl.col("decode_steps"))


def tokens_per_second(
    device: Device, achievable: Achievable = AT_PEAK, stages: Sequence[str] = STAGES
) -> pl.Expr:
    """Tokens/s/device over whole requests: batch x K / (TTFT + decode time).

    A device is taken to read a batch of images and then decode it, one batch after the other.
    """
    whole = roofline_seconds(device, stages, achievable)
    return pl.col("batch_size") * pl.col("decode_steps") / whole


def tokens_per_second_per_user(device: Device, achievable: Achievable = AT_PEAK) -> pl.Expr:
    """Tokens/s that one user sees while decoding: 1 / TPOT; null without steps."""
    return 1.0 / tpot_seconds(device, achievable)


def bytes_per_sequence(stages: Sequence[str] = STAGES) -> pl.Expr:
    """Key-value cache after decoding and the largest stage's activations, of one sequence."""
    activations = pl.max_horizontal([pl.col(f"{stage}_activation_bytes") for stage in stages])
    return (activations + pl.col("decode_kv_cache_bytes")) // pl.col("batch_size").cast(pl.Int64)


def memory_needed_bytes(stages: Sequence[str] = STAGES) -> pl.Expr:
    """Bytes a device must hold: weights, key-value cache after decoding, activations."""
    return pl.col("weight_bytes") + bytes_per_sequence(stages) * pl.col("batch_size")


def reserved_kv_cache_bytes(model: Model, page_tokens: int = PAGE_TOKENS) -> pl.Expr:
    """Bytes of cache that an engine reserves after decoding: whole pages for each sequence.

    The exact bytes are `decode_kv_cache_bytes`. Layers of each kind of attention have pages of
    their own, as hybrid engines keep them; a window keeps the pages that its W - 1 tokens lie on,
    at most one more than they fill, since engines free whole pages. States of recurrent layers are
    as they are.

    Raises
    ------
    InputError
        When a page holds no token.
    """
    if page_tokens < 1:
        raise InputError(f"page_tokens = {page_tokens}: expected an integer of at least 1")
    arch = model.architecture
    batch = pl.col("batch_size").cast(pl.Int64)
    steps, context = pl.col("decode_steps").cast(pl.Int64), pl.col("context_tokens").cast(pl.Int64)
    left_out = (1 - arch.convention.cache_holds_last_token) * pl.min_horizontal(steps, pl.lit(1))
    tokens = context + steps - left_out

    def pages(window: int, stride: int = 1) -> pl.Expr:
        filled = (tokens // stride + page_tokens - 1) // page_tokens
        if not window:
            return filled
        most = -(-(window - 1) // page_tokens) + 1
        return pl.min_horizontal(filled, pl.lit(most))

    if model.has["heads"]:  # of one kind, as wide as each point's heads make it
        window = arch.attentions[0].window
        held = pl.min_horizontal(tokens, pl.lit(window - 1)) if window else tokens
        return pl.col("decode_kv_cache_bytes") // held * pages(window) * page_tokens
    size, found = arch.convention.dtype_bytes, pl.lit(0, pl.Int64)
    for group in arch.groups:
        a_token = group.layers * cached_values(group.attention) * size
        found += a_token * page_tokens * pages(group.attention.window)
        found += group.layers * state_values(group.recurrent) * size
        own = group.attention
        if own.stride:  # pages of as many entries, and what waits for the next one
            entry = group.layers * entry_values(own) * size
            waiting = 2 * own.stride * (2 * own.series - 1)
            found += entry * (page_tokens * pages(0, own.stride) + waiting)
    return batch * found


def largest_batch(device: Device, stages: Sequence[str] = STAGES) -> pl.Expr:
    """Largest batch whose weights, cache and activations fit a device; 0 where none does.

    Cache and activations grow evenly with the batch, so this holds for every point of a workload
    whatever its own batch size.
    """
    free = device.memory_bytes - pl.col("weight_bytes")
    return pl.max_horizontal(free // bytes_per_sequence(stages), pl.lit(0, pl.Int64))


def _fraction(name: str, value: float) -> float:
    if not 0 < value <= 1:
        raise InputError(f"achievable {name} = {value}: expected a fraction above 0, at most 1")
    return value


def _seconds(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise InputError(f"{name} = {value}: expected seconds above 0")
    return value
