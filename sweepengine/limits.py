"""Refuses what would overflow, by evaluating the largest corner in unbounded integers."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sweepengine.architecture import Architecture
from sweepengine.errors import InputError
from sweepengine.geometry import VisionWorkload, vision_workload
from sweepengine.schema import INT32_MAX, INT64_MAX, OUTPUTS
from sweepengine.stages import Point, point_columns

Integers = NDArray[np.int64]


def largest_workload(arch: Architecture, images: Integers) -> VisionWorkload:
    """Geometry no image of `images` (rows of view, tile, crop rows, crop cols) exceeds.

    It takes the maximum of each figure; costs grow with each.
    """
    distinct = np.unique(images, axis=0)
    largest = VisionWorkload(0, 0, 0, 0, 0)
    for view, tile, rows, cols in distinct.tolist():
        workload = vision_workload(arch, view, tile, rows, cols)
        largest = VisionWorkload(*(max(a, b) for a, b in zip(largest, workload, strict=True)))
    return largest


def check_limits(
    source: str,
    arch: Architecture,
    columns: Mapping[str, Integers],
    images: Integers,
    heads: Integers,
) -> None:
    """Check that no output column overflows at the largest corner of `columns`.

    Every pair of heads is tried with both attentions, as those do not order the costs.

    Raises
    ------
    InputError
        Naming the first column that would not fit, its value and the corner.
    """
    workload = largest_workload(arch, images)
    for attention_heads, key_value_heads in np.unique(heads, axis=0).tolist():
        for attention in (0, 1):
            point = Point(
                workload.view_size,
                workload.tile_size,
                crop_rows=int(columns["crop_rows"].max()),
                crop_cols=int(columns["crop_cols"].max()),
                text_tokens=int(columns["text_tokens"].max()),
                decode_steps=int(columns["decode_steps"].max()),
                batch_size=int(columns["batch_size"].max()),
                attention_heads=attention_heads,
                key_value_heads=key_value_heads,
                attention=attention,
            )
            found = point_columns(arch, point, workload)
            for column in OUTPUTS:
                limit = INT32_MAX if column.dtype == "Int32" else INT64_MAX
                if column.dtype != "Float64" and found[column.name] > limit:
                    corner = (
                        f"{workload.tiles} tiles, {point.text_tokens} text tokens, "
                        f"{point.decode_steps} decode steps, batch {point.batch_size}"
                    )
                    raise InputError(
                        f"{source}: {column.name} reaches {found[column.name]:,} at its largest "
                        f"corner ({corner}): expected at most {limit:,} ({column.dtype})"
                    )
