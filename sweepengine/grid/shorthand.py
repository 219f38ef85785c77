"""Text of joint axes, read and written only here: "tp4-ep8", "fp8-kv8", "gundam:2x3"."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepengine.data.errors import InputError, nearest
from sweepengine.data.files import shipped_table
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
LAYOUT_LETTERS = {"tp": "tensor", "ep": "expert", "pp": "pipeline", "dp": "data",
                  "dcp": "decode_context"}  # fmt: skip
SHORT_PRECISIONS = {
    "w4a16": ("int4", "bf16"),
    "w4a8": ("int4", "fp8"),
    "w8a16": ("fp8", "bf16"),
    "w8a8": ("int8", "int8"),
}
"""Short names of pairs of weight and activation format."""
MILLIMETRES_PER_INCH = 25.4
LARGEST_IMAGE = INPUTS["image_height"].maximum
KV_CACHES = {"kv16": "bf16", "kv8": "fp8", "kv4": "nvfp4"}


def read_layout(written: object) -> Layout:
    """Read the text of a layout; a size that is left out is 1.

    Where expert parallelism exceeds tensor x data parallelism, the one of `tp` and `dp` that is
    left out is as large as needed: "tp4-ep8" has dp2, "dp8-ep64" has tp8 and "ep8" has dp8.

    Raises
    ------
    ValueError
        With what is expected.
    """
    expected = 'such as "tp8", "tp4-ep8", "tp2-pp4", "dp8-ep64", "tp8-dcp2"'
    if not isinstance(written, str):
        raise ValueError(expected)
    sizes: dict[str, int] = {}
    for part in written.split("-"):
        match = re.fullmatch(r"(tp|ep|pp|dp|dcp)([0-9]{1,9})", part)
        if match is None or LAYOUT_LETTERS[match[1]] in sizes:
            raise ValueError(expected)
        sizes[LAYOUT_LETTERS[match[1]]] = int(match[2])
    expert = sizes.get("expert", 1)
    if "data" not in sizes and "tensor" in sizes and sizes["tensor"] and expert > sizes["tensor"]:
        sizes["data"] = max(expert // sizes["tensor"], 1)
    elif "tensor" not in sizes and "data" in sizes and sizes["data"]:
        sizes["tensor"] = max(expert // sizes["data"], 1)
    elif "tensor" not in sizes and "data" not in sizes:
        sizes["data"] = expert
    return Layout(*(sizes.get(name, 1) for name in Layout._fields))


def layout_text(point: Mapping[str, Any]) -> str:
    """Text of the layout in a point's columns; empty on one device."""
    sizes = ((text, int(point.get(f"{name}_parallel", 1))) for text, name in LAYOUT_LETTERS.items())
    return "-".join(f"{text}{size}" for text, size in sizes if size > 1)


def layout_name(layout: Layout) -> str:
    """Text of a layout; "tp1" on one device."""
    return layout_text(dict(zip(AXES["layout"].columns, layout, strict=True))) or "tp1"


def read_precision(arch: Architecture, written: object) -> tuple[int, int, int]:
    """Read a precision: codes of the formats of weights, activations and KV cache.

    The KV cache is bf16 without "-kv8" or "-kv4"; "checkpoint" has all three formats of the
    checkpoint.

    Raises
    ------
    ValueError
        With what is expected.
    """
    names = (*WEIGHT_FORMATS, *SHORT_PRECISIONS)
    expected = f"one of {', '.join(names)}, then -{', -'.join(KV_CACHES)} for the KV cache"
    if not isinstance(written, str):
        raise ValueError(expected)
    name, dash, kept = written.rpartition("-")
    if not dash or kept not in KV_CACHES:
        name, kept = written, "kv16"
    if name not in names:
        raise ValueError(expected + nearest(name, names))
    if name == OWN:
        cache = own_cache(arch) if written == OWN else CACHE_FORMATS.index(KV_CACHES[kept])
        return 0, own_activation(arch), cache
    weights, activations = SHORT_PRECISIONS.get(name, (name, ""))
    taken = activations or row_of(weights).get("activations", weights)
    return (
        WEIGHT_FORMATS.index(weights),
        FORMAT_NAMES.index(taken),
        CACHE_FORMATS.index(KV_CACHES[kept]),
    )


def precision_text(arch: Architecture, weights: str, activations: str, cache: str) -> str:
    """Text of the precision of three format names."""
    name = weights
    if weights != OWN and activations != row_of(weights).get("activations", weights):
        named = {pair: short for short, pair in SHORT_PRECISIONS.items()}
        name = named.get((weights, activations), f"{weights} x {activations}")
    usual = CACHE_FORMATS[own_cache(arch)] if weights == OWN else "bf16"
    kept = {value: short for short, value in KV_CACHES.items()}
    return name if cache == usual else f"{name}-{kept.get(cache, cache)}"


def read_crops(written: object) -> tuple[int, int]:
    """Read a crop grid: rows and columns of "2x3", (0, 0) for "none".

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
    """Read a resolution mode such as "gundam:2x3": view and tile size, rows and columns.

    Raises
    ------
    ValueError
        With what is expected.
    """
    name, colon, crop = written.partition(":") if isinstance(written, str) else ("", "", "")
    crops = read_crops(crop) if colon else (0, 0)
    return (*mode_sizes(model, name, crops != (0, 0)), *crops)


def mode_sizes(model: Model, name: str, tiled: bool) -> tuple[int, int]:
    """View and tile size of a resolution mode in pixels; `tiled` where it has crops.

    Raises
    ------
    ValueError
        With what is expected.
    """
    mode = model.modes.get(name)
    if mode is None:
        expected = f'one of {", ".join(model.modes)}, with tiles as "gundam:2x3"'
        raise ValueError(expected + nearest(name, model.modes))
    if tiled and mode.tile_size is None:
        raise ValueError(f'no crops, as mode "{name}" has no tiles')
    if not tiled and mode.tile_size is not None:
        raise ValueError(f'crops, such as "{name}:2x3", as mode "{name}" has tiles')
    return mode.view_size, mode.tile_size or model.image_sizes[1]


def read_image(written: object) -> tuple[int, int]:
    """Read an image's size, "HEIGHTxWIDTH" in pixels.

    Raises
    ------
    ValueError
        With what is expected.
    """
    expected = 'HEIGHTxWIDTH in pixels, such as "1654x2339"'
    match = (
        re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", written) if isinstance(written, str) else None
    )
    if match is None:
        raise ValueError(expected)
    height, width = int(match[1]), int(match[2])
    if not (1 <= height <= LARGEST_IMAGE and 1 <= width <= LARGEST_IMAGE):
        raise ValueError(f"{expected}; edges 1..{LARGEST_IMAGE:,}")
    return height, width


def read_page(written: object) -> tuple[int, int]:
    """Read a scanned page such as "a4@200dpi" or "letter-landscape@150dpi": height and width.

    Raises
    ------
    ValueError
        With what is expected.
    """
    papers = paper_sizes()
    expected = f'PAPER@RESOLUTION, such as "a4@200dpi"; papers {", ".join(papers)}'
    text = written if isinstance(written, str) else ""
    match = re.fullmatch(r"([a-z0-9]+)(-landscape)?@([0-9]{1,5})dpi", text)
    if match is None or match[1] not in papers:
        raise ValueError(expected)
    width, height = (
        round(edge * int(match[3]) / MILLIMETRES_PER_INCH) for edge in papers[match[1]]
    )
    if not 1 <= max(width, height) <= LARGEST_IMAGE or not min(width, height):
        raise ValueError(f"a page of 1..{LARGEST_IMAGE:,} pixels an edge, not {height} x {width}")
    return (width, height) if match[2] else (height, width)


def images_text(point: Mapping[str, Any]) -> str:
    """Text of the images in a point's columns: how many, and their size or crops."""
    count = int(point.get("images", 1))
    if not count:
        return "no image"
    what = "an image" if count == 1 else f"{count} images"
    size = image_size_text(point)
    return f"{what} of {size}" if int(point.get("image_height") or 0) else f"{what}, {size}"


def image_size_text(point: Mapping[str, Any]) -> str:
    """Text of the size or crops of the images in a point's columns."""
    if int(point.get("image_height") or 0):
        return f"{point['image_height']}x{point['image_width']} pixels"
    if "crop_rows" not in point:
        return "any size"
    return f"{point['crop_rows']}x{point['crop_cols']} crops" if point["crop_rows"] else "no crops"


@cache
def paper_sizes() -> dict[str, tuple[float, float]]:
    """Width and height of papers by name, millimetres."""
    return {name: (sizes[0], sizes[1]) for name, sizes in shipped_table("papers.toml").items()}


def read_heads(written: object) -> tuple[int, int]:
    """Read a pair of query heads and key-value heads.

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
    "image": lambda model, written: read_image(written),
    "page": lambda model, written: read_page(written),
    "heads": lambda model, written: read_heads(written),
    "precision": lambda model, written: read_precision(model.architecture, written),
    "layout": lambda model, written: read_layout(written),
}


def joint_values(
    model: Model, axis: str, written: object, place: str, show: Callable[[object], str] = shown
) -> tuple[int, ...]:
    """Read the columns of a joint axis, given as text or tuple; each value is valid alone.

    Parameters
    ----------
    model : Model
    axis : str
        One of `grid.axes.JOINT`.
    written : str or tuple of int
        Such as "tp4-ep8", or Layout(4, 8, 1, 2).
    place : str
        Name of the input in messages.
    show : callable
        Formats the value in messages.

    Raises
    ------
    InputError
        With what is expected.
    """
    columns = AXES[axis].columns
    numbers = not INPUTS[columns[0]].choices  # formats are given by name only
    try:
        is_values = numbers and isinstance(written, tuple) and len(written) == len(columns)
        values = tuple(written) if is_values else _READERS[axis](model, written)  # type: ignore[arg-type]
    except ValueError as error:
        raise InputError(f"{place} = {show(written)}: expected {error}") from None
    for name, value in zip(columns, values, strict=True) if numbers else ():
        checked_value(INPUTS[name], value, f"{place}: {name} = {shown(value)}")
    return values


def joint_columns(
    model: Model, axis: str, written: Sequence[object], place: str
) -> dict[str, Integers]:
    """Columns of a joint axis from rows of text; each distinct text is read once.

    Parameters
    ----------
    model : Model
    axis : str
        One of `grid.axes.JOINT`.
    written : sequence of str or tuple, length N
    place : str
        Name of the column in messages.

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
    names = (value if isinstance(value, str) else repr(value) for value in written)
    codes = [first.setdefault(name, (len(first), i))[0] for i, name in enumerate(names)]
    read = []
    for _, i in first.values():
        value = written[i]
        value = tuple(value) if isinstance(value, list) else value
        read.append(joint_values(model, axis, value, f"{place}[{i}]", repr))
    table = np.array(read, np.int64).reshape(-1, len(columns))
    return {name: table[codes, i] for i, name in enumerate(columns)}
