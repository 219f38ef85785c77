"""Eager beside flash, for every published crop grid, by the closed forms of the published text."""

import pytest

from sweepengine.data.models import load_model
from sweepengine.formulas.points import Point
from sweepengine.grid.counted import point_columns
from sweepengine.grid.files import load_grid
from sweepengine.grid.products import expand

STEPS = 100
WIDTH, HIDDEN, HEADS, LAYERS = 1024, 1280, 10, 12


def published_images():
    columns = expand(load_grid("published-vision").axes)
    rows = zip(columns["crop_rows"].tolist(), columns["crop_cols"].tolist(), strict=True)
    return list(dict.fromkeys(rows))


def difference(model, rows, cols, column):
    """Eager minus flash, in values."""
    arch = load_model(model).architecture
    eager, flash = (
        point_columns(arch, Point(1024, 640, rows, cols, 10, STEPS, 1, 10, 10, kind))
        for kind in (0, 1)
    )
    return (eager[column] - flash[column]) // 2, flash["context_tokens"]


def test_there_are_53_published_images():
    assert len(published_images()) == 53


@pytest.mark.parametrize(("rows", "cols"), published_images())
def test_published_accounting_differs_in_attention_as_its_text_says(rows, cols):
    model = "deepseek-ocr-3b-modelmeter"
    # CLIP: flash 6*1024*S a block, eager 5*1024*S + 6*S^2; in SAM both move the same.
    clip = sum(
        24 * images * (6 * tokens**2 - WIDTH * tokens)
        for tokens, images in ((257, 1), (101, rows * cols))
    )
    for measure in ("activation_io_bytes", "activation_bytes"):
        found, context = difference(model, rows, cols, f"vision_{measure}")
        assert found == clip
        # Decoder: eager writes and reads the scores; of activations flash holds a width more.
        width = HIDDEN if measure == "activation_bytes" else 0
        prefill = LAYERS * (2 * HEADS * context**2 - width * context)
        assert difference(model, rows, cols, f"prefill_{measure}")[0] == prefill
    steps = sum(2 * HEADS * (context + step) for step in range(STEPS))
    moved, _ = difference(model, rows, cols, "decode_activation_io_bytes")
    assert moved == LAYERS * steps
    held, _ = difference(model, rows, cols, "decode_activation_bytes")
    assert held == LAYERS * (2 * HEADS * (context + STEPS - 1) - HIDDEN)


@pytest.mark.parametrize(("rows", "cols"), [(1, 2), (4, 7), (1, 29)])
def test_released_model_moves_the_scores_of_every_tower(rows, cols):
    images = ((1024, 257, 1), (640, 101, rows * cols))
    scores = 0
    for side, clip_tokens, count in images:
        edge = side // 16
        windows = (-(-edge // 14)) ** 2
        sam = 12 * (4 * edge**4 + 8 * windows * 196**2)
        scores += count * 2 * (sam + 24 * 16 * clip_tokens**2)
    assert difference("deepseek-ocr-3b", rows, cols, "vision_activation_io_bytes")[0] == scores


def test_figures_of_the_published_run():
    arch = load_model("deepseek-ocr-3b-modelmeter").architecture
    moved = [
        point_columns(arch, Point(1024, 640, 1, 2, 10, STEPS, 1, 10, 10, kind)) for kind in (0, 1)
    ]
    assert [one["vision_activation_io_bytes"] // 2 for one in moved] == [955_598_000, 954_429_440]
