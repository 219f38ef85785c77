"""Several keys of a config changed at once: refused, or the numbers that transformers makes too."""

import copy
import json
import random

import pytest
from transformers import CONFIG_MAPPING

from sweepengine.data.configs import families, uncovered
from sweepengine.data.errors import InputError
from sweepengine.validation import configs as decoders
from tests.data.configs import all_configs, covered, part_of
from tests.validation.key_changes import COSMETIC, compared, read, small
from tests.validation.test_every_key import PROMPTS, WHOLE
from tests.validation.test_families import RECURRENT

pytestmark = pytest.mark.slow
DRAWS = 10 if WHOLE else 1
KINDS = [
    kind
    for kind in families()["families"]
    if kind not in uncovered() and (kind in covered() or kind in CONFIG_MAPPING)
]
"""Types of decoders that a public config or the class of transformers describes."""
STATED = {
    "qwen3_omni_moe_text": {"head_dim": 128},
    "dots1": {"n_routed_experts": 128, "num_experts_per_tok": 6},
    "deepseek_ocr2_text": {"first_k_dense_replace": 1, "num_experts_per_tok": 6},
}
"""Keys that have no default, or none that a public config would have."""


def numbers(part):
    """Keys that hold a number, a switch or null, and may change a cost."""
    return [
        key
        for key, value in part.items()
        if key not in (*COSMETIC, "model_type")
        and (value is None or isinstance(value, int | float))
    ]


def other(value, draws):
    """Another value that a config may have there."""
    if draws.random() < 0.1:
        return None
    if value is None:
        return draws.choice([2, 64, True])
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return draws.choice([value * 2, value / 2, 0.0])
    return draws.choice([value * 2 or 1, max(value // 2, 1), value + 1])


def described(kind):
    """A config of a type: a public one, or that of the class with choices that it needs."""
    if kind in covered():
        return all_configs()[covered()[kind]]
    return CONFIG_MAPPING[kind](**RECURRENT.get(kind, {})).to_dict() | STATED.get(kind, {})


def wrong(kind, folder):
    """Changes at which a number is another than that of transformers."""
    config = small(json.loads(json.dumps(described(kind), default=str)))
    draws, found, earlier = random.Random(kind), [], []
    for _ in range(DRAWS):
        changed = copy.deepcopy(config)
        part = part_of(changed)
        keys = numbers(part)
        for key in draws.sample(keys, min(len(keys), 3)):
            part[key] = other(part[key], draws)
        try:
            model = read(changed)
        except InputError:
            continue
        if differences := compared(changed, model, folder, earlier).differences:
            found.append((changed, differences[0]))
    return found


@pytest.mark.parametrize("kind", KINDS if WHOLE else KINDS[::8])
def test_several_changed_keys_of_a_decoder_are_refused_or_right(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(decoders, "PROMPTS", PROMPTS)
    monkeypatch.setattr(decoders, "STEPS", 1)
    monkeypatch.setattr(decoders, "CHUNK", 3)
    assert wrong(kind, tmp_path) == []
