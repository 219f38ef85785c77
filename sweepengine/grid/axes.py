"""The axes of a grid: which input columns each sets, and how its values are written."""

from typing import TYPE_CHECKING, Final, NamedTuple

from sweepengine.formulas.points import CROP_COLUMNS, INPUTS, SIZE_COLUMNS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MODEL_AXIS: Final = "model"
"""Axis of a grid and column of a frame whose values are models, which need not be alike."""


class Axis(NamedTuple):
    """One axis of a grid: the values of one column, or of columns that vary together."""

    name: str
    columns: tuple[str, ...]
    values: "NDArray[np.int64]"
    """Shape (values, columns)."""


class AxisKind(NamedTuple):
    """Which columns an axis sets, and how its values are written."""

    columns: tuple[str, ...]
    """Input columns that the axis sets."""
    spelling: str
    """"numbers", "choices", or the joint axis whose text `grid/shorthand.py` reads."""
    meaning: str
    example: str
    """One value, as written on the command line."""


JOINT: Final = {
    "mode": AxisKind(CROP_COLUMNS, "mode", "resolution mode: view, tile and crops together",
                     "gundam:2x3"),
    "crops": AxisKind(("crop_rows", "crop_cols"), "crops", 'crop grid, or "none"', "2x3"),
    "image": AxisKind(SIZE_COLUMNS, "image", "image as given, pixels: height x width",
                      "1654x2339"),
    "page": AxisKind(SIZE_COLUMNS, "page", "scanned page: paper at a resolution", "a4@200dpi"),
    "heads": AxisKind(("attention_heads", "key_value_heads"), "heads",
                      "query heads and key-value heads", "10,5"),
    "precision": AxisKind(("weight_format", "activation_format", "cache_format"), "precision",
                          "formats of weights, activations and KV cache", "fp8-kv8"),
    "layout": AxisKind(("tensor_parallel", "expert_parallel", "pipeline_parallel",
                        "data_parallel", "decode_context_parallel"), "layout",
                       "parallel layout on devices", "tp4-pp2"),
}  # fmt: skip
"""Axes that set several columns, each value written as one text."""
_WHOLE: Final = {
    column for joint in ("crops", "image", "heads", "layout") for column in JOINT[joint].columns
}
"""Columns that are valid only together, so they have no axis each."""
AXES: Final = JOINT | {
    name: AxisKind(
        (name,),
        "choices" if column.choices else "numbers",
        column.meaning,
        column.choices[column.default] if column.choices else str(column.default),
    )
    for name, column in INPUTS.items()
    if name not in _WHOLE
}
"""Every axis: the joint ones, and one per other input column, of the column's name."""
