"""Derived measures as Polars expressions over the output columns; never stored.

`stages` names phases to add up: ``("vision", "prefill")`` is the published "vision+prefill".
Units as published: TFLOP is 1e12 FLOP, Tb is 1e12 bits, GiB is 2**30 bytes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from sweepengine.data.devices import GIGA, TERA, Device
from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.formulas.formats import CACHE_FORMATS, FORMAT_NAMES, cache_bits
from sweepengine.formulas.kv_pages import pages_of, sequence_bytes
from sweepengine.formulas.layout import Layout, share_of
from sweepengine.grid.axes import AXES

GIB = 2**30
BITS_PER_BYTE = 8
BOUNDS = ("compute", "bandwidth")
"""Roofs that can bound a phase."""


def total(measure: str, stages: Sequence[str]) -> pl.Expr:
    """Sum one measure over phases, such as ``total("tensor_flops", ["vision", "prefill"])``."""
    return pl.sum_horizontal([pl.col(f"{stage}_{measure}") for stage in stages])


def flops(stages: Sequence[str]) -> pl.Expr:
    """Tensor-core and CUDA-core FLOPs together."""
    return total("tensor_flops", stages) + total("cuda_flops", stages)


def moved_bytes(stages: Sequence[str]) -> pl.Expr:
    """Bytes moved: activations, weights (expected) and KV cache."""
    measures = ("activation_io_bytes", "weight_io_bytes", "kv_io_bytes")
    return pl.sum_horizontal([total(measure, stages) for measure in measures])


def tensor_cuda_ratio(stages: Sequence[str]) -> pl.Expr:
    """Tensor-core FLOPs per CUDA-core FLOP."""
    return total("tensor_flops", stages) / total("cuda_flops", stages)


def arithmetic_intensity(stages: Sequence[str], per: str = "byte") -> pl.Expr:
    """FLOPs per byte moved; `per="bit"` is the published measure.

    An accounting without weight and KV cache I/O gives the published FLOPs / activation bits.

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
    """TFLOP/s required for a TTFT of `ttft_s` seconds: vision + prefill FLOPs / TTFT."""
    return flops(stages) / (_seconds("ttft_s", ttft_s) * TERA)


def required_tflops_for_tpot(tpot_s: float) -> pl.Expr:
    """TFLOP/s required for a TPOT of `tpot_s` seconds: decode FLOPs / K / TPOT."""
    return flops(("decode",)) / pl.col("decode_steps") / (_seconds("tpot_s", tpot_s) * TERA)


def attainable_flops_per_s(device: Device, stage: str) -> pl.Expr:
    """FLOP/s of a phase under the roofline of a device (Williams et al. 2009).

    All that the accounting counts, over the larger of its work and its traffic at the peaks. It is
    no time of a serving engine: that skips masked positions and logits that nobody reads
    (`costs.device_times.times_on` predicts times, of a data sheet too).
    """
    slower = pl.max_horizontal(compute_seconds(device, stage), memory_seconds(device, stage))
    return flops((stage,)) / slower


def compute_seconds(device: Device, stage: str) -> pl.Expr:
    """Seconds of the work of a phase: tensor FLOPs / tensor peak + CUDA FLOPs / CUDA peak.

    The peak is that of `activation_format`, also for attention and head, which stay in bf16: the
    result is a lower bound. Vision uses the bf16 peak.
    """
    tensor = pl.col(f"{stage}_tensor_flops") / tensor_peak(device, stage)
    return tensor + pl.col(f"{stage}_cuda_flops") / device.cuda_flops_per_s


def tensor_peak(device: Device, stage: str) -> pl.Expr:
    """FLOP/s of tensor cores for the GEMMs of a phase; bf16 for a format without a peak.

    If a point states another bf16 peak, the other formats keep their ratio to it.
    """
    bf16 = device.tensor_flops_per_s
    stated = _stated_or("device_tensor_tflops", TERA, bf16)
    if stage == "vision":
        return stated
    ratios = {name: device.peak_of(name) / bf16 for name in FORMAT_NAMES}
    formats = pl.col("activation_format").cast(pl.String)
    return stated * formats.replace_strict(ratios, return_dtype=pl.Float64)


def _stated_or(column: str, unit: float, figure: float) -> pl.Expr:
    """Return what a point states in a column, or else the figure of the device."""
    stated = pl.col(column)
    return pl.when(stated > 0).then(stated * unit).otherwise(figure)


def memory_seconds(device: Device, stage: str) -> pl.Expr:
    """Seconds of the traffic of a phase: bytes moved / bandwidth."""
    return moved_bytes((stage,)) / bandwidth(device)


def bandwidth(device: Device) -> pl.Expr:
    """Memory bandwidth, byte/s: what a point states, or else that of the device."""
    return _stated_or("device_bandwidth_gbs", GIGA, device.bytes_per_s)


def bound(device: Device, stage: str) -> pl.Expr:
    """Which roof bounds a phase, one of `BOUNDS`."""
    slower = compute_seconds(device, stage) >= memory_seconds(device, stage)
    compute, bandwidth = BOUNDS
    return pl.when(slower).then(pl.lit(compute)).otherwise(pl.lit(bandwidth))


def reserved_kv_cache_bytes(model: Model, page_tokens: int | None = None) -> pl.Expr:
    """Bytes of KV cache that vLLM keeps for sequences after decoding, in whole blocks of its pool.

    The exact bytes are `decode_kv_cache_bytes`; `formulas/kv_pages.py` has the rules.

    Parameters
    ----------
    model : Model
        Of the points.
    page_tokens : int, optional
        Tokens of a page; by default 16, of latents 64.

    Raises
    ------
    InputError
        When a page holds no token.
    """
    if page_tokens is not None and page_tokens < 1:
        raise InputError(f"page_tokens = {page_tokens}: expected an integer of at least 1")
    layout_columns, head_columns = AXES["layout"].columns, AXES["heads"].columns
    names = (*layout_columns, "cache_format", *head_columns)
    keys = [name for name in names if name in model.inputs]
    features = ("image_features",) if model.architecture.crossed_rows(1) else ()
    needed = (*keys, "context_tokens", "decode_steps", "batch_size", *features)
    arch = model.architecture

    def reserved(points: pl.Series) -> pl.Series:
        frame = points.struct.unnest()
        parts = []
        for values, part in frame.with_row_index("row").partition_by(keys, as_dict=True).items():
            chosen = dict(zip(keys, values, strict=True))
            layout = Layout(*(int(chosen[name]) for name in layout_columns))
            query_heads, kv_heads = (int(chosen.get(name, 0)) for name in head_columns)
            cache = cache_bits(arch, CACHE_FORMATS.index(str(chosen["cache_format"])))
            groups = share_of(arch, query_heads, kv_heads, layout).groups
            pool = pages_of(groups, cache, arch.convention.dtype_bytes, page_tokens or 0)
            steps = part["decode_steps"].cast(pl.Int64).to_numpy()
            tokens = part["context_tokens"].cast(pl.Int64).to_numpy() + steps
            tokens -= (1 - arch.convention.cache_holds_last_token) * (steps > 0)
            sequences = (part["batch_size"].cast(pl.Int64) + layout.data - 1) // layout.data
            rows: Any = part["image_features"].cast(pl.Int64).to_numpy() if features else 0
            size = np.asarray(sequence_bytes(pool, tokens, rows)) * sequences.to_numpy()
            parts.append(pl.DataFrame({"row": part["row"], "bytes": size}))
        return pl.concat(parts).sort("row")["bytes"]

    return pl.struct(needed).map_batches(reserved, return_dtype=pl.Int64)


def _seconds(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise InputError(f"{name} = {value}: expected seconds above 0")
    return value
