"""The image rule of a model: its family's row of `image_rules.toml`, filled from its files."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from sweepengine.data.errors import InputError, shown
from sweepengine.data.files import read_json, shipped_table
from sweepengine.formulas.images import ImageRule

PREPROCESSOR = "preprocessor_config.json"
"""Name of the file of a Hugging Face image processor; it lies beside config.json."""
PREFIX = "preprocessor:"
"""Before an address in that file; other addresses are of config.json."""
LARGEST = 2**31 - 1
"""Largest number of a file."""
Table = dict[str, Any]
Fail = Callable[[str, str], InputError]


def read_preprocessor(path: Path) -> Table:
    """The content of a `preprocessor_config.json`.

    Raises
    ------
    InputError
        When it cannot be read, or is no JSON object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found {shown(content)}")
    return content


@cache
def family_rows() -> dict[str, Table]:
    """The rows of `image_rules.toml` by family, complete: without `like`."""
    tables = shipped_table("image_rules.toml")
    rows: dict[str, Table] = {}
    for name, table in tables["families"].items():  # a row stands behind the one it extends
        base = rows[table["like"]] if "like" in table else tables["processor"]
        rows[name] = _extended(base, table)
    return rows


def _extended(base: Table, table: Table) -> Table:
    numbers: Table = dict(base.get("numbers", {}))
    for number, entry in table.get("numbers", {}).items():
        before = numbers.get(number)
        if isinstance(entry, dict) and isinstance(before, dict):
            numbers[number] = {**before, **entry}
        else:
            numbers[number] = entry
    return {
        "rule": table.get("rule", base.get("rule")),
        "numbers": numbers,
        "required": {**base["required"], **table.get("required", {})},
        "replaced": {**base.get("replaced", {}), **table.get("replaced", {})},
        "ignored": [*base["ignored"], *table.get("ignored", [])],
    }


def family_row(config: Table) -> Table | None:
    """The row of a config.json: of its type and tower, its type and architecture, or its type.

    A tower is known by its type, or by its `model_name`.
    """
    tower = config.get("vision_config")
    kind = config.get("model_type")
    architectures = config.get("architectures")
    names = []
    if isinstance(tower, dict):
        names = [tower.get("model_type"), tower.get("model_name")]
    names += architectures if isinstance(architectures, list) else []
    rows = family_rows()
    tried = [*(f"{kind}/{name}" for name in names), str(kind)]
    return next((rows[name] for name in tried if name in rows), None)


def rule_of(
    family_row: Table, config: Table, preprocessor: Table | None, fail: Fail
) -> tuple[ImageRule, Table]:
    """The image rule of a model, and the defaults that it assumes by key.

    Parameters
    ----------
    family_row : dict
        Of `family_rows`.
    config, preprocessor : dict
        Contents of config.json and preprocessor_config.json; None: there is no such file.
    fail : callable
        The error to raise, of a key and a problem.

    Raises
    ------
    InputError
        When a value is not what the rule needs, two keys of one number disagree, or a key of the
        preprocessor is not known.
    """
    replaced = family_row["replaced"]
    given = {
        key: value
        for key, value in (preprocessor or {}).items()
        if key not in replaced or value != replaced[key]
    }
    _check_keys(family_row, given, fail)
    for address, allowed in family_row["required"].items():
        value = _at(address, config, given)
        if value is not None and value not in allowed:
            expected = " or ".join(map(repr, allowed)) or "null"
            raise fail(_label(address), f"= {shown(value)}: expected {expected}")
    assumed: Table = {}
    numbers: Table = {
        name: entry if isinstance(entry, int) else _number(entry, config, given, assumed, fail)
        for name, entry in family_row["numbers"].items()
    }
    rule = ImageRule(**{"name": family_row["rule"], **numbers})
    _check_sizes(rule, family_row["numbers"], fail)
    return rule, assumed


def _label(address: str) -> str:
    return address.replace(PREFIX, PREPROCESSOR + " ")


def _at(address: str, config: Table, preprocessor: Table) -> Any:
    """The value at an address; None where there is none."""
    value: Any = preprocessor if address.startswith(PREFIX) else config
    for key in address.removeprefix(PREFIX).split("."):
        if isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict):
            value = value.get(key)
        else:
            return None
    return value


def _leaves(table: Table, before: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{key}.")
        elif value is not None:
            yield before + key


def _check_keys(row: Table, preprocessor: Table, fail: Fail) -> None:
    """Refuse keys of the preprocessor that no number and no list of the row names."""
    tables = [entry for entry in row["numbers"].values() if isinstance(entry, dict)]
    known = {*row["required"], *(key for entry in tables for key in entry["keys"])}
    for path in _leaves(preprocessor):
        ignored = path in row["ignored"] or path.split(".")[0] in row["ignored"]
        if not ignored and known.isdisjoint((PREFIX + path, f"{PREFIX}{path}.0")):
            raise fail(_label(PREFIX + path), "is not supported: it may change the image's tokens")


def _number(entry: Table, config: Table, preprocessor: Table, assumed: Table, fail: Fail) -> Any:
    """A number of a rule from the keys that hold it, or its default."""
    values = {
        address: _parsed(address, value, entry, fail)
        for address in entry["keys"]
        if (value := _at(address, config, preprocessor)) is not None
    }
    if not values:
        default, first = entry["default"], entry["keys"][0]
        assumed[_label(first)] = default
        return default if isinstance(default, int) else _sizes(first, default, entry, fail)
    first = next(iter(values))
    for address, value in values.items():
        if value != values[first]:
            problem = f"= {value} contradicts {_label(first)} = {values[first]}"
            raise fail(_label(address), problem)
    return values[first]


def _parsed(address: str, value: Any, entry: Table, fail: Fail) -> Any:
    """A value as an integer, or as a tuple of sizes where the default is a list of them."""
    if "choices" in entry:
        if str(value) not in entry["choices"]:
            expected = " or ".join(entry["choices"])
            raise fail(_label(address), f"= {shown(value)}: expected {expected}")
        return entry["choices"][str(value)]
    if not isinstance(entry["default"], int):
        return _sizes(address, value, entry, fail)
    if isinstance(value, list) and value and value.count(value[0]) == len(value):
        value = value[0]  # the same number an edge
    return _whole(address, value, fail, entry.get("largest", LARGEST))


TILES = re.compile(r"\((\d{1,2})x(\d{1,2})\),...,\((\d{1,2})x(\d{1,2})\)")
"""A range of sizes in tiles, such as "(1x1),...,(4x4)"."""


def _sizes(address: str, value: Any, entry: Table, fail: Fail) -> tuple[tuple[int, int], ...]:
    pairs = value if isinstance(value, list) else []
    if "tile" in entry and isinstance(value, str) and (found := TILES.fullmatch(value)):
        a, b, c, d = map(int, found.groups())
        each = entry["tile"]
        pairs = [[each * i, each * j] for i in range(a, c + 1) for j in range(b, d + 1)]
    if not pairs or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise fail(_label(address), f"= {shown(value)}: expected a list of [height, width]")
    return tuple((_whole(address, a, fail), _whole(address, b, fail)) for a, b in pairs)


def _whole(address: str, value: Any, fail: Fail, largest: int = LARGEST) -> int:
    if type(value) is not int or not 1 <= value <= largest:
        expected = f"expected an integer of 1 to {largest:,}"
        raise fail(_label(address), f"= {shown(value)}: {expected}")
    return value


def _check_sizes(rule: ImageRule, numbers: Table, fail: Fail) -> None:
    """Refuse numbers with which a rule gives no feature."""

    def key(number: str) -> str:
        return _label(numbers[number]["keys"][0])

    block = rule.patch * rule.merge
    if "tile" in numbers and rule.tile < block:
        raise fail(key("tile"), f"= {rule.tile}: expected at least {block}, a feature's edge")
    if "least" in numbers and rule.least > rule.most:
        raise fail(key("least"), f"= {rule.least}: expected at most {rule.most}, {key('most')}")
    for pair in rule.pinpoints:
        if min(pair) < rule.tile:
            raise fail(key("pinpoints"), f"= {list(pair)}: expected edges of at least {rule.tile}")
