"""Number formats, and bytes of matrices in them (docs/memory.md, "Weights by format").

Activations are kept in the accounting's width whatever a GEMM takes: serving engines quantise them
in the operator that makes them. A format of activations decides at which tensor peak GEMMs run.
"""

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from sweepengine.formulas.architecture import Architecture, FeedForward, Group
from sweepengine.formulas.cost import formula
from sweepengine.formulas.gemms import (
    Gemm,
    MlpGemms,
    expert_gemms,
    feature_gemms,
    image_expert_gemms,
    into_attention,
    latent_up,
    mlp_gemms,
    out_of_attention,
    recurrent_gemms,
)
from sweepengine.formulas.tokens import ceil_div

WEIGHT_ROLES = ("attention", "mlp", "experts")
"""Linear layers that a format may cover."""


class Format(NamedTuple):
    """How a matrix is held; blocks of 0 rows or columns span all."""

    bits: int
    rows: int
    columns: int
    scale_bits: int
    cache_bits: int
    """Quarter bits of a cached value; 0: no KV cache has it."""
    shared_scales: int = 0
    """Blocks whose scales share an fp32 scale; 0: none do."""
    hidden_multiple: int = 1
    """Serving engines hold an expert with a hidden width of a multiple of this, padded."""
    width_multiple: int = 1
    """Likewise of its own width."""


_TABLE: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("formats.toml").read_text(encoding="utf-8")
)
FORMAT_NAMES = tuple(_TABLE)
OWN = "checkpoint"
WEIGHT_FORMATS = (OWN, *FORMAT_NAMES)
"""Values of the column `weight_format`; the first is what the checkpoint itself says."""
CACHE_FORMATS = tuple(name for name in FORMAT_NAMES if "cache_bits" in _TABLE[name])
"""Values of the column `cache_format`."""
BY_NAME = {
    name: Format(
        row["bits"],
        row.get("rows", 0),
        row.get("columns", 0),
        row.get("scale_bits", 0),
        row.get("cache_bits", 0),
        row.get("shared_scales", 0),
        row.get("hidden_multiple", 1),
        row.get("width_multiple", 1),
    )
    for name, row in _TABLE.items()
}
UNQUANTISED = Format(0, 0, 0, 0, 0)
"""Of a matrix that stays in the accounting's width."""


def row_of(name: str) -> dict[str, Any]:
    """What the file says of a format."""
    return _TABLE[name]


@formula
def matrix_bytes(kept: Format, rows: int, columns: int) -> int:
    """Bytes of a matrix: `(r*c*bits + blocks*scale_bits) / 8`, rounded up.

    `blocks = ceil(r/br)*ceil(c/bc)`. Where s scales share one, `4*ceil(blocks/s)` more.
    """
    blocks = 1
    if kept.rows > 0:
        blocks = ceil_div(rows, kept.rows)
    if kept.columns > 0:
        blocks *= ceil_div(columns, kept.columns)
    shared = 0
    if kept.shared_scales > 0:
        shared = 4 * ceil_div(blocks, kept.shared_scales)
    return ceil_div(rows * columns * kept.bits + blocks * kept.scale_bits, 8) + shared


@formula
def saved(gemms: tuple[Gemm, ...], kept: Format, size: int) -> int:
    """Bytes that matrices take less than with `size` bytes a value, each as a checkpoint has it."""
    found = 0
    for index in range(len(gemms)):
        rows, columns = gemms[index].rows, gemms[index].columns
        if kept.bits > 0 and rows * columns > 0:
            found += size * rows * columns - matrix_bytes(kept, rows, columns)
    return found


@formula
def padded_expert(forward: FeedForward, hidden: int, kept: Format) -> MlpGemms:
    """Matrices of one routed expert as a serving engine's kernels hold them: widths rounded up."""
    outer = forward.expert_latent if forward.expert_latent > 0 else hidden
    return mlp_gemms(
        ceil_div(forward.expert_width, kept.width_multiple) * kept.width_multiple,
        ceil_div(outer, kept.hidden_multiple) * kept.hidden_multiple,
        forward.matrices,
    )


@formula
def padding(forward: FeedForward, hidden: int, kept: Format) -> int:
    """Bytes that a serving engine holds one routed expert in more than a checkpoint does."""
    if kept.bits == 0:
        return 0
    checkpoint, padded = expert_gemms(forward, hidden), padded_expert(forward, hidden, kept)
    more = 0
    for index in range(len(padded)):
        more += matrix_bytes(kept, padded[index].rows, padded[index].columns)
        more -= matrix_bytes(kept, checkpoint[index].rows, checkpoint[index].columns)
    return more


class Formats(NamedTuple):
    """Formats of the linear layers of a pass, by role."""

    attention: Format
    mlp: Format
    experts: Format


class Savings(NamedTuple):
    """Bytes that a layer's matrices take less than unquantised, by operator, and one expert."""

    projections: int
    feature_keys: int
    recurrent: int
    mlp: int
    image_experts: int
    """All that a device holds."""
    expert: int
    padding: int
    """What a serving engine pads one expert by where it holds it."""


@formula
def layer_savings(group: Group, hidden: int, formats: Formats, size: int) -> Savings:
    """What formats save in one layer, matrix by matrix.

    Parameters
    ----------
    group : Group
        A device's share of the layer.
    hidden : int
        h.
    formats : Formats
        Of its weights, by role.
    size : int
        Bytes of an unquantised value.
    """
    attention, forward = group.attention, group.feed_forward
    around = saved(into_attention(attention, hidden), formats.attention, size)
    around += saved((latent_up(attention),), formats.attention, size)
    around += saved(out_of_attention(attention, hidden), formats.attention, size)
    mlp = mlp_gemms(forward.width, hidden, forward.matrices)
    experts = 1 - forward.unquantised_experts
    return Savings(
        projections=(1 - attention.unquantised) * around,
        feature_keys=(1 - attention.unquantised)
        * saved(feature_gemms(attention, hidden), formats.attention, size),
        recurrent=saved(recurrent_gemms(group.recurrent, hidden), formats.attention, size),
        mlp=(1 - forward.unquantised) * saved(mlp, formats.mlp, size),
        image_experts=experts
        * forward.experts_held
        * saved(image_expert_gemms(forward, hidden), formats.experts, size),
        expert=experts * saved(expert_gemms(forward, hidden), formats.experts, size),
        padding=experts * padding(forward, hidden, formats.experts),
    )


@formula
def saved_in_layer(less: Savings) -> int:
    """Of all matrices but the experts that a pass may activate or not."""
    return less.projections + less.feature_keys + less.recurrent + less.mlp + less.image_experts


def formats_of(arch: Architecture, weights: int) -> Formats:
    """Formats of the linear layers for a value of the column `weight_format`."""
    if weights == 0:
        own = arch.checkpoint[: len(WEIGHT_ROLES)]
        return Formats(*(BY_NAME[FORMAT_NAMES[code]] if code else UNQUANTISED for code in own))
    name = WEIGHT_FORMATS[weights]
    covers = _TABLE[name].get("covers", WEIGHT_ROLES)
    return Formats(*(BY_NAME[name] if role in covers else UNQUANTISED for role in WEIGHT_ROLES))


def role_names(arch: Architecture, weights: int) -> tuple[str, ...]:
    """Names of the formats of linear layers by role; bf16 where one is not quantised."""
    if weights == 0:
        return tuple(FORMAT_NAMES[code] for code in arch.checkpoint[: len(WEIGHT_ROLES)])
    name = WEIGHT_FORMATS[weights]
    covers = _TABLE[name].get("covers", WEIGHT_ROLES)
    return tuple(name if role in covers else FORMAT_NAMES[0] for role in WEIGHT_ROLES)


def saved_bytes(arch: Architecture, weights: int = 0) -> int:
    """Bytes that formats save of all weights, for a value of the column `weight_format`."""
    formats, size = formats_of(arch, weights), arch.convention.dtype_bytes
    found = 0
    for group in arch.groups:
        less = layer_savings(group, arch.backbone.hidden, formats, size)
        experts = less.expert * group.feed_forward.experts_held
        found += group.layers * (saved_in_layer(less) + experts)
    return found


def cache_bits(arch: Architecture, cache: int) -> int:
    """Quarter bits of a cached value for a value of the column `cache_format`."""
    name = CACHE_FORMATS[cache]
    if name == "bf16":  # as wide as the accounting's values
        return 32 * arch.convention.dtype_bytes
    return BY_NAME[name].cache_bits


def own_activation(arch: Architecture) -> int:
    """The checkpoint's own value of the column `activation_format`."""
    return arch.checkpoint.activation


def own_cache(arch: Architecture) -> int:
    """The checkpoint's own value of the column `cache_format`."""
    return CACHE_FORMATS.index(FORMAT_NAMES[arch.checkpoint.cache])
