"""Configs in the shape of released files are read whole: no key of them stops the reader."""

import json
import tomllib
from pathlib import Path

import pytest

from sweepengine.data.errors import InputError
from sweepengine.data.huggingface import reading_of
from sweepengine.data.models import build

RELEASED = tomllib.loads((Path(__file__).parent / "released.toml").read_text(encoding="utf-8"))


def config_of(name):
    return json.loads(RELEASED[name]["config"])


@pytest.mark.parametrize("name", RELEASED)
def test_released_config_has_the_parameters_that_transformers_builds(name):
    model = build(reading_of("config.json", config_of(name)).data, "config.json")
    assert model.parameter_count == RELEASED[name]["parameters"]
    assert (model.architecture.towers is None) == (model.vision_parameter_count == 0)


@pytest.mark.parametrize(
    ("name", "part", "key", "value", "message"),
    [
        ("granite-docling-258M", "", "pixel_shuffle_factor", 2, "expected 4, as of scale_factor"),
        ("starcoder2-15b", "", "mlp_type", "gated", 'mlp_type = "gated": expected "default"'),
        ("command-r7b", "", "use_parallel_block", False, "use_parallel_block = false: expected"),
        ("Kosmos-2.5", "vision_config", "patch_size", 14, "patch_size = 14: expected 16"),
        ("Qwen3-Next-80B", "", "use_sliding_window", True, "use_sliding_window = true: expected"),
    ],
)
def test_keys_that_code_passes_over_are_refused_at_other_values(name, part, key, value, message):
    config = config_of(name)
    (config[part] if part else config)[key] = value
    with pytest.raises(InputError) as error:
        reading_of("config.json", config)
    assert message in str(error.value)
