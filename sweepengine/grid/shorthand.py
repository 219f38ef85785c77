"""Values of joint axes as text, read and written here alone: "tp4-ep8", "fp8-kv8", "gundam:2x3"."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.errors import InputError
from sweepengine.data.models import Model
from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.formats import (
    CACHE_FORMATS,
    FORMAT_NAMES,
    OWN,
    WEIGHT_FORMATS,
    own_activation,
    own_cache,
    row_of,
)
from sweepengine.formulas.layout import Layout
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import AXES
from sweepengine.grid.checks import checked_value, shown

Integers = NDArray[np.int64]
LETTERS = {"tp": "tensor", "ep": "expert", "pp": "pipeline", "dp": "data"}
PRECISIONS = {
    "w4a16": ("int4", "bf16"),
    "w4a8": ("int4", "fp8"),
    "w8a16": ("fp8", "bf16"),
    "w8a8": ("int8", "int8"),
}
"""Short names of weights and activations; a format's own name stands for its usual ones."""
KV_CACHES = {"kv16": "bf16", "kv8": "fp8", "kv4": "nvfp4"}


def read_layout(written: object) -> Layout:
    """A layout of its text; what that leaves out is 1.

    Experts over more devices than a tensor group has need more groups, or larger ones: the one
    of `dp` and `tp` that is left out is then as large as that takes. So "tp4-ep8" has dp2,
    "dp8-ep64" tp8 and "ep8" dp8.

    Raises
    ------
    ValueError
        With what is expected.
    """
    expected = 'such as "tp8", "tp4-ep8", "tp2-pp4", "dp8-ep64"'
    if not isinstance(written, str):
        raise ValueError(expected)
    found: dict[str, int] = {}
    for part in written.split("-"):
        match = re.fullmatch(r"(tp|ep|pp|dp)([0-9]{1,9})", part)
        if match is None or LETTERS[match[1]] in found:
            raise ValueError(expected)
        found[LETTERS[match[1]]] = int(match[2])
    expert = found.get("expert", 1)
    if "data" not in found and "tensor" in found and found["tensor"] and expert > found["tensor"]:
        found["data"] = max(expert // found["tensor"], 1)
    elif "tensor" not in found and "data" in found and found["data"]:
        found["tensor"] = max(expert // found["data"], 1)
    elif "tensor" not in found and "data" not in found:
        found["data"] = expert
    return Layout(*(found.get(name, 1) for name in Layout._fields))


def layout_text(point: Mapping[str, Any]) -> str:
    """Text of the layout of a point's columns; empty on one device."""
    sizes = {letter: int(point.get(f"{kind}_parallel", 1)) for letter, kind in LETTERS.items()}
    return "-".join(f"{letter}{size}" for letter, size in sizes.items() if size > 1)


def layout_name(layout: Layout) -> str:
    """Text of a layout; "tp1" on one device."""
    return layout_text(dict(zip(AXES["layout"].columns, layout, strict=True))) or "tp1"


def read_precision(arch: Architecture, written: object) -> tuple[int, int, int]:
    """Codes of the formats of weights, activations and KV cache of a precision's text.

    The KV cache stays in bf16 unless "-kv8" or "-kv4" says otherwise; "checkpoint" is what the
    checkpoint itself says of all three.

    Raises
    ------
    ValueError
        With what is expected.
    """
    names = (*WEIGHT_FORMATS, *PRECISIONS)
    expected = f"one of {', '.join(names)}, and behind it -{', -'.join(KV_CACHES)} for the cache"
    if not isinstance(written, str):
        raise ValueError(expected)
    name, dash, kept = written.rpartition("-")
    if not dash or kept not in KV_CACHES:
        name, kept = written, "kv16"
    if name not in names:
        raise ValueError(expected)
    if name == OWN:
        cache = own_cache(arch) if written == OWN else CACHE_FORMATS.index(KV_CACHES[kept])
        return 0, own_activation(arch), cache
    weights, activations = PRECISIONS.get(name, (name, ""))
    taken = activations or row_of(weights).get("activations", weights)
    return (
        WEIGHT_FORMATS.index(weights),
        FORMAT_NAMES.index(taken),
        CACHE_FORMATS.index(KV_CACHES[kept]),
    )


def precision_text(arch: Architecture, weights: str, activations: str, cache: str) -> str:
    """Text of a precision of three formats, by their names."""
    name = weights
    if weights != OWN and activations != row_of(weights).get("activations", weights):
        named = {pair: short for short, pair in PRECISIONS.items()}
        name = named.get((weights, activations), f"{weights} x {activations}")
    usual = CACHE_FORMATS[own_cache(arch)] if weights == OWN else "bf16"
    kept = {value: short for short, value in KV_CACHES.items()}
    return name if cache == usual else f"{name}-{kept.get(cache, cache)}"


def read_crops(written: object) -> tuple[int, int]:
    """Rows and columns of tiles of "2x3"; (0, 0) of "none".

    Raises
    ------
    ValueError
        With what is expected.
    """
    expected = 'ROWSxCOLS, such as "2x3", or "none"'
    if written == "none":
        return 0, 0
    match = (
        re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", written) if isinstance(written, str) else None
    )
    if match is None:
        raise ValueError(expected)
    rows, cols = int(match[1]), int(match[2])
    if not (1 <= rows <= 1000 and 1 <= cols <= 1000):
        raise ValueError(f"{expected}; rows and columns 1..1000")
    return rows, cols


def read_mode(model: Model, written: object) -> tuple[int, int, int, int]:
    """View, tile, rows and columns of tiles of a resolution mode such as "gundam:2x3".

    Raises
    ------
    ValueError
        With what is expected.
    """
    name, colon, crop = written.partition(":") if isinstance(written, str) else ("", "", "")
    crops = read_crops(crop) if colon else (0, 0)
    return (*mode_sizes(model, name, crops != (0, 0)), *crops)


def mode_sizes(model: Model, name: str, tiled: bool) -> tuple[int, int]:
    """View and tile of a resolution mode by its name, `tiled` where it stands with crops.

    Raises
    ------
    ValueError
        With what is expected.
    """
    mode = model.modes.get(name)
    if mode is None:
        raise ValueError(f'one of {", ".join(model.modes)}, with tiles as "gundam:2x3"')
    if tiled and mode.tile_size is None:
        raise ValueError(f'no crops, as mode "{name}" has no tiles')
    if not tiled and mode.tile_size is not None:
        raise ValueError(f'crops, such as "{name}:2x3", as mode "{name}" has tiles')
    return mode.view_size, mode.tile_size or model.image_sizes[1]


def read_heads(written: object) -> tuple[int, int]:
    """Query heads and key-value heads of a pair of them.

    Raises
    ------
    ValueError
        With what is expected.
    """
    if not isinstance(written, list | tuple) or len(written) != 2:
        raise ValueError("[attention_heads, key_value_heads], such as [10, 5]")
    return written[0], written[1]


_READERS: dict[str, Callable[[Model, object], tuple[Any, ...]]] = {
    "mode": read_mode,
    "crops": lambda model, written: read_crops(written),
    "heads": lambda model, written: read_heads(written),
    "precision": lambda model, written: read_precision(model.architecture, written),
    "layout": lambda model, written: read_layout(written),
}


def joint_values(
    model: Model, axis: str, written: object, place: str, show: Callable[[object], str] = shown
) -> tuple[int, ...]:
    """Values of a joint axis's columns, each valid by itself, of a text or of a tuple of them.

    Parameters
    ----------
    model : Model
    axis : str
        One of `grid.axes.JOINT`.
    written : str or tuple of int
        Such as "tp4-ep8", or Layout(4, 8, 1, 2).
    place : str
        What messages call it.
    show : callable
        How they show it.

    Raises
    ------
    InputError
        With what is expected.
    """
    columns = AXES[axis].columns
    numbers = not INPUTS[columns[0]].choices  # formats are given by their names alone
    try:
        whole = numbers and isinstance(written, tuple) and len(written) == len(columns)
        values = tuple(written) if whole else _READERS[axis](model, written)  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(f"{place} = {show(written)}: expected {error}") from None
    for name, value in zip(columns, values, strict=True) if numbers else ():
        checked_value(INPUTS[name], value, f"{place}: {name} = {shown(value)}")
    return values


def joint_columns(
    model: Model, axis: str, written: Sequence[object], place: str
) -> dict[str, Integers]:
    """Columns of a joint axis, each distinct text read once.

    Parameters
    ----------
    model : Model
    axis : str
        One of `grid.axes.JOINT`.
    written : sequence of str or tuple, length N
    place : str
        What messages call it; the row stands behind.

    Returns
    -------
    dict of str to int64 array, shape (N,)

    Raises
    ------
    InputError
        Naming the first row that is not valid.
    """
    columns = AXES[axis].columns
    first: dict[str, tuple[int, int]] = {}
    names = (one if isinstance(one, str) else repr(one) for one in written)
    codes = [first.setdefault(name, (len(first), i))[0] for i, name in enumerate(names)]
    read = []
    for _, i in first.values():
        one = written[i]
        value = tuple(one) if isinstance(one, list) else one
        read.append(joint_values(model, axis, value, f"{place}[{i}]", repr))
    table = np.array(read, np.int64).reshape(-1, len(columns))
    return {name: table[codes, i] for i, name in enumerate(columns)}
