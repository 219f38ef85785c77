"""Shipped models that read pages: weights and vision FLOPs as torch counts them."""

import csv
import tomllib
from pathlib import Path

import pytest

import sweepengine as se
from sweepengine.data.models import load_model

ROWS = list(csv.DictReader((Path(__file__).parent / "ocr_models.csv").open(encoding="utf-8")))
"""Parameters of whole models and FLOPs of towers, transformers 5.23 under torch 2.13."""


@pytest.mark.parametrize("row", ROWS, ids=[row["model"] for row in ROWS])
def test_counts_equal_those_of_torch(row):
    model = load_model(row["model"])
    image = {"image": row["image"]} if model.has["image"] else {}
    cost = se.cost(model, **image)
    found = (
        model.parameter_count,
        model.vision_parameter_count,
        cost["image_tokens"],
        cost["vision_tensor_flops"],
    )
    names = ("parameters", "vision parameters", "image tokens", "vision FLOPs")
    assert found == tuple(int(row[name]) for name in names)


def test_every_model_of_the_grid_is_checked(root):
    grid = tomllib.loads((root / "grids" / "ocr-models.toml").read_text(encoding="utf-8"))
    before = {"deepseek-ocr-3b", "deepseek-ocr-2"}  # checked against their own modules
    assert set(grid["axes"]["model"]) - before == {row["model"] for row in ROWS}
