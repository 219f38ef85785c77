"""Operators are found by phase, group and name: alike titles change no number."""

import pytest

from sweepengine.costs.cost_lines import OperatorId
from sweepengine.costs.explain import explain
from sweepengine.costs.timeline import timeline
from sweepengine.costs.titles import group_titles
from sweepengine.data.devices import load_device
from sweepengine.data.errors import InputError
from sweepengine.data.models import load_model
from sweepengine.data.speeds import timing_target
from sweepengine.formulas.attention_times import attended_share
from sweepengine.formulas.points import INPUTS, Point
from sweepengine.grid.points import default_values
from sweepengine.validation.measured_operators import silicon_folder

PROMPT = 3000


def configs():
    for path in sorted(silicon_folder("model_configs").glob("*_config.json")):
        if "hf_quant" in path.name:
            continue
        try:
            yield load_model(path)
        except InputError:  # refused by name
            continue


def point_of(model, **more):
    text = {"text_tokens": PROMPT, "images": 0} if model.has_vision else {"prompt_tokens": PROMPT}
    return Point(**default_values(model))._replace(**text, **more)


def timed(model, point):
    return timeline(model, point, timing_target(load_device("h100-sxm")))


def test_each_group_of_layers_has_its_own_share_of_causal_attention():
    """Groups that look alike had it applied once for each of them, in 24 public configs."""
    alike = 0
    for model in configs():
        arch = model.architecture
        looks = [(g.feed_forward.experts, g.attention.window, g.attention.stride)
                 for g in arch.groups]  # fmt: skip
        if len(set(looks)) == len(looks):
            continue
        alike += 1
        point = point_of(model)
        counted = explain(arch, point).operators()
        found = {one.id: one for one in timed(model, point).operators}
        for position, group in enumerate(arch.groups):
            known = OperatorId("prefill", position, "attention")
            assert (known in found) == bool(group.attention.heads), (model.name, position)
            if known in found:
                share = attended_share(group.attention, PROMPT, 0)
                assert found[known].flops == int(counted[known].tensor_flops * share)
        assert len(set(group_titles(arch.groups))) == len(arch.groups)
    assert alike == 24


@pytest.mark.parametrize("name", ["llama-3.1-8b", "gemma-3-27b", "gpt-oss-20b"])
def test_a_group_that_is_split_in_two_is_the_same_model(name):
    model = load_model(name)
    arch = model.architecture
    first, *others = arch.groups
    half = first.layers // 2
    parts = (first._replace(layers=half), first._replace(layers=first.layers - half), *others)
    split = model._replace(architecture=arch._replace(groups=parts))
    assert len(set(group_titles(parts))) == len(parts)
    whole, halves = (timed(one, point_of(one, batch_size=4)) for one in (model, split))

    def summed(line, figure):
        found = {}
        for one in line.operators:
            key = (one.id.phase, one.id.operator)
            found[key] = found.get(key, 0) + getattr(one, figure)
        return found

    for figure, error in (("seconds", 1e-9), ("moved_bytes", 1e-12), ("flops", 1e-9)):
        assert summed(halves, figure) == pytest.approx(summed(whole, figure), rel=error)
    assert halves.seconds == pytest.approx(whole.seconds, rel=1e-9)
    total, again = (explain(one.architecture, point_of(one)) for one in (model, split))
    assert (total.flops, total.moved_bytes) == pytest.approx((again.flops, again.moved_bytes))


def test_every_input_is_declared_with_its_name():
    assert all(column.name == name for name, column in INPUTS.items())
