"""Whole costs of layers and stages, as once reviewed against the text of the formulas.

`tests/data/reviewed_*.csv` hold every field of every layer, small and odd sizes, both models. A
change of any constant shows here; a figure is changed there only after the formula was read again.
"""

import csv
import inspect

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas import published as layers
from sweepengine.formulas import published_vision as vision_layers
from sweepengine.formulas.architecture import EAGER, FLASH
from sweepengine.formulas.blocks import Block, join_cost
from sweepengine.formulas.cost import NOTHING, Cost, add, counted, scaled
from sweepengine.formulas.deepseek_ocr import relative_tables
from sweepengine.formulas.operators import norm, residual_add
from sweepengine.formulas.points import Point
from sweepengine.formulas.published import PUBLISHED_LAYERS
from sweepengine.formulas.views import View
from sweepengine.grid.counted import point_columns
from sweepengine.grid.plain import image_of, vision_figures
from tests.conftest import MODELS


def in_block(arch, name, cost):
    """An operator of SAM's blocks, as counted."""
    position = [one.tower for one in arch.vision.block_names].index("sam")
    return counted(cost, arch.counts.blocks[position][Block._fields.index(name)])


def joins_of_sam(arch, edge, *operators, counts=True):
    """Joins of SAM on a view of so many patches, together."""
    towers, found = arch.vision, NOTHING
    for name, join, role in zip(towers.join_names, towers.joins, arch.counts.joins, strict=True):
        if name.tower == "sam" and name.operator in operators:
            cost = join_cost(join, View(1, edge, edge), 0)
            found = add(found, counted(cost, role) if counts else cost)
    return found


def tables_of_view(arch, edge):
    """Position tables, and what stored relative tables hold more than those of the view."""
    tables = joins_of_sam(arch, edge, "tables")
    (blocks,) = [
        group
        for name, group in zip(arch.vision.block_names, arch.vision.blocks, strict=True)
        if name.kind == "global_blocks"
    ]
    more = blocks.layers * (blocks.tables - relative_tables(edge, blocks.head_width))
    counts = arch.counts.joins[1]
    return tables._replace(
        weight_io=tables.weight_io + counts.weight_io * more,
        weights=tables.weights + counts.weights * more,
    )


LAYERS = {
    **PUBLISHED_LAYERS,
    "layer_norm": lambda arch, tokens, width: in_block(
        arch, "norms", norm(tokens * width, 5, 2 * width, 0)
    ),
    "residual_add": lambda arch, tokens, width: in_block(
        arch, "residuals", residual_add(tokens * width)
    ),
    "neck_convolutions": lambda arch, edge: joins_of_sam(arch, edge, "neck", counts=False),
    "neck": lambda arch, edge: joins_of_sam(arch, edge, "neck", "neck_norms"),
    "sam_tables": tables_of_view,
    "clip_layer_norm": vision_layers.clip_layer_norm,
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
            "prefill_exchange_bytes": 0, "image_features": int(row["image_tokens"]),
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
    narrow = vision_layers.block(released, 6, 1, FLASH)
    alone = vision_layers.attention(released, 36, 1, FLASH)
    mlp = vision_layers.mlp_block(released, 36)
    assert narrow.tensor_flops == alone.tensor_flops + mlp.tensor_flops


def test_vision_reads_no_experts_and_no_cache(released):
    image = image_of(released, Point(1024, 640, 2, 3, 10, 1, 1, 0, 0, EAGER))
    seen = vision_figures(released, image, EAGER)
    assert seen.counts.kv_io_bytes == 0
    assert seen.read_bytes > 0
