"""One check of inputs: the same verdict for a point, a frame, an axis and a table of lengths."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import sweepengine as se
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.data.speeds import on_devices
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.axes import JOINT
from sweepengine.grid.checks import checked_value, checked_values
from sweepengine.grid.files import parse_grid, read_axes
from sweepengine.grid.lengths import lengths_of
from sweepengine.grid.points import checked_point
from sweepengine.grid.shorthand import joint_columns, joint_values
from tests.fuzz import examples

MODELS = ("deepseek-ocr-3b", "llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3")
LENGTHS = ("decode_steps", "cached_tokens", "prompt_tokens", "text_tokens", "view_size")
NUMBERS = [name for name, column in INPUTS.items() if not column.choices]


def valid(check):
    """Whether a check lets its input pass."""
    try:
        check()
    except InputError:
        return False
    return True


def near(name):
    """Values at and about what a column allows."""
    column = INPUTS[name]
    ends = [column.minimum, column.maximum // column.scale, column.multiple]
    return st.one_of(
        st.sampled_from([end + step for end in ends for step in (-1, 0, 1)]),
        st.integers(-(2**40), 2**40),
        st.integers(0, 4096).map(lambda n: n * column.multiple),
        st.floats(-10, 1e7, width=32),
        st.booleans(),
        st.sampled_from(["8", "tp2", None, 2**70]),
    )


@given(st.sampled_from(NUMBERS), st.data())
@examples(200)
def test_a_number_is_valid_everywhere_or_nowhere(name, data):
    value, column = data.draw(near(name)), INPUTS[name]
    alone = valid(lambda: checked_value(column, value, "here"))
    assert alone == valid(lambda: checked_values(column, [value], lambda *_: "here"))
    assert alone == valid(lambda: checked_values(column, [column.minimum, value],
                                                 lambda *_: "here"))  # fmt: skip
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**62
    if number:
        array = np.array([value])
        assert alone == valid(lambda: checked_values(column, array, lambda *_: "here"))
    models = [on_devices(load_model(each), ["h100-sxm"]) for each in MODELS]
    model = next(m for m in models if m.has[column.needs])
    if name in LENGTHS:
        assert alone == valid(lambda: lengths_of("here", model, {name: [value]}))
    joint = {
        column for axis in ("crops", "image", "heads", "layout") for column in JOINT[axis].columns
    }
    if name not in {*joint, "shared_tokens"}:  # others are valid together alone
        assert alone == valid(lambda: checked_point(model, {name: value}))
        assert alone == valid(lambda: read_axes("here", model, {name: [value]}))


TOGETHER = (*JOINT["layout"].columns, *JOINT["heads"].columns, "weight_format")


@given(st.sampled_from(MODELS), st.data())
@examples(60)
def test_values_are_valid_together_everywhere_or_nowhere(name, data):
    model = load_model(name)
    sizes = st.sampled_from([1, 2, 3, 4, 5, 8, 10, 16])
    drawn = {column: data.draw(sizes) for column in JOINT["layout"].columns}
    drawn["weight_format"] = data.draw(st.sampled_from(["checkpoint", "fp8", "mxfp4"]))
    if model.has["heads"]:
        drawn |= {column: data.draw(sizes) for column in JOINT["heads"].columns}
    if model.has_vision:
        drawn |= {column: data.draw(st.integers(0, 2)) for column in JOINT["crops"].columns}
    point = valid(lambda: checked_point(model, drawn))
    frame = pl.DataFrame([{column: 1 for column in drawn if column in INPUTS} | drawn])
    assert point == valid(lambda: se.evaluate(frame, model))
    axes = {"layout": "-".join(f"{letter}{drawn[f'{kind}_parallel']}" for letter, kind in (
        ("tp", "tensor"), ("ep", "expert"), ("pp", "pipeline"), ("dp", "data"),
        ("dcp", "decode_context")))}  # fmt: skip
    axes["weight_format"] = [drawn["weight_format"]]
    if model.has["heads"]:
        axes["heads"] = [[drawn[column] for column in JOINT["heads"].columns]]
    if not model.has_vision or drawn["crop_rows"] == drawn["crop_cols"] == 0:
        assert point == valid(lambda: read_axes("here", model, axes))


@pytest.mark.parametrize(
    ("axis", "text"),
    [("layout", "tp2-pp2"), ("layout", "tp3x"), ("precision", "fp8-kv8"), ("precision", "gold"),
     ("mode", "gundam:2x3"), ("mode", "gundam"), ("crops", "2x3"), ("crops", "3by2")],
)  # fmt: skip
def test_a_text_is_the_same_everywhere(axis, text):
    model = load_model("deepseek-ocr-3b")
    values = []

    def alone():
        values.extend(joint_values(model, axis, text, "here"))

    found = valid(alone)
    columns = dict(zip(JOINT[axis].columns, values, strict=False))
    for check in (
        lambda: checked_point(model, {axis: text}),
        lambda: se.evaluate(pl.DataFrame({axis: [text]})),
        lambda: read_axes("here", model, {axis: [text]}),
        lambda: joint_columns(model, axis, [text], "here"),
    ):
        assert valid(check) == found
    if axis in ("mode", "crops"):
        assert valid(lambda: lengths_of("here", model, {axis: [text]})) == found
    if found:
        point = checked_point(model, {axis: text})._asdict()
        assert {name: point[name] for name in columns} == columns


def test_the_first_wrong_row_is_named_everywhere():
    model = load_model("llama-3.1-8b")
    steps = [1, 2, -5, -6]
    for check, said in (
        (lambda: se.evaluate(pl.DataFrame({"decode_steps": steps}), model),
         "points: decode_steps[2] = -5: expected an integer, 0..1,000,000"),
        (lambda: read_axes("g.toml", model, {"decode_steps": steps}),
         "g.toml: axes.decode_steps[2] = -5: expected an integer, 0..1,000,000"),
        (lambda: lengths_of("trace", model, {"decode_steps": steps}),
         "trace: decode_steps[2] = -5: expected an integer, 0..1,000,000"),
        (lambda: checked_point(model, {"decode_steps": -5}),
         "point: decode_steps = -5: expected an integer, 0..1,000,000"),
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            check()
        assert str(error.value) == said


@pytest.mark.parametrize(
    ("model", "point"),
    [
        ("llama-3.1-8b", {"layout": "tp8", "precision": "fp8-kv8", "device": "h100-sxm"}),
        ("qwen3-30b-a3b", {"layout": "tp2-ep4", "precision": "w4a16", "batch_size": 8}),
        ("deepseek-ocr-3b", {"mode": "gundam:2x3", "layout": "tp2", "device": "h100-sxm"}),
        ("deepseek-ocr-3b", {"crops": "2x3", "precision": "fp8", "heads": (20, 10)}),
    ],
)
def test_cost_takes_what_a_grid_takes(model, point):
    axes = {name: [list(v) if name == "heads" else v] for name, v in point.items()}
    row = se.scan(parse_grid({"name": "g", "model": model, "axes": axes}, "g")).collect()
    found = se.cost(model, **point)
    for name, value in found.items():
        near = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
        assert row[name].item() == near, name
    columns = {name: [list(v) if name == "heads" else v] for name, v in point.items()}
    assert_frame_equal(se.evaluate(pl.DataFrame(columns), model), row, rel_tol=1e-12)


@pytest.mark.parametrize("value", [None, 3, 2.5, ["x"], [[1, 2]], {"a": 1}, "", [1, 2, 3]])
@pytest.mark.parametrize("axis", list(JOINT))
def test_what_is_no_joint_value_is_refused_in_one_line(axis, value):
    model = load_model("deepseek-ocr-3b")
    for check in (
        lambda: checked_point(model, {axis: value}),
        lambda: se.evaluate(pl.DataFrame({axis: pl.Series([value], strict=False)})),
        lambda: read_axes("here", model, {axis: [value]}),
    ):
        with pytest.raises(InputError) as error:
            check()
        assert "\n" not in str(error.value)


def test_an_input_is_set_once():
    with pytest.raises(InputError, match="point: tensor_parallel: sets tensor_parallel, as layout"):
        se.cost("llama-3.1-8b", layout="tp2", tensor_parallel=2)
    frame = pl.DataFrame({"layout": ["tp2"], "tensor_parallel": [2]})
    with pytest.raises(InputError, match="points: tensor_parallel: sets tensor_parallel, as"):
        se.evaluate(frame, "llama-3.1-8b")
    with pytest.raises(InputError, match='point: layout = "tp3": tensor_parallel = 3 does not'):
        se.cost("llama-3.1-8b", layout="tp3")
