"""The encoder of queries, its figures worked by hand; torch's stand in tests/validation."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.blocks import block, join_cost, peak_of_block
from sweepengine.formulas.cost import Cost
from sweepengine.formulas.crops import crop_views, features_of_view, queries_of_view
from sweepengine.formulas.deepseek_ocr import encoder_parts
from sweepengine.formulas.ocr_parts import Encoder
from sweepengine.formulas.views import View

SMALL = Encoder(width=6, heads=3, key_value_heads=1, mlp_width=5, layers=2)
"""Heads of 2 channels: 6 x (6 + 2 + 2) in, 6 x 6 out."""
SECOND = load_model("deepseek-ocr-2").architecture
RULE = SECOND.vision.crops
FOUR = View(count=1, rows=4, columns=4, queries=3)
"""One feature of 4 x 4 patches, and three queries."""


def parts_of(encoder, **image):
    return encoder_parts(SECOND.ocr.image._replace(**image), encoder)


def test_layer_costs_what_was_worked_by_hand():
    ((_, blocks),) = parts_of(SMALL).blocks
    layer = block(blocks, FOUR, 1)
    assert layer.projections == Cost(768, 0, 48, 106, 0, 0, 48, 48, 106)
    assert layer.rotary == Cost(0, 96, 0, 0, 0, 0, 0, 0, 0)
    assert layer.attention == Cost(384, 240, 40, 0, 0, 0, 64, 40, 0)
    assert layer.mlp == Cost(720, 80, 68, 90, 0, 0, 108, 68, 90)
    assert layer.norms == Cost(0, 144, 96, 12, 0, 0, 48, 96, 12)
    assert layer.residuals == Cost(0, 48, 144, 0, 0, 0, 48, 0, 0)
    eager = block(blocks, FOUR, 0).attention
    assert eager == Cost(384, 240, 136, 0, 0, 0, 160, 136, 0)


def test_ends_hold_both_tables_and_norm_once():
    for encoder in (SMALL, SMALL._replace(layers=1)):
        joins = parts_of(encoder, few_queries=2, many_queries=3).joins
        ends = {operator: join_cost(join, FOUR, 0) for _, operator, join in joins}
        assert ends["queries"] == Cost(0, 0, 0, 30, 0, 0, 0, 0, 30)
        assert ends["final_norm"] == Cost(0, 72, 48, 6, 0, 0, 48, 48, 6)


def test_peak_is_the_stream_beside_attention_or_the_mlp():
    def peak(encoder, flash):
        ((_, blocks),) = parts_of(encoder).blocks
        return peak_of_block(block(blocks, FOUR, flash), blocks, FOUR, flash)

    assert peak(SMALL, 1) == 24 + 48 + 64
    assert peak(SMALL, 0) == 24 + 48 + 160
    assert peak(SMALL._replace(mlp_width=50), 0) == 24 + 4 * (12 + 150) + 48


@pytest.mark.parametrize(
    ("side", "features", "queries"), [(640, 100, 144), (768, 144, 144), (832, 169, 256),
                                      (1024, 256, 256), (1280, 400, 256)]
)  # fmt: skip
def test_a_view_has_few_queries_where_they_are_enough(side, features, queries):
    assert queries_of_view(RULE, side) == features_of_view(RULE, side) == queries
    view = crop_views(RULE, side, side, 0, 0).views
    assert (view.rows // 4 * (view.columns // 4), view.queries) == (features, queries)
    first = load_model("deepseek-ocr-3b").architecture.vision.crops
    assert queries_of_view(first, side) == 0
    assert features_of_view(first, side) == features


def test_an_image_has_a_token_a_query_and_a_separator():
    image = crop_views(RULE, 1024, 768, 2, 3)
    assert (image.tokens, image.tiles.count) == (257 + 6 * 144, 6)
    assert image.features == image.tokens
    assert image.joined == 256 + 6 * 144
    single = RULE._replace(few_queries=1, many_queries=1)
    assert features_of_view(single, 1024) == 1
    assert crop_views(single, 1024, 768, 2, 3).tokens == 2 + 6
    assert crop_views(RULE, 768, 768, 0, 0).tokens == 145
