"""The compiled vision phase: blocks and joins are rows of numbers, so all towers share one compile.

A call compiles the formulas of one group of blocks and of one join, whatever the model.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweepengine.engine.compiled import compiled
from sweepengine.engine.readers import reader
from sweepengine.formulas.architecture import Convention
from sweepengine.formulas.blocks import Block
from sweepengine.formulas.cost import CountedOperator
from sweepengine.formulas.towers import Blocks, Join
from sweepengine.formulas.views import ImageViews
from sweepengine.formulas.vision import (
    NOT_ENCODED,
    both_encoded,
    encoded_by_blocks,
    encoded_by_join,
    vision_phase,
)

Integers = NDArray[np.int64]

image_at = reader(ImageViews)
blocks_at = reader(Blocks)
join_at = reader(Join)
counted_at = reader(CountedOperator)
BlockCounts = NamedTuple(  # type: ignore[misc]
    "BlockCounts", [(name, CountedOperator) for name in Block._fields]
)
block_counts_at = reader(BlockCounts)


@compiled("vision")
def fill_vision(
    convention: Convention,
    merge: int,
    width: int,
    blocks: Integers,
    block_counts: Integers,
    joins: Integers,
    join_counts: Integers,
    images: Integers,
    out: Integers,
) -> None:
    """Vision of each image into `out`, shape (fields of `Phase`, read and held bytes; N).

    Parameters
    ----------
    convention : Convention
        Of the accounting.
    merge, width : int
        Of the towers' features.
    blocks, block_counts, joins, join_counts : int64 array, shape (parts, numbers)
        As `tables.tower_rows` makes them.
    images : int64 array, shape (N, numbers of `ImageViews`, and attention)
        Views of images.
    out : int64 array
        To be filled.
    """
    for row in range(len(images)):
        image, flash = image_at(images[row]), images[row, images.shape[1] - 1]
        whole = NOT_ENCODED
        for part in range(len(blocks)):
            group, counts = blocks_at(blocks[part]), block_counts_at(block_counts[part])
            whole = both_encoded(whole, encoded_by_blocks(group, counts, image, flash))
        for part in range(len(joins)):
            join, role = join_at(joins[part]), counted_at(join_counts[part])
            whole = both_encoded(whole, encoded_by_join(join, role, image))
        found = vision_phase(convention, merge, width, image, whole)
        for field in range(len(found.counts)):
            out[field, row] = found.counts[field]
        out[len(found.counts), row] = found.read_bytes
        out[len(found.counts) + 1, row] = found.held_bytes
