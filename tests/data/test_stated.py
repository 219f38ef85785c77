"""What a model states is what its file does, however many numbers formulas know."""

import pytest

from sweepengine.data.files import known
from sweepengine.data.models import build, load_model
from sweepengine.data.stated import stated


def test_numbers_that_a_file_leaves_out_are_not_stated():
    numbers = stated(load_model("gpt-oss-20b"))
    assert set(numbers) == {"trunk", "groups", "convention", "counts", "checkpoint"}
    assert numbers["trunk"] == {"hidden": 2880, "vocabulary": 201088}
    looking_back, whole = (group["attention"] for group in numbers["groups"])
    assert looking_back == whole | {"window": 128}
    assert set(whole) == {"heads", "key_value_heads", "key_width", "input_bias", "output_bias",
                          "sinks"}  # fmt: skip


def test_default_that_is_written_out_changes_nothing():
    model = load_model("gpt-oss-20b")
    decoder = model.data["decoder"]
    written = model.data | {"decoder": decoder | {"streams": 0, "tied": False}}
    assert stated(build(written, "own.toml")) == stated(model)


@pytest.mark.parametrize("name", known("models"))
def test_models_state_different_numbers(name):
    others = [other for other in known("models") if other != name]
    assert all(stated(load_model(name)) != stated(load_model(other)) for other in others)
