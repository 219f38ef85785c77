"""A key of a config that is changed: refused, or the number that transformers makes of it too."""

import os
import tomllib
from pathlib import Path

import pytest

from sweepengine.data.errors import InputError
from sweepengine.data.huggingface import reading_of
from sweepengine.validation import configs as decoders
from sweepengine.validation import towers
from tests.data.configs import all_configs
from tests.data.test_text_keys import EXPLAINED
from tests.data.test_towers import CHECKED, config_of
from tests.validation.key_changes import TOWERS, changes, compared, read, small

pytestmark = pytest.mark.slow
WHOLE = "SWEEPENGINE_WHOLE" in os.environ
SAMPLE = 2
"""Changes of a config that are compared; `make configs` compares all, of every config."""
SOME = slice(None, None, 1 if WHOLE else 3)
PROMPTS = ((1, 40),)
KNOWN = tomllib.loads((Path(__file__).parent / "every_key.toml").read_text(encoding="utf-8"))
"""Config to keys at which transformers makes another number, and why ours is kept."""


def seen():
    """One config of each type that sees images."""
    kinds = {}
    for name, row in CHECKED.items():
        try:
            reading_of("config.json", config_of(name))
        except InputError:
            continue
        if "audio_config" not in config_of(name) and row["type"] != "whisper":
            kinds.setdefault(row["type"], name)
    return list(kinds.values())


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(decoders, "PROMPTS", PROMPTS)
    monkeypatch.setattr(decoders, "STEPS", 1)
    monkeypatch.setattr(decoders, "CHUNK", 3)
    monkeypatch.setattr(towers, "IMAGES", towers.IMAGES[:1])


def wrong(name, config, folder):
    """Changes at which a number is another than that of transformers."""
    config, found, read_changes, earlier = small(config), [], [], []
    for of_tower in {False, any(isinstance(config.get(part), dict) for part in TOWERS)}:
        made = compared(config, read(config), folder, earlier, of_tower)
        assert len(made.figures) > 1
        assert made.differences == []
    for part, key, other, changed in changes(config):
        try:
            read_changes.append((part, key, other, changed, read(changed)))
        except InputError:
            continue
    step = 1 if WHOLE else max(len(read_changes) // SAMPLE, 1)
    for part, key, other, changed, model in read_changes[step // 2 :: step]:
        made = compared(changed, model, folder, earlier, of_tower=part in TOWERS)
        if made.differences and key not in KNOWN.get(name, {}):
            found.append((part, key, other, made.differences[0]))
    return found


@pytest.mark.parametrize("name", seen()[SOME])
def test_changed_key_of_a_config_with_a_tower_is_refused_or_right(name, tmp_path):
    assert wrong(name, config_of(name), tmp_path) == []


@pytest.mark.parametrize("name", list(EXPLAINED)[SOME])
def test_changed_key_of_a_text_config_is_refused_or_right(name, tmp_path):
    assert wrong(name, all_configs()[name], tmp_path) == []
