"""How a layout and a precision are spelled: "tp4-ep8", "fp8-kv8"."""

import re
from collections.abc import Mapping
from typing import Any

from sweepengine.formulas.architecture import Architecture
from sweepengine.formulas.formats import (
    CACHES,
    FORMATS,
    NAMES,
    OWN,
    own_activation,
    own_cache,
    row_of,
)
from sweepengine.formulas.layout import Layout

LETTERS = {"tp": "tensor", "ep": "expert", "pp": "pipeline", "dp": "data"}
PRECISIONS = {
    "w4a16": ("int4", "bf16"),
    "w4a8": ("int4", "fp8"),
    "w8a16": ("fp8", "bf16"),
    "w8a8": ("int8", "int8"),
}
"""Short names of weights and activations; a format's own name stands for its usual ones."""
KEPT = {"kv16": "bf16", "kv8": "fp8", "kv4": "nvfp4"}


def read_layout(written: object) -> Layout:
    """A layout of what is written; what it leaves out is 1.

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
    """A point's layout as it is spelled; empty on one device."""
    sizes = {letter: int(point.get(f"{kind}_parallel", 1)) for letter, kind in LETTERS.items()}
    return "-".join(f"{letter}{size}" for letter, size in sizes.items() if size > 1)


def read_precision(arch: Architecture, written: object) -> tuple[int, int, int]:
    """Codes of the formats of weights, activations and cache of what is written.

    The cache stays in bf16 unless "-kv8" or "-kv4" says otherwise; "checkpoint" is what the
    checkpoint itself says of all three.

    Raises
    ------
    ValueError
        With what is expected.
    """
    names = (*FORMATS, *PRECISIONS)
    expected = f"one of {', '.join(names)}, and behind it -{', -'.join(KEPT)} for the cache"
    if not isinstance(written, str):
        raise ValueError(expected)
    name, dash, kept = written.rpartition("-")
    if not dash or kept not in KEPT:
        name, kept = written, "kv16"
    if name not in names:
        raise ValueError(expected)
    if name == OWN:
        cache = own_cache(arch) if written == OWN else CACHES.index(KEPT[kept])
        return 0, own_activation(arch), cache
    weights, activations = PRECISIONS.get(name, (name, ""))
    taken = activations or row_of(weights).get("activations", weights)
    return FORMATS.index(weights), NAMES.index(taken), CACHES.index(KEPT[kept])


def precision_text(arch: Architecture, weights: str, activations: str, cache: str) -> str:
    """The precision that three formats are, as it is spelled."""
    name = weights
    if weights != OWN and activations != row_of(weights).get("activations", weights):
        named = {pair: short for short, pair in PRECISIONS.items()}
        name = named.get((weights, activations), f"{weights} x {activations}")
    usual = CACHES[own_cache(arch)] if weights == OWN else "bf16"
    kept = {value: short for short, value in KEPT.items()}
    return name if cache == usual else f"{name}-{kept.get(cache, cache)}"
