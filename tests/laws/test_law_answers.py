"""Every command answers every valid question in JSON, or refuses it in one line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweepengine as se
from tests.fuzz import examples, outcome
from tests.laws.drawn import DEVICES, LAYOUTS, MODELS, PRECISIONS, grid_text, sizes, workloads


def strict(text):
    """The value of JSON, which knows no NaN and no infinity."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@st.composite
def searches(draw):
    """The words of `fit`, `deploy`, `map` and `models`, of any model on any devices."""
    command = draw(st.sampled_from(["fit", "fit", "map", "deploy", "models"]))
    name = draw(st.sampled_from(MODELS))
    if command == "models":
        return [command, name]
    several = draw(st.lists(st.sampled_from(DEVICES), min_size=1, max_size=2, unique=True))
    words = [command, name, *(word for device in several for word in ("--device", device))]
    words += ["--answer", str(draw(sizes(3000)))]
    if not se.load_model(name).has_vision and command != "map":
        words += ["--prompt", str(draw(sizes(60_000)))]
    for option, values in {
        "--layout": LAYOUTS, "--precision": PRECISIONS, "--framework": ("vllm", "sglang", "trtllm"),
        "--times": ("roofline", "model", "silicon"), "--ttft": ("0.2", "5"),
        "--tpot": ("0.01", "0.2"),
    }.items():  # fmt: skip
        if draw(st.booleans()):
            words += [option, draw(st.sampled_from(values))]
    if command == "deploy":
        words += draw(st.sampled_from([[], ["--rate", "3"], ["--users", "40"], ["--devices", "4"]]))
    if command == "map":
        words += ["--cells", "100"]
    return [*words, "--json"] if command != "models" else words


@pytest.mark.slow
@examples(3)
@given(searches())
def test_law_searches_answer_in_json_or_refuse_in_one_line(words):
    status, out, error = outcome(words)
    assert status in (0, 2), (words, error)
    assert error.count("\n") == (status == 2), (words, error)
    if status == 0 and "--json" in words:
        assert strict(out)


@examples(2)
@given(st.data())
def test_law_slo_and_plan_of_any_grid_answer_or_refuse_in_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("answers")
    name = data.draw(st.sampled_from(MODELS))
    axes = data.draw(workloads(se.load_model(name)))
    axes["batch_size"] = sorted({axes["batch_size"], 1, 16})
    axes["layout"] = data.draw(
        st.lists(st.sampled_from(LAYOUTS), min_size=1, max_size=2, unique=True)
    )
    path = folder / "g.toml"
    path.write_text(grid_text(name, axes))
    device = data.draw(st.sampled_from(DEVICES))
    serving = data.draw(st.sampled_from(["static", "continuous"]))
    for words in (["plan", str(path), "--json"], [
        "slo", str(path), "--device", device, "--ttft", "9", "--tpot", "9", "--serving", serving,
        "--json"]):  # fmt: skip
        status, out, error = outcome(words)
        assert status in (0, 2), (words, error)
        assert error.count("\n") == (status == 2), (words, error)
        if status == 0:
            assert strict(out)
