"""Image rules: check values, and laws that hold for every size."""

import csv
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepengine.formulas.images import (
    RULES,
    ImageRule,
    ImageSizeError,
    image_views,
)

TABLE = Path(__file__).parent.parent / "data" / "images.csv"


def number(text):
    return (
        tuple(tuple(map(int, pair.split("x"))) for pair in text.split(","))
        if "x" in text
        else int(text)
    )


def rule_of(row):
    numbers = dict(entry.split("=") for entry in row["numbers"].split())
    return ImageRule(row["rule"], **{name: number(text) for name, text in numbers.items()})


with TABLE.open(encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))
MODELS = {row["model"]: rule_of(row) for row in ROWS}
RULE_OF_A_MODEL = st.sampled_from(list(MODELS.values()))
EDGES = st.integers(1, 6000)


def written(result):
    """Views as the table writes them: COUNTxROWSxCOLUMNS, and + those of tiles."""
    parts = [view for view in (result.views, result.tiles) if view.count]
    return "+".join(f"{view.count}x{view.rows}x{view.columns}" for view in parts)


@pytest.mark.parametrize(
    "row", ROWS, ids=lambda row: f"{row['model']}-{row['height']}x{row['width']}"
)
def test_an_image_becomes_the_views_features_and_tokens_of_the_table(row):
    result = image_views(rule_of(row), int(row["height"]), int(row["width"]))
    figures = (written(result), result.features, result.tokens)
    assert figures == (row["views"], int(row["features"]), int(row["tokens"]))


def taken(rule, height, width):
    """What an image becomes, or None where the processor refuses it."""
    try:
        return image_views(rule, height, width)
    except ImageSizeError:
        return None


@given(RULE_OF_A_MODEL, EDGES, EDGES)
def test_every_image_has_views_features_and_no_fewer_tokens(rule, height, width):
    result = taken(rule, height, width)
    if result is None:
        return
    assert min(result.views[:3]) >= 1
    assert result.features >= 1
    if rule.name != "joint_tiles" and not rule.crossed:
        assert result.tokens >= result.features


@given(RULE_OF_A_MODEL, st.integers(1, 200), st.integers(1, 20), st.integers(1, 20))
def test_a_document_is_never_refused(rule, scale, height, width):
    assert taken(rule, 40 * scale * height, 40 * scale * width) is not None


NATIVE = [rule for rule in MODELS.values() if rule.name.startswith("native")]


@given(st.sampled_from(NATIVE), st.integers(28, 4000), st.integers(28, 4000))
def test_pixels_of_a_native_image_stay_within_the_limits(rule, height, width):
    result = taken(rule, height, width)
    pixels = rule.frames * result.views.rows * result.views.columns * rule.patch**2
    block = (rule.patch * rule.merge) ** 2
    assert rule.least <= pixels <= max(rule.most, rule.frames * block)


@given(st.sampled_from(NATIVE), st.integers(1, 9), st.integers(1, 9), st.sampled_from([2, 4, 8]))
def test_an_image_below_the_least_becomes_as_large_whatever_its_scale(rule, height, width, scale):
    block = rule.patch * rule.merge
    rule = rule._replace(least=81 * rule.frames * (block * scale * 2) ** 2, most=2**60)
    small = image_views(rule, block * height, block * width)
    assert image_views(rule, block * height * scale, block * width * scale) == small


LIMITED = [rule for rule in MODELS.values() if rule.tile and rule.most and not rule.pinpoints]
"""Rules of tiles whose number is limited, not that of features."""


@given(st.sampled_from(LIMITED), EDGES, EDGES)
def test_tiles_are_at_most_as_many_as_allowed(rule, height, width):
    result = image_views(rule, height, width)
    assert result.views.count + result.tiles.count <= rule.most + 1


@given(st.integers(1, 640), st.integers(1, 640))
def test_an_image_no_larger_than_a_tile_has_none(height, width):
    assert image_views(MODELS["DeepSeek-OCR"], height, width).tiles.count == 0


def test_queries_run_with_the_patches_of_a_view():
    result = image_views(MODELS["DeepSeek-OCR-2"], 1280, 1920)
    assert (result.views.queries, result.tiles.queries) == (256, 144)


def test_a_mode_without_tiles_has_the_global_view_alone():
    rule = MODELS["DeepSeek-OCR"]._replace(view=512, most=0)
    result = image_views(rule, 3000, 2000)
    assert (written(result), result.tokens) == ("1x32x32", 73)


def test_quarters_of_an_image_are_views_of_one_size():
    rule = MODELS["Idefics2-8B"]._replace(quarters=1)
    result = image_views(rule, 1001, 701)
    assert (result.views.count, result.features, result.tokens) == (5, 320, 326)


@pytest.mark.parametrize(
    ("model", "height", "width", "reason"),
    [
        ("Qwen2-VL-7B", 0, 5, "at least 1 x 1"),
        ("Qwen2-VL-7B", 2010, 10, "aspect ratio of at most 200"),
        ("Pixtral-12B", 1, 5000, "short edge is 0 pixels"),
    ],
)
def test_an_image_that_the_processor_refuses_is_an_error_of_one_line(model, height, width, reason):
    with pytest.raises(ImageSizeError, match=reason) as error:
        image_views(MODELS[model], height, width)
    assert str(error.value).startswith(f"image of {height} x {width} pixels: ")


def test_an_image_of_one_row_of_features_is_as_wide_as_the_budget():
    result = image_views(MODELS["Gemma-4-26B-A4B"], 2, 9000)
    assert (written(result), result.features) == ("1x3x840", 280)


def test_every_rule_is_in_the_table_of_check_values():
    assert set(RULES) - {rule.name for rule in MODELS.values()} == {"navit"}


def test_the_page_describes_every_rule(root):
    text = (root / "docs" / "vision.md").read_text(encoding="utf-8")
    section = text.split("## Image rules")[1].split("\n## ")[0]
    assert set(re.findall(r"^- \*\*`(\w+)`", section, re.M)) == set(RULES)
