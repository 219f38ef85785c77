"""Whole costs of layers and stages, as once reviewed against the text of the formulas.

`tests/data/reviewed_*.csv` hold every field of every layer, small and odd sizes, both models. A
change of any constant shows here; a figure is changed there only after the formula was read again.
"""

import csv
import inspect

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas import published as layers
from sweepengine.formulas.architecture import EAGER, FLASH
from sweepengine.formulas.cost import Cost, counted, scaled, total
from sweepengine.formulas.operators import norm, residual_add
from sweepengine.formulas.points import Point
from sweepengine.formulas.published import PUBLISHED_LAYERS
from sweepengine.formulas.sam import SamBlock, neck, position_tables, sam_ends
from sweepengine.formulas.tokens import image_tokens
from sweepengine.formulas.vision import vision
from sweepengine.grid.plain import point_columns
from tests.conftest import MODELS


def in_block(arch, name, cost):
    """An operator of SAM's blocks, as counted."""
    return counted(cost, arch.counts.sam_block[SamBlock._fields.index(name)])


def whole_neck(arch, edge):
    """Convolutions of the neck and their two norms."""
    ends = sam_ends(arch.vision.image, arch.vision.sam, edge * arch.vision.image.patch_size)
    return total((ends.neck, ends.neck_norms), arch.counts.sam_ends[2:])


LAYERS = {
    **PUBLISHED_LAYERS,
    "layer_norm": lambda arch, tokens, width: in_block(
        arch, "norms", norm(tokens * width, 5, 2 * width, 0)
    ),
    "residual_add": lambda arch, tokens, width: in_block(
        arch, "residuals", residual_add(tokens * width)
    ),
    "neck_convolutions": lambda arch, edge: neck(arch.vision.sam, edge),
    "neck": whole_neck,
    "sam_tables": lambda arch, edge: counted(
        position_tables(arch.vision.sam, edge), arch.counts.sam_ends[1]
    ),
    "clip_layer_norm": layers.clip_layer_norm,
    "routed_experts": layers.routed_experts,
    "final_norm": layers.final_norm,
    "token_embedding": layers.token_embedding,
}
UNCOUNTED_THERE = ("neck_convolutions", "CLIPVisionEmbeddings_conv")
"""Operators that are shown bare, as no accounting counts them alone."""
DECODER = ("Deepseek", "MoE", "Llama", "LMHead", "routed", "final", "token")


def rows(root, name):
    with (root / "tests/data" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def arguments(row):
    """What the layer takes after its architecture; heads are the last three numbers."""
    numbers = [int(number) for number in row["arguments"].split()]
    if "heads" in inspect.signature(LAYERS[row["layer"]]).parameters:
        return [*numbers[:-3], tuple(numbers[-3:])]
    return numbers


def expected(row):
    """The reviewed cost; the published accounting counts no reads, and vision's weights twice."""
    cost = Cost(*(int(row[field]) for field in Cost._fields))
    if row["model"] == "deepseek-ocr-3b" or row["layer"] in UNCOUNTED_THERE:
        return cost
    copies = 1 if row["layer"].startswith(DECODER) else 2
    return cost._replace(weight_io=0, expert_io=0, kv_io=0, weights=copies * cost.weights)


def test_every_field_of_every_layer_is_as_reviewed(root):
    reviewed = rows(root, "reviewed_layers.csv")
    assert {(row["layer"], row["model"]) for row in reviewed} == {
        (layer, model) for layer in LAYERS for model in MODELS
    }
    for row in reviewed:
        arch = load_model(row["model"]).architecture
        cost = LAYERS[row["layer"]](arch, *arguments(row))
        assert cost == expected(row), row


def test_every_column_of_points_is_as_reviewed(root):
    for row in rows(root, "reviewed_points.csv"):
        point = Point(**{name: int(row[name]) for name in Point._fields if name in row})
        columns = point_columns(load_model(row["model"]).architecture, point)
        assert {n: v for n, v in columns.items() if n not in row} == {
            "vision_link_bytes": 0, "prefill_link_bytes": 0, "decode_link_bytes": 0, "devices": 1,
            "prefill_exchange_bytes": 0,
            "decode_exchange_bytes": 0, "prefill_collectives": 0, "decode_collectives": 0,
        }  # fmt: skip
        for name, value in columns.items():
            if name not in row:
                continue
            assert value == pytest.approx(float(row[name]), rel=1e-14), (row, name)
            if isinstance(value, int):
                assert value == int(row[name]), (row, name)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_inputs_that_share_a_layer_share_its_weights(count):
    one = Cost(2, 3, 5, 7, 11, 13, 17, 19, 23)
    beside = Cost(2 * count, 3 * count, 5 * count, 7, 11, 13 * count, 17, 19 * count, 23)
    after = Cost(2 * count, 3 * count, 5 * count, 7 * count, 11 * count, 13 * count, 17,
                 19 * count, 23 * count)  # fmt: skip
    assert scaled(one, count, 1) == beside
    assert scaled(one, count, count) == after


def test_windows_of_one_patch_attend_to_themselves_only(released):
    narrow = layers.block(released, 6, 1, FLASH)
    alone = layers.attention(released, 36, 1, FLASH)
    assert narrow.tensor_flops == alone.tensor_flops + layers.mlp_block(released, 36).tensor_flops


def test_vision_reads_no_experts_and_no_cache(released):
    image = image_tokens(released.vision.image, 1024, 640, 2, 3)
    cost = vision(released.vision, released.counts, image, EAGER)
    assert (cost.expert_io, cost.kv_io) == (0, 0)
    assert cost.weight_io > 0
