import csv

import pytest

from sweepengine.validation import per_layer

pytestmark = pytest.mark.slow


def test_all_21_published_layers_equal_torch_to_the_flop(root, validation):
    rows = validation.layers
    assert [row for row in rows if row.status == "different"] == []
    with (root / "tests/data/reference/per_layer.csv").open() as file:
        published = {row["layer"]: row for row in csv.DictReader(file)}
    assert {row.layer for row in rows} == set(published)
    assert len(rows) == 21
    unseen = {row.layer for row in rows if row.measured_flops == 0}
    assert unseen == {"LayerNorm2d", "DeepseekV2RMSNorm"}
    norms = [row for row in rows if row.layer in unseen]
    assert {row.status for row in norms} == {"equal (element-wise count)"}
    assert all(row.measured_elementwise == row.analytic_elementwise > 0 for row in norms)


def test_published_differences_are_those_of_the_table(root):
    shipped = per_layer.published_differences()
    assert shipped["Block"] == 0.5931
    assert len(shipped) == 21


def test_row_with_another_count_is_different_and_says_by_how_much():
    row = per_layer.Row("vision", "Attention", "Some", 200, 201)
    assert row.status == "different"
    assert row.relative_difference == 0.005
    norm = per_layer.Row("vision", "LayerNorm2d", "Some", 0, 0, 400, 500)
    assert (norm.status, norm.relative_difference) == ("different", 0.25)
    assert per_layer.Row("vision", "LayerNorm2d", "Some", 0, 0).status == "different"
    assert per_layer.Row("vision", "Attention", "Some", 0, 1).relative_difference == float("inf")
