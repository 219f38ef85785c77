import json

import pytest
from hypothesis import given

from sweepengine.costs.cost_lines import COUNTS
from sweepengine.costs.explain import explain
from sweepengine.data.models import load_model
from sweepengine.grid.columns import PHASES
from sweepengine.grid.counted import point_columns
from sweepengine.grid.files import parse_grid
from tests.conftest import MODELS
from tests.points import points


@given(points())
def test_layers_add_up_to_stages_and_stages_to_the_total(point):
    for name in MODELS:
        arch = load_model(name).architecture
        total = explain(arch, point)
        columns = point_columns(arch, point)
        assert [stage.name for stage in total.parts] == list(PHASES)
        for stage in total.parts:
            for count in COUNTS:
                expected = columns[f"{stage.name}_{count}"]
                found = getattr(stage, count)
                if count == "weight_io_bytes":
                    assert found == pytest.approx(expected, rel=1e-12)
                else:
                    assert found == expected, (stage.name, count)
        for _, part in total.walk():
            if part.parts:
                for count in COUNTS[:4]:
                    assert getattr(part, count) == sum(getattr(p, count) for p in part.parts)


@pytest.mark.parametrize(
    ("name", "layout", "precision"),
    [
        ("qwen3-8b", "tp4", "fp8-kv8"),
        ("qwen3-30b-a3b", "tp2-ep8-pp6", "nvfp4"),
        ("deepseek-v3", "dp8-ep64", "checkpoint"),
        ("deepseek-v4-flash", "tp8", "bf16-kv4"),
        ("gemma-3-27b", "tp4-pp2", "w4a16"),
        ("deepseek-ocr-3b", "tp2-dp2", "int8-kv8"),
    ],
)
def test_layers_of_a_device_add_up_to_its_columns(name, layout, precision):
    axes = {"layout": [layout], "precision": [precision], "batch_size": [9], "decode_steps": [7]}
    grid = parse_grid({"name": "g", "model": name, "axes": axes}, "g")
    arch = grid.model.architecture
    total, columns = explain(arch, grid.point), point_columns(arch, grid.point)
    assert total.link_bytes > 0
    for stage in total.parts:
        for count in COUNTS:
            found, expected = getattr(stage, count), columns[f"{stage.name}_{count}"]
            assert found == pytest.approx(expected, rel=1e-12), (stage.name, count)


def test_leaves_state_their_formula(released):
    from tests.formulas.test_figures import ONE_BY_TWO

    leaves = [part for _, part in explain(released, ONE_BY_TWO).walk() if not part.parts]
    assert all(part.formula for part in leaves)
    router = next(part for part in leaves if part.name == "router")
    assert "`2*T*h*E`" in router.formula


def test_command_prints_the_tree_and_its_json(command):
    arguments = ["explain", "--crops", "1x2", "--batch-size", "2"]
    shown = command(*arguments, "--formulas").stdout
    for line in ("CLIP blocks x 24", "routed experts", "LM head", "2*T*k*m*h*e"):
        assert line in shown
    facts = json.loads(command(*arguments, "--json").stdout)
    assert facts["inputs"]["crop_cols"] == 2
    vision = facts["cost"]["parts"][0]
    assert vision["tensor_flops"] == 2 * 1_916_266_708_992
    quirky = command(*arguments, "--json", "--model", "deepseek-ocr-3b-modelmeter").stdout
    assert json.loads(quirky)["cost"]["parts"][0]["tensor_flops"] == 2 * 1_913_039_446_016


BAD = {
    "--crops": ("2by3", "ROWSxCOLS"),
    "--batch-size": ("0", "1..65,536"),
    "--heads": ("10,3", "divide 10"),
    "--mode": ("huge", "one of tiny"),
    "--model": ("nope", "one of deepseek-ocr-2, deepseek-ocr-3b"),
    "--attention": ("fast", "eager"),
}


@pytest.mark.parametrize("option", BAD)
def test_bad_option_is_one_line_that_names_what_is_allowed(command, option):
    value, allowed = BAD[option]
    done = command("explain", option, value)
    assert done.returncode == 2
    assert allowed in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
