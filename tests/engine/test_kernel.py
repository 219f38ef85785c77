import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepengine.data.models import build, load_model
from sweepengine.engine import compute, tables
from sweepengine.engine.compute import COMPILED, PLAIN
from sweepengine.engine.frames import evaluate
from sweepengine.engine.typed import compute_chunk
from sweepengine.formulas.architecture import ATTENTIONS, FLASH, MIXERS
from sweepengine.formulas.points import INPUT_NAMES, Point
from sweepengine.grid.columns import OUTPUT_NAMES
from sweepengine.grid.counted import point_columns
from sweepengine.grid.files import parse_grid
from tests.conftest import MODELS
from tests.points import CROPS, HEADS, points


@pytest.fixture(scope="module", autouse=True)
def every_formula_compiled():
    """Small numbers of points and of workloads are compiled here too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "FEW", 0)
        patch.setattr(compute, "MAX_PLAIN_POINTS", 0)
        yield


def frame(drawn):
    rows = [(*point[:9], ATTENTIONS[point.attention]) for point in drawn]
    return pl.DataFrame(rows, schema=list(INPUT_NAMES[:10]), orient="row")


@given(st.lists(points(), min_size=1, max_size=40), st.sampled_from(MODELS))
def test_kernel_equals_plain_python_to_the_last_unit(drawn, model):
    found = evaluate(frame(drawn), model)
    arch = load_model(model).architecture
    for row, point in zip(found.iter_rows(named=True), drawn, strict=True):
        assert {name: row[name] for name in OUTPUT_NAMES} == point_columns(arch, point)


@st.composite
def grids(draw):
    def some(values):
        return draw(st.lists(values, min_size=1, max_size=4, unique=True))

    axes = {
        "crops": ["none" if r == 0 else f"{r}x{c}" for r, c in some(CROPS)],
        "text_tokens": some(st.integers(0, 900)),
        "decode_steps": some(st.integers(0, 900)),
        "batch_size": some(st.integers(1, 90)),
        "heads": [list(pair) for pair in some(HEADS)],
        "attention": draw(st.permutations(ATTENTIONS)),
    }
    order = draw(st.permutations(sorted(axes)))
    kept = order[: draw(st.integers(1, len(order)))]
    table = {"name": "drawn", "model": draw(st.sampled_from(MODELS))}
    return parse_grid({**table, "axes": {key: axes[key] for key in kept}}, "drawn")


@settings(max_examples=15)
@given(grids(), st.integers(1, 500))
def test_chunked_equals_whole_equals_given_points(grid, rows):
    chunks = list(grid.chunks(rows))
    assert [c.start for c in chunks] == [0, *(c.stop for c in chunks[:-1])]
    assert chunks[-1].stop == grid.points
    assert all(chunk.stop - chunk.start <= rows for chunk in chunks)
    chunked = pl.concat([compute_chunk(grid.model, chunk, backend=COMPILED) for chunk in chunks])
    (whole,) = grid.chunks(grid.points)
    assert chunked.equals(compute_chunk(grid.model, whole))
    assert chunked.equals(compute_chunk(grid.model, whole, backend=PLAIN))
    assert chunked.equals(evaluate(chunked.select(grid.model.inputs), grid.model))


def test_runs_longer_than_a_block_of_points_decode_their_index(released):
    table = {"name": "long", "axes": {"decode_steps": {"start": 0, "stop": 1700, "step": 1},
                                      "attention": ["flash", "eager"]}}  # fmt: skip
    grid = parse_grid(table, "long")
    (chunk,) = grid.chunks(grid.points)
    found = compute_chunk(grid.model, chunk)
    for index in (0, 1, 1023, 1024, 1025, 3401):
        steps, attention = divmod(index, 2)
        point = Point(1024, 640, 0, 0, 10, steps, 1, 10, 10, 1 - attention)
        row = found.row(index, named=True)
        assert {name: row[name] for name in OUTPUT_NAMES} == point_columns(released, point)


def test_only_asked_columns_are_computed():
    grid = parse_grid({"name": "two", "axes": {"batch_size": [1, 2]}}, "two")
    (chunk,) = grid.chunks(2)
    found = compute_chunk(grid.model, chunk, ("decode_cuda_flops", "batch_size"))
    assert found.columns == ["decode_cuda_flops", "batch_size"]


def mixed(kind):
    """A model of recurrent layers of one kind, beside attention or alone."""
    data = load_model("llama-3.1-8b").data
    decoder = json.loads(json.dumps(data["decoder"]))
    decoder["recurrent"] = {
        "mixer": {
            "kind": kind, "heads": 4, "key_heads": 2, "key_width": 16, "value_width": 8,
            "convolution": 4, "chunk": 32, "rank": 3, "bias": True,
        }
    }  # fmt: skip
    (attention,), (forward,) = decoder["attention"], decoder["feed_forward"]
    decoder["layers"] = [[3, attention, forward, "mixer"], [2, "none", "none", "mixer"]]
    return build({**data, "decoder": decoder}, kind)


@pytest.mark.parametrize("kind", MIXERS)
def test_every_recurrent_mixer_is_compiled_to_the_last_unit(kind):
    model = mixed(kind)
    drawn = [
        Point(0, 0, 0, 0, 0, 3, 2, 0, 0, FLASH, prompt, cached, tensor_parallel=2)
        for prompt in (1, 70)
        for cached in (0, 40)
    ]
    inputs = ("decode_steps", "batch_size", "prompt_tokens", "cached_tokens", "tensor_parallel")
    given = [{name: getattr(point, name) for name in inputs} for point in drawn]
    rows = evaluate(pl.DataFrame(given), model).iter_rows(named=True)
    for row, point in zip(rows, drawn, strict=True):
        columns = point_columns(model.architecture, point)
        shown = {name for name in OUTPUT_NAMES if name in row}
        assert {name: row[name] for name in shown} == {name: columns[name] for name in shown}
