"""Towers of random blocks and joins: compiled equals plain Python, and views add up."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepengine.data.models import build, load_model
from sweepengine.engine import compute, tables
from sweepengine.engine.frames import evaluate
from sweepengine.formulas.architecture import ATTENTIONS
from sweepengine.formulas.points import Point
from sweepengine.formulas.views import ImageViews, View
from sweepengine.grid.columns import OUTPUT_NAMES
from sweepengine.grid.counted import point_columns
from sweepengine.grid.plain import vision_figures

TEXT = load_model("qwen3-8b").data
RULES = [
    {"name": "native", "patch": 14, "merge": 2, "least": 3136, "most": 1_003_520},
    {"name": "longest_edge", "patch": 16, "merge": 2, "most": 1540},
    {"name": "aspect_tiles", "patch": 14, "merge": 2, "tile": 448, "least": 1, "most": 12},
    {"name": "fixed", "patch": 14, "tile": 448},
]
FLAGS = st.booleans()
NUMBERS = st.integers(0, 3)


@st.composite
def attentions(draw):
    """How queries of a group of blocks meet keys: all, in windows, of a source, of channels."""
    kind = draw(st.sampled_from(["all", "cut", "padded", "source", "channels"]))
    if kind in ("cut", "padded"):
        return {"window": draw(st.integers(1, 40)), "padded": kind == "padded"}
    if kind == "source":
        return {
            "source": draw(st.sampled_from([1, 2])),
            "source_extra": draw(NUMBERS),
            "source_rows": draw(st.sampled_from([0, 50])),
            "source_width": draw(st.integers(1, 64)),
            "rows": draw(st.sampled_from([0, 16])),  # latents
        }
    return {"channel_groups": draw(st.sampled_from([1, 2, 4]))} if kind == "channels" else {}


@st.composite
def blocks(draw):
    kv_heads = draw(st.integers(1, 3))
    heads = kv_heads * draw(st.integers(1, 3)) * draw(st.integers(0, 1))
    flags = ("input_bias", "key_bias", "output_bias", "mlp_bias", "rotary")
    return {
        "part": "vision tower", "kind": "blocks", "layers": draw(NUMBERS),
        "width": 8 * draw(st.integers(1, 8)), "heads": heads,
        "key_value_heads": min(kv_heads, heads),
        "head_width": draw(st.integers(1, 32)), "mlp_width": draw(st.integers(0, 90)),
        "matrices": draw(st.sampled_from([2, 3])), "activation_flops": draw(NUMBERS),
        "norms": draw(NUMBERS), "norm_weights": draw(st.sampled_from([1, 2])),
        "scales": draw(NUMBERS), "head_norm": draw(st.sampled_from([0, 64])),
        "relative_flops": draw(st.sampled_from([0, 64])), "tables": draw(st.integers(0, 90)),
        "merge": draw(st.integers(1, 3)), "extra": draw(NUMBERS), "convolutions": draw(NUMBERS),
        "taps": draw(st.sampled_from([9, 25])), **{flag: draw(FLAGS) for flag in flags},
        **draw(attentions()),
    }  # fmt: skip


@st.composite
def joins(draw):
    linear = draw(FLAGS)
    merge = draw(st.integers(1, 3))
    shape = {
        "inputs": draw(st.integers(1, 90)), "taps": draw(st.sampled_from([1, 9])),
        "matrices": draw(st.sampled_from([1, 2])), "bias": draw(st.sampled_from([0, 1])),
        "weightless": draw(FLAGS), "activation_flops": draw(NUMBERS),
        "reads_merge": draw(st.sampled_from([0, 1])),
    }  # fmt: skip
    norm = {"norm_weights": draw(st.sampled_from([0, 1, 2])), "moves": draw(NUMBERS)}
    return {
        "part": "projector", "operator": "join", "outputs": draw(st.integers(1, 90)),
        "merge": merge, "extra": draw(NUMBERS), "line": draw(st.sampled_from([0, 1])),
        "rows": draw(st.sampled_from([0, 0, 33])), "whole": draw(FLAGS),
        "tables": draw(st.integers(0, 90)), "unread": draw(st.integers(0, 90)),
        **(shape if linear else norm),
    }  # fmt: skip


@st.composite
def models(draw):
    vision = {
        "source": "drawn",
        "rule": draw(st.sampled_from(RULES)),
        "merge": draw(st.integers(1, 3)),
        "width": draw(st.integers(1, 90)),
        "blocks": draw(st.lists(blocks(), min_size=1, max_size=3)),
        "joins": draw(st.lists(joins(), max_size=3)),
    }
    return build({**TEXT, "name": "drawn", "vision": vision}, "drawn.toml")


@pytest.fixture(scope="module")
def every_formula_compiled():
    """Small numbers of points and of images are compiled too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "FEW", 0)
        patch.setattr(compute, "MAX_PLAIN_POINTS", 0)
        yield


EDGES = st.integers(40, 2500)
REQUESTS = st.fixed_dictionaries(
    {
        "image_height": EDGES,
        "image_width": EDGES,
        "images": st.integers(0, 5),
        "text_tokens": st.integers(1, 900),
        "batch_size": st.integers(1, 90),
        "decode_steps": st.integers(0, 90),
        "attention": st.sampled_from(ATTENTIONS),
    }
)


@settings(max_examples=40)
@given(models(), st.lists(REQUESTS, min_size=1, max_size=6))
def test_any_tower_is_the_same_compiled_and_in_plain_python(
    every_formula_compiled, model, requests
):
    rows = [{name: row[name] for name in row if name in model.inputs} for row in requests]
    found = evaluate(pl.DataFrame(rows), model).iter_rows(named=True)
    for given_row, row in zip(rows, found, strict=True):
        codes = {**given_row, "attention": ATTENTIONS.index(given_row["attention"])}
        point = Point(**{**dict.fromkeys(Point._fields[:13], 0), **codes})
        plain = point_columns(model.architecture, point)
        assert {name: row[name] for name in OUTPUT_NAMES} == {
            name: plain[name] for name in OUTPUT_NAMES
        }


VIEWS = st.builds(View, st.integers(0, 5), st.integers(1, 60), st.integers(1, 60))


@settings(max_examples=60)
@given(models(), VIEWS, VIEWS, st.sampled_from([0, 1]))
def test_views_of_an_image_add_up(model, views, tiles, flash):
    """Each view runs alone: the FLOPs of an image are the sum of those of its views."""

    def flops(first, second):
        features = 7 * first.count + 5 * second.count
        image = ImageViews(first, second, features, features, features)
        counts = vision_figures(model.architecture, image, flash).counts
        return counts.tensor_flops, counts.cuda_flops

    none, one = views._replace(count=0), views._replace(count=1)
    no_tiles, tile = tiles._replace(count=0), tiles._replace(count=1)
    of_views, of_tiles = flops(one, no_tiles), flops(none, tile)
    added = [views.count * a + tiles.count * b for a, b in zip(of_views, of_tiles, strict=True)]
    assert list(flops(views, tiles)) == added
