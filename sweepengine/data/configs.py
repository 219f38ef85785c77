"""Access to the values of a Hugging Face config.json, and the tables of model families."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from sweepengine.data.errors import InputError, nearest, of_key, shown
from sweepengine.data.files import shipped_table

PARTS = ("text_config", "language_config", "llm_config", "decoder")
"""Keys of the text part in a config of several parts."""
Config = dict[str, Any]


@cache
def families() -> dict[str, Any]:
    """The tables of `families.toml`."""
    tables = shipped_table("families.toml")
    for name, family in tables["families"].items():
        if "like" in family:
            base = tables["families"][family["like"]]
            defaults = {**base.get("defaults", {}), **family.get("defaults", {})}
            tables["families"][name] = {**base, **family, "defaults": defaults}
    return tables


@cache
def uncovered() -> dict[str, str]:
    """Known types that are not supported, and why."""
    reasons = families()["uncovered"]
    return {kind: reason for reason, kinds in reasons.items() for kind in kinds}


def flattened(part: Config, tables: Sequence[str]) -> Config:
    """The config with the keys of inner tables as `table.key`; other keys stay as they are."""
    found = dict(part)
    for name in tables:
        inner = found.pop(name, None)
        if isinstance(inner, dict):
            found |= {f"{name}.{key}": value for key, value in inner.items()}
    return found


class ConfigValues:
    """Values of one config by key, spelling or family; every error names its key."""

    def __init__(self, source: str, config: Config) -> None:
        self.source = source
        self.outer = config
        part = next((config[key] for key in PARTS if isinstance(config.get(key), dict)), None)
        self.nested = part is not None
        self.part: Config = config if part is None else part
        self.assumed: dict[str, Any] = {}
        self.read: set[str] = set()
        self.type = self._model_type()
        self.family: Config = families()["families"][self.type]
        self.defaults: Config = self.family.get("defaults", {})
        if self.nested:
            self.defaults = {**families()["part_defaults"].get(self.type, {}), **self.defaults}
        self.part = flattened(self.part, self.family.get("tables", ()))

    def fail(self, key: str, problem: str) -> InputError:
        """The error to raise for a key."""
        return of_key(self.source, key, problem)

    def _model_type(self) -> str:
        tables = families()
        outer = str(self.outer.get("model_type"))
        if outer in uncovered():
            raise self._not_supported(outer)
        kind = self.part.get("model_type") or tables["parts"].get(outer)
        if not self.nested and not (isinstance(kind, str) and kind in tables["families"]):
            kind = tables["parts"].get(outer, kind)  # keys of its text part stand at the top
        if not isinstance(kind, str):
            raise self.fail("model_type", "required key is missing: expected a model family")
        if kind not in tables["families"]:
            raise self._not_supported(kind)
        return kind

    def _not_supported(self, kind: str) -> InputError:
        reason = uncovered().get(kind)
        what = f"is not supported, as {reason}" if reason else "is unknown"
        near = "" if reason else nearest(kind, families()["families"])
        return self.fail(
            "model_type",
            f'"{kind}" {what}{near}: expected a type of sweepengine/data/families.toml, or a '
            "TOML file of the decoder, such as sweepengine/data/models/llama-3.1-8b.toml",
        )

    def value(self, key: str) -> Any:
        """Value of a key, or the default of transformers, or None."""
        self.read.add(key)
        if key in self.part:
            return self.part[key]
        if key in self.defaults:
            self.assumed[key] = self.defaults[key]
            return self.defaults[key]
        return None

    def given(self, key: str) -> Any:
        """Value of a key that must be present but may be null."""
        if key not in self.part:
            raise self.fail(key, "required key is missing: expected an integer or null")
        return self.value(key)

    def spelled(self, number: str) -> list[str]:
        """Keys that may hold `number`, our name of a quantity."""
        spellings: list[str] = self.family.get(number) or families()["spellings"][number]
        return spellings

    def of(self, number: str) -> tuple[str, Any]:
        """Key and value of `number`, our name of a quantity, under the spelling that is present."""
        keys = self.spelled(number)
        self.read.update(keys)
        present = [key for key in keys if self.part.get(key) is not None]
        values = {key: self.part[key] for key in present}
        if len({json.dumps(value) for value in values.values()}) > 1:
            raise self.fail(
                present[1],
                f"= {values[present[1]]} contradicts {present[0]} = {values[present[0]]}",
            )
        if present:
            return present[0], values[present[0]]
        key = next((key for key in keys if key in self.defaults), keys[0])
        return key, self.value(key)

    def whole(self, key: str, value: Any, least: int = 1) -> int:
        """A value that must be an integer of at least `least`."""
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            shown = "required key is missing" if value is None else f"= {value!r}"
            raise self.fail(key, f"{shown}: expected an integer of at least {least}")
        return value

    def size(self, number: str, least: int = 1) -> int:
        """Value of `number`, which must be present, by our name of it.

        A list with an entry for each layer is read where all its entries are equal.
        """
        key, value = self.of(number)
        if isinstance(value, list) and number != "layers" and len(value) == self.size("layers"):
            value = value[0] if all(entry == value[0] for entry in value) else value
        return self.whole(key, value, least)

    def number(self, key: str, least: int = 1) -> int:
        """Value of a key that must hold an integer of at least `least`."""
        return self.whole(key, self.value(key), least)

    def switch(self, name: str) -> bool:
        """A switch of the family: fixed in the table, or read from the key that the table names."""
        entry = self.family.get(name, False)
        return bool(self.flag(entry)) if isinstance(entry, str) else bool(entry)

    def flag(self, key: str) -> Any:
        """Value of a key that holds true, false, a number or null."""
        value = self.value(key)
        if key not in self.part:
            self.assumed[key] = value
        if value is not None and not isinstance(value, bool | float | int):
            raise self.fail(key, f"= {value!r}: expected true or false")
        return value

    def listed(self, key: str, layers: int) -> list[Any] | None:
        """The first `layers` entries of a list of one per layer; None for null.

        Where `families.toml` says which entries a key may have, others are refused; some keys may
        have a number instead, for which this is None too.
        """
        value = self.value(key)
        known = families()["entries"].get(key, {})
        if value is None or (type(value) is int and known.get("number")):
            return None
        if not isinstance(value, list) or len(value) < layers:
            raise self.fail(key, f"expected a list of {layers} entries, one per layer")
        for i, entry in enumerate(value[:layers]):
            if isinstance(entry, list | dict):
                raise self.fail(f"{key}[{i}]", f"= {shown(entry)}: expected a name or a number")
            if entry not in known.get("allowed", [entry]):
                allowed = " or ".join(map(json.dumps, known["allowed"]))
                raise self.fail(f"{key}[{i}]", f"= {shown(entry)}: expected {allowed}")
        return value[:layers]

    def layer_numbers(self, key: str) -> list[int]:
        """A list of numbers of layers; empty for null."""
        value = self.value(key)
        if value is None:
            return []
        if not isinstance(value, list) or any(type(layer) is not int for layer in value):
            raise self.fail(key, f"= {shown(value)}: expected a list of layer numbers")
        return value
