"""Blocks of vision towers, worked by hand from the docstrings' formulas."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.blocks import (
    Rows,
    block_attention,
    block_norms,
    block_projections,
    depthwise,
    join_cost,
    rows_of_blocks,
    rows_of_join,
    score_pairs,
)
from sweepengine.formulas.cost import Cost
from sweepengine.formulas.views import ImageViews, View
from sweepengine.formulas.vision import (
    encoded_by_blocks,
    encoded_by_join,
    features_of_view,
    vision_phase,
)

VISION = load_model("deepseek-ocr-3b").architecture
VIEW = View(count=1, rows=3, columns=2)
"""6 patches; with a class token 7 rows."""


@pytest.fixture
def blocks():
    """2 heads of 3 channels, whose keys are made of the rows themselves."""
    return VISION.vision.blocks[0]._replace(
        width=6, heads=2, key_value_heads=2, head_width=3, norms=2, norm_weights=2, scales=0,
        head_norm=0, window=0, padded=0, merge=1, extra=1, queries=0, rows=0, source=0,
        source_extra=0, source_rows=0, source_width=6, channel_groups=0, flash_widths=0,
        eager_widths=3, eager_scores=0, eager_head_scores=2, summed_widths=0,
    )  # fmt: skip


@pytest.fixture
def join():
    """A linear layer of a row's 6 channels to 4, with a bias."""
    return VISION.vision.joins[0]._replace(
        inputs=6, outputs=4, taps=1, matrices=1, bias=1, weightless=0, activation_flops=0,
        norm_weights=0, merge=1, reads_merge=0, extra=0, queries=0, alone=0, line=0, rows=0,
        whole=0, tables=0, unread=0, moves=2, fixed_moves=0, moves_in=1, moves_out=1, sums_in=1,
        sums_out=1,
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


def test_flash_attention_moves_no_scores_and_eager_both_ways(blocks):
    rows = rows_of_blocks(blocks, VIEW)
    flash, eager = (block_attention(blocks, rows, kind) for kind in (1, 0))
    # queries, keys and values of 7 rows; eager: 3 widths more, and 2 x 49 scores twice
    assert flash.activation_io == flash.activation_sum == 3 * 7 * 6
    assert eager.activation_io == eager.activation_sum == 3 * 7 * 6 + 3 * 7 * 6 + 2 * 2 * 49
    assert block_attention(blocks._replace(summed_widths=1), rows, 0).activation_sum == 7 * 6


def test_depthwise_convolutions(blocks):
    twice = blocks._replace(convolutions=2, taps=9)
    # 2 x 7 x 6 values, read and written; 9 taps and a bias a channel
    assert depthwise(twice, 7) == Cost(2 * 84 * 9, 0, 168, 120, 0, 0, 168, 168, 120)


def test_rows_of_a_join(join):
    queries = VIEW._replace(queries=5)
    assert rows_of_join(join, queries, 1, 9) == 6
    assert rows_of_join(join._replace(rows=1), queries, 1, 9) == 1
    assert rows_of_join(join._replace(alone=1), queries, 1, 9) == 5
    assert rows_of_join(join._replace(whole=1), queries, 1, 9) == 9


def test_a_join_multiplies_a_single_channel_too(join):
    one = join_cost(join._replace(inputs=1), VIEW, 0)
    assert (one.tensor_flops, one.weights) == (2 * 6 * 4, 4 + 4)
    norm = join_cost(join._replace(inputs=0, norm_weights=2), VIEW, 0)
    # a LayerNorm of 6 x 4 values
    assert norm == Cost(0, 5 * 24, 2 * 24, 8, 0, 0, 2 * 24, 24, 8)


def test_only_what_joins_features_is_alive_beside_all_of_them(blocks, join):
    image = ImageViews(views=VIEW, tiles=VIEW, features=9, tokens=9, joined=9)
    counts = VISION.counts
    assert encoded_by_blocks(blocks, counts.blocks[0], image, 1).joined_peak == 0
    assert encoded_by_join(join, counts.joins[0], image).joined_peak == 0
    whole = encoded_by_join(join._replace(whole=1), counts.joins[0], image)
    assert (whole.view_peak, whole.tile_peak, whole.joined_peak) == (0, 0, 9 * (6 + 4))
    assert vision_phase(VISION.convention, 1, 6, image, whole).counts.cache_bytes == 0


def test_a_view_becomes_its_queries_or_its_patches():
    assert features_of_view(VIEW._replace(queries=1), 1) == 1
    assert features_of_view(VIEW, 2) == 2
