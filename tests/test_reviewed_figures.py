"""Whole costs of layers and stages, as once reviewed against the text of the formulas.

`tests/data/reviewed_*.csv` hold every field of every layer, small and odd sizes, both models. A
change of any constant shows here; a figure is changed there only after the formula was read again.
"""

import csv
import inspect

import pytest

from sweepengine.architecture import load_model
from sweepengine.cost import Cost, side_by_side
from sweepengine.geometry import vision_workload
from sweepengine.layers import PUBLISHED_LAYERS, decoder, residual, vision
from sweepengine.stages import Point, point_columns
from sweepengine.stages import vision as vision_stage
from tests.conftest import MODELS

LAYERS = {
    **PUBLISHED_LAYERS,
    "layer_norm": residual.layer_norm,
    "residual_add": residual.residual_add,
    "neck_convolutions": vision.neck_convolutions,
    "neck": vision.neck,
    "sam_tables": vision.sam_tables,
    "clip_layer_norm": vision.clip_layer_norm,
    "routed_experts": decoder.routed_experts,
    "final_norm": decoder.final_norm,
    "token_embedding": decoder.token_embedding,
}


def rows(root, name):
    with (root / "tests/data" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def arguments(row):
    """What the layer takes after its architecture; heads are the last three numbers."""
    numbers = [int(number) for number in row["arguments"].split()]
    if "heads" in inspect.signature(LAYERS[row["layer"]]).parameters:
        return [*numbers[:-3], decoder.Heads(*numbers[-3:])]
    return numbers


def test_every_field_of_every_layer_is_as_reviewed(root):
    reviewed = rows(root, "reviewed_layers.csv")
    assert {(row["layer"], row["model"]) for row in reviewed} == {
        (layer, model) for layer in LAYERS for model in MODELS
    }
    for row in reviewed:
        arch = load_model(row["model"]).architecture
        cost = LAYERS[row["layer"]](arch, *arguments(row))
        assert cost == Cost(*(int(row[field]) for field in Cost._fields)), row


def test_every_column_of_points_is_as_reviewed(root):
    for row in rows(root, "reviewed_points.csv"):
        point = Point(*(int(row[name]) for name in Point._fields))
        columns = point_columns(load_model(row["model"]).architecture, point)
        for name, value in columns.items():
            assert value == pytest.approx(float(row[name]), rel=1e-14), (row, name)
            if isinstance(value, int):
                assert value == int(row[name]), (row, name)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_inputs_side_by_side_share_weights(count):
    one = Cost(2, 3, 5, 7, 11, 13, 17, 19, 23)
    shared = min(count, 1)
    expected = Cost(2 * count, 3 * count, 5 * count, 7 * shared, 11 * shared, 13 * count,
                    17 * count, 19 * count, 23 * shared)  # fmt: skip
    assert side_by_side(one, count) == expected


def test_windows_of_one_patch_attend_to_themselves_only(released):
    narrow = vision.block(released, 6, 1, residual.FLASH)
    alone = vision.attention(released, 36, 1, residual.FLASH)
    assert narrow.tensor_flops == alone.tensor_flops + vision.mlp_block(released, 36).tensor_flops


@pytest.mark.parametrize("name", MODELS)
def test_vision_reads_no_experts_and_no_cache(name):
    arch = load_model(name).architecture
    cost = vision_stage(arch, vision_workload(arch, 1024, 640, 2, 3), residual.EAGER)
    assert (cost.expert_io, cost.kv_io) == (0, 0)
    assert cost.weight_io > 0
