"""Every key of a text config matters: without it, or with another value, nothing stays silent."""

import json
import tomllib
from pathlib import Path

import pytest

from sweepengine.data.configs import families
from sweepengine.data.errors import InputError
from sweepengine.data.huggingface import reading_of
from tests.data.configs import all_configs, part_of

EXPLAINED = tomllib.loads((Path(__file__).parent / "text_keys.toml").read_text(encoding="utf-8"))
"""Config to its keys that change no number, and why."""
CONFIGS = all_configs()


def another(value):
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 or 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return value[:-1] if value else [1]
    return {**value, "odd": 1}


def state(config):
    """What a config is read as, or the error."""
    try:
        return reading_of("config.json", config)
    except InputError as error:
        return str(error)


def changed(config, inner, key, value):
    """The config with another value of a key of it, or of its decoder's part; None: without it."""
    copy = json.loads(json.dumps(config))
    table = part_of(copy) if inner else copy
    table.pop(key)
    if value is not None:
        table[key] = value
    return copy


def keys_of(config):
    """Keys that may matter: whether they stand in the decoder's part, name and value."""
    harmless = families()["harmless"]["keys"]
    inside = part_of(config)
    for inner, table in (
        ((False, config), (True, inside)) if inside is not config else ((True, config),)
    ):
        for key, value in table.items():
            if value is not None and key not in harmless and not key.endswith("_config"):
                yield inner, key, value


def neutral(config):
    """Keys that one value is allowed for, which a missing key stands for."""
    tables = families()
    row = tables["families"].get(part_of(config).get("model_type"), {})
    base = tables["families"].get(row.get("like"), {})
    return {*tables["neutral"], *base.get("neutral", {}), *row.get("neutral", {})}


@pytest.mark.parametrize("name", EXPLAINED)
def test_no_key_of_a_text_config_is_silently_ignored(name):
    config = CONFIGS[name]
    before, silent, errors = state(config), set(), []
    for inner, key, value in keys_of(config):
        for other in (None, another(value)):
            if other is None and key in neutral(config):
                continue
            after = state(changed(config, inner, key, other))
            if isinstance(after, str):
                errors.append(after)
            elif after == before:
                silent.add(key)
    assert silent == set(EXPLAINED[name])
    assert all(line.startswith("config.json: ") and "\n" not in line for line in errors)
