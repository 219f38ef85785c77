"""Configs in the shape of released files have the parameters of what transformers builds."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sweepengine.data.models import load_model
from sweepengine.validation import towers
from tests.data.configs import write
from tests.data.test_released_configs import RELEASED, config_of
from tests.validation.test_families import differences

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", RELEASED)
def test_released_config_is_what_transformers_builds(name):
    config = config_of(name)
    if "vision_config" in config or config["model_type"] == "whisper":
        model = towers.build(towers.config_of(config))
    else:
        made = CONFIG_MAPPING[config["model_type"]].from_dict(config)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(made)
    parameters = sum(weight.numel() for weight in model.parameters())
    assert parameters == RELEASED[name]["parameters"]


@pytest.mark.parametrize(("name", "heads"), [("falcon-7b", 1), ("falcon-40b", 8)])
def test_falcon_keeps_its_key_value_heads_and_transformers_is_compared(name, heads, tmp_path):
    """transformers keeps keys and values of the newer Falcons once for each query head."""
    path = write(tmp_path, {**config_of(name), "num_hidden_layers": 2})
    (group,) = load_model(path).architecture.groups
    assert group.attention.key_value_heads == heads
    assert differences(path) == []
