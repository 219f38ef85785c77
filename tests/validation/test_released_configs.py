"""Configs in the shape of released files have the parameters of what transformers builds."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from sweepengine.validation import towers
from tests.data.test_released_configs import RELEASED, config_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", RELEASED)
def test_released_config_is_what_transformers_builds(name):
    config = config_of(name)
    if "vision_config" in config or config["model_type"] == "whisper":
        model = towers.build(config)
    else:
        made = CONFIG_MAPPING[config["model_type"]].from_dict(config)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(made)
    parameters = sum(weight.numel() for weight in model.parameters())
    assert parameters == RELEASED[name]["parameters"]
