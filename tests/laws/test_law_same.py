"""What is the same question is the same answer: copies, other names, groups, defaults, order."""

import json
import tomllib

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CONFIG_MAPPING

import sweepengine as se
from sweepengine.data.files import known
from sweepengine.data.models import build
from sweepengine.data.stated import stated
from sweepengine.engine import kernel as _kernel  # noqa: F401 # frames are compiled once it is there
from sweepengine.engine import kernel_times as _kernel_times  # noqa: F401
from sweepengine.formulas.points import INPUTS
from sweepengine.grid.points import default_values
from tests.data.configs import whole_configs, write
from tests.fuzz import examples
from tests.laws.drawn import DEVICES, MODELS, alike, answer, points

FLAT = [
    name for name in MODELS if "extends" not in tomllib.loads(known("models")[name].read_text())
]
FLAT_OF_NESTED = ("Step-3.7-Flash", "Step-3.7-Flash-FP8")
"""Flat files of a type whose class nests its decoder: transformers drops their keys."""
GROUPS = 48
"""A multiple of the data-parallel groups of every layout that is drawn."""
PER_SEQUENCE = ("tensor_flops", "cuda_flops", "activation_io_bytes", "kv_io_bytes")
"""Counts of a phase of which a batch has as many times more as it has sequences."""


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """A file of each shipped device, under another name."""
    folder = tmp_path_factory.mktemp("copies")

    def write_copy(name):
        text = known("devices")[name].read_text()
        path = folder / f"{name}.toml"
        path.write_text(text.replace(f'name = "{name}"', f'name = "copy-of-{name}"', 1))
        return path

    return {name: write_copy(name) for name in DEVICES}


@examples(6)
@given(points())
def test_law_copied_device_is_the_device(copies, drawn):
    name, point = drawn
    one = answer(se.cost, name, **point)
    copy = answer(se.cost, name, **point | {"device": str(copies[point["device"]])})
    assert (one is None) == (copy is None)
    assert one is None or alike(one, copy) == {}


@examples(6)
@given(points(FLAT), st.data())
def test_law_model_renamed_and_split_into_groups_is_the_model(drawn, data):
    name, point = drawn
    content = json.loads(json.dumps(se.load_model(name).data))
    groups = content["decoder"]["layers"]
    parts = []
    for count, *kinds in groups:
        first = data.draw(st.integers(0, count))
        parts += [[layers, *kinds] for layers in (first, count - first) if layers]
    content["decoder"]["layers"] = data.draw(st.permutations(parts)) if len(groups) == 1 else parts
    content["name"] = "another"
    split = build(content, "another.toml")
    one, other = answer(se.cost, name, **point), answer(se.cost, split, **point)
    assert (one is None) == (other is None)
    assert one is None or alike(one, other) == {}


@examples(6)
@given(points(), st.data())
def test_law_what_is_named_explicitly_is_the_default(drawn, data):
    name, point = drawn
    one, model = answer(se.cost, name, **point), se.load_model(name)
    free = [
        column
        for column in model.inputs
        if column not in point and "parallel" not in column and "format" not in column
        and not column.endswith(("_rows", "_cols", "heads")) and "image_" not in column
    ]  # fmt: skip
    defaults = default_values(model)
    stated_too = {
        column: INPUTS[column].shown(defaults[column])
        for column in data.draw(st.lists(st.sampled_from(free), unique=True))
    }
    other = answer(se.cost, name, **point | stated_too)
    assert (one is None) == (other is None)
    assert one is None or alike(one, other) == {}


@examples(4)
@given(points(rare={}), st.lists(st.integers(1, 300), min_size=2, max_size=6), st.randoms())
def test_law_rows_of_a_frame_know_nothing_of_each_other(drawn, batches, order):
    name, point = drawn
    rows = [point | {"batch_size": batch} for batch in batches]
    shuffled = order.sample(range(len(rows)), len(rows))
    one = answer(se.evaluate, pl.DataFrame(rows), name)
    other = answer(se.evaluate, pl.DataFrame([rows[i] for i in shuffled]), name)
    assert (one is None) == (other is None)
    if one is not None:
        for turn, i in enumerate(shuffled):
            assert alike(one.row(i, named=True), other.row(turn, named=True), rel=1e-12) == {}
        alone = se.cost(name, **rows[0])
        assert alike(alone, {column: one[column][0] for column in alone}) == {}


@examples(6)
@given(points(), st.integers(2, 9))
def test_law_batch_of_n_is_n_sequences(drawn, n):
    name, point = drawn
    del point["device"], point["framework"], point["serving"]
    point = {key: value for key, value in point.items()
             if not (key in INPUTS and INPUTS[key].needs == "device")}  # fmt: skip
    one = answer(se.cost, name, **point | {"batch_size": GROUPS})
    many = answer(se.cost, name, **point | {"batch_size": GROUPS * n})
    assert (one is None) == (many is None)
    if one is None:
        return
    for column, value in one.items():
        if column.endswith(PER_SEQUENCE) or column.endswith("kv_cache_bytes"):
            assert many[column] == n * value, column
        elif column.endswith("weight_io_bytes"):
            assert value <= many[column] * (1 + 1e-12), column


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in whole_configs() if name not in FLAT_OF_NESTED])
def test_law_config_saved_again_by_transformers_is_the_model(name, tmp_path):
    """Or it is refused; never another one."""
    config = whole_configs()[name]
    kind = config["model_type"]
    if kind not in CONFIG_MAPPING:
        pytest.skip("transformers has no such type")
    one = answer(se.load_model, write(tmp_path, config))
    saved = CONFIG_MAPPING[kind].from_dict(json.loads(json.dumps(config))).to_dict()
    again = tmp_path / "again"
    again.mkdir()
    other = answer(se.load_model, write(again, json.loads(json.dumps(saved, default=str))))
    if one is not None and other is not None:
        assert stated(one) == stated(other)
