"""The encoder of queries, its figures worked by hand; torch's stand in tests/validation."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.cost import Cost
from sweepengine.formulas.encoder import encoder_block, encoder_block_peak, encoder_ends
from sweepengine.formulas.tokens import features_of_view, image_tokens, queries_of_view
from sweepengine.formulas.towers import NO_ENCODER, Encoder
from sweepengine.formulas.vision import encoder_tokens, projected_tokens

SMALL = Encoder(width=6, heads=3, key_value_heads=1, mlp_width=5, layers=2)
"""Heads of 2 channels: 6 x (6 + 2 + 2) in, 6 x 6 out."""
SECOND = load_model("deepseek-ocr-2").architecture.vision
IMAGE = SECOND.image


def test_layer_costs_what_was_worked_by_hand():
    block = encoder_block(SMALL, 4, 1)
    assert block.projections == Cost(768, 0, 48, 106, 0, 0, 48, 48, 106)
    assert block.rotary == Cost(0, 96, 0, 0, 0, 0, 0, 0, 0)
    assert block.attention == Cost(384, 240, 40, 0, 0, 0, 64, 40, 0)
    assert block.mlp == Cost(720, 80, 68, 90, 0, 0, 108, 68, 90)
    assert block.norms == Cost(0, 144, 96, 12, 0, 0, 48, 96, 12)
    assert block.residuals == Cost(0, 48, 144, 0, 0, 0, 48, 0, 0)
    eager = encoder_block(SMALL, 4, 0).attention
    assert eager == Cost(384, 240, 136, 0, 0, 0, 160, 136, 0)


def test_ends_hold_both_tables_and_norm_once():
    ends = encoder_ends(IMAGE._replace(few_queries=2, many_queries=3), SMALL, 4)
    assert ends.queries == Cost(0, 0, 0, 30, 0, 0, 0, 0, 30)
    assert ends.final_norm == Cost(0, 72, 48, 6, 0, 0, 48, 48, 6)
    one = SMALL._replace(layers=1)
    assert encoder_ends(IMAGE, one, 4) == encoder_ends(IMAGE, SMALL, 4)
    none = encoder_ends(IMAGE, NO_ENCODER, 4)
    assert all(not any(cost) for cost in none)


def test_peak_is_the_stream_beside_attention_or_the_mlp():
    for flash, expected in ((1, 24 + 48 + 64), (0, 24 + 48 + 160)):
        block = encoder_block(SMALL, 4, flash)
        assert encoder_block_peak(block, SMALL, 4, flash) == expected
    wide = SMALL._replace(mlp_width=50)
    block = encoder_block(wide, 4, 0)
    assert encoder_block_peak(block, wide, 4, 0) == 24 + 4 * (12 + 150) + 48


@pytest.mark.parametrize(
    ("side", "features", "queries"), [(640, 100, 144), (768, 144, 144), (832, 169, 256),
                                      (1024, 256, 256), (1280, 400, 256)]
)  # fmt: skip
def test_a_view_has_few_queries_where_they_are_enough(side, features, queries):
    assert queries_of_view(IMAGE, side) == features_of_view(IMAGE, side) == queries
    assert encoder_tokens(SECOND, side) == features + queries
    first = load_model("deepseek-ocr-3b").architecture.vision
    assert queries_of_view(first.image, side) == 0
    assert features_of_view(first.image, side) == features


def test_an_image_has_a_token_a_query_and_a_separator():
    image = image_tokens(IMAGE, 1024, 768, 2, 3)
    assert (image.view_tokens, image.tile_tokens, image.tiles) == (257, 6 * 144, 6)
    assert projected_tokens(SECOND, image) == 256 + 6 * 144
    single = IMAGE._replace(few_queries=1, many_queries=1)
    assert features_of_view(single, 1024) == 1
    assert image_tokens(single, 1024, 768, 2, 3)[3:] == (2, 6)
    alone = image_tokens(IMAGE, 768, 768, 0, 0)
    assert (alone.view_tokens, alone.tile_tokens) == (145, 0)
