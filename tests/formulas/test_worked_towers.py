"""Blocks of vision towers, worked by hand from the docstrings' formulas."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.blocks import (
    Rows,
    block_norms,
    block_projections,
    rows_of_blocks,
    score_pairs,
)
from sweepengine.formulas.cost import Cost
from sweepengine.formulas.views import View

VIEW = View(count=1, rows=3, columns=2)
"""6 patches; with a class token 7 rows."""


@pytest.fixture
def blocks():
    """2 heads of 3 channels, whose keys are made of the rows themselves."""
    plain = load_model("deepseek-ocr-3b").architecture.vision.blocks[0]
    return plain._replace(
        width=6, heads=2, key_value_heads=2, head_width=3, norms=2, norm_weights=2, scales=0,
        head_norm=0, window=0, padded=0, merge=1, extra=1, queries=0, rows=0, source=0,
        source_extra=0, source_rows=0, source_width=6, channel_groups=0,
    )  # fmt: skip


def test_rows_attend_to_all_others_of_their_view(blocks):
    assert rows_of_blocks(blocks, VIEW) == Rows(7, 7, 7, 49, windows=1, edges=3 + 2)


def test_windows_are_cut_or_padded(blocks):
    cut = blocks._replace(window=2, extra=0)
    # windows of 4 and 2 patches
    assert rows_of_blocks(cut, VIEW) == Rows(6, 6, 6, 4 * 4 + 2 * 2, windows=2, edges=4)
    padded = rows_of_blocks(cut._replace(padded=1), VIEW)
    assert padded == Rows(6, 8, 8, 2 * 4 * 4, windows=2, edges=4)
    one = rows_of_blocks(cut._replace(window=1), VIEW)
    assert one == Rows(6, 6, 6, 6, windows=6, edges=2)


def test_latents_attend_to_patches_or_to_both(blocks):
    latents = blocks._replace(rows=4, source=1)
    assert rows_of_blocks(latents, VIEW) == Rows(4, 4, 6, 4 * 6, windows=1, edges=0)
    both = rows_of_blocks(latents._replace(source=2), VIEW)
    assert both == Rows(4, 4, 6 + 4, 4 * 10, windows=1, edges=0)
    one = rows_of_blocks(latents._replace(rows=1, source_rows=1), VIEW)
    assert one == Rows(1, 1, 1, 1, windows=1, edges=0)


def test_channels_attend_to_those_of_their_group(blocks):
    one, two = (blocks._replace(channel_groups=groups) for groups in (1, 2))
    assert rows_of_blocks(one, VIEW) == Rows(7, 7, 7, 7 * 6, windows=1, edges=0)
    assert rows_of_blocks(two, VIEW) == Rows(7, 7, 7, 7 * 3, windows=1, edges=0)
    assert score_pairs(one, rows_of_blocks(one, VIEW)) == 6 * 6
    assert score_pairs(two, rows_of_blocks(two, VIEW)) == 6 * 3
    assert score_pairs(blocks, rows_of_blocks(blocks, VIEW)) == 2 * 49


def test_norms_scales_and_norms_of_heads(blocks):
    plain = block_norms(blocks, 7)
    # two LayerNorms of 42 values: CUDA 5 each, read and written, 12 weights
    assert plain == Cost(0, 420, 168, 24, 0, 0, 84, 0, 24)
    scaled = block_norms(blocks._replace(scales=2), 7)
    assert scaled == Cost(0, 420 + 84, 168 + 168, 24 + 12, 0, 0, 84, 0, 36)
    # heads of queries and keys, 7 x 12 values: CUDA 3, read and written; 9 weights
    normed = block_norms(blocks._replace(head_norm=9), 7)
    assert normed == Cost(0, 420 + 252, 168 + 168, 24 + 9, 0, 0, 168, 0, 33)
    assert block_norms(blocks._replace(scales=2), 0).activation_peak == 0


def test_a_source_of_its_own_is_read_and_its_keys_written(blocks):
    rows = Rows(4, 4, 6, 24, 1, 0)
    own, others = (
        block_projections(blocks._replace(source=source, source_width=5), rows).activation_io
        for source in (0, 2)
    )
    assert own == 2 * 4 * 6
    assert others == own + 6 * (5 + 2 * 6)
