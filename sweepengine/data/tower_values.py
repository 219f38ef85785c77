"""Numbers of a vision tower from a config: keys, sums of products of numbers, and functions.

A row of `towers.toml` names each number in one of three ways, and nothing is read before a block or
a join needs it.
"""

import ast
import json
import operator
import tomllib
from collections.abc import Callable
from functools import cache
from importlib import resources
from math import isqrt, prod
from typing import Any, NamedTuple

from sweepengine.data.errors import InputError, shown

Config = dict[str, Any]
LARGEST = 2**31


@cache
def tower_tables() -> Config:
    """The tables of `towers.toml` and `projectors.toml`.

    A row that is like another has its keys, save those that it states.
    """
    tables: Config = {}
    for name in ("towers.toml", "projectors.toml"):
        text = (resources.files("sweepengine.data") / name).read_text(encoding="utf-8")
        tables |= tomllib.loads(text)
    for rows in (tables["towers"], tables["models"]):
        for name, row in rows.items():
            if "like" in row:
                rows[name] = _joined(rows[row["like"]], row)
    return tables


def _joined(base: Config, row: Config) -> Config:
    joined = {**base, **row}
    for key in ("keys", "let", "defaults", "neutral"):
        joined[key] = {**base.get(key, {}), **row.get(key, {})}
    return joined


class Row(NamedTuple):
    """A row of a table, and the part of the config that its keys stand in."""

    table: Config
    part: str
    """Such as "vision_config"; empty: the whole config."""

    def path(self, key: str) -> str:
        """A key of the row as written from the whole config."""
        return key if "." in key or not self.part else f"{self.part}.{key}"


OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


class TowerValues:
    """Numbers by the names of the rows; the first row that names a number says what it is.

    Parameters
    ----------
    source : str
        Path of the config, for errors.
    config : dict
        The whole config.
    rows : tuple of Row
        Rows that name numbers, the first one first.
    hidden : int
        Width of the decoder, the number `h`.
    """

    def __init__(self, source: str, config: Config, rows: tuple[Row, ...], hidden: int) -> None:
        self.source = source
        self.config = config
        self.rows = rows
        self.assumed: Config = {}
        self.read: set[str] = set()
        self.numbers = {"h": hidden}

    def fail(self, path: str, problem: str) -> InputError:
        """The error to raise for a key, such as "vision_config.depth"."""
        return InputError(f"{self.source}: {path}: {problem}")

    def value(self, path: str) -> Any:
        """Value of a key, or the default of transformers, or None."""
        self.read.add(path)
        part, _, key = path.rpartition(".")
        table = self.config.get(part) if part else self.config
        if isinstance(table, dict) and table.get(key) is not None:
            return table[key]
        for row in self.rows:
            for name, default in row.table.get("defaults", {}).items():
                if row.path(name) == path:
                    self.assumed[path] = default
                    return default
        return None

    def wrong(self, path: str, expected: str) -> InputError:
        """The error to raise for a value that is missing, or not as expected."""
        value = self.value(path)
        found = "required key is missing" if value is None else f"= {shown(value)}"
        return self.fail(path, f"{found}: expected {expected}")

    def whole(self, path: str, least: int = 1) -> int:
        """Value of a key that must hold an integer of at least `least`."""
        value = self.value(path)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < LARGEST:
            raise self.wrong(path, f"an integer of at least {least}")
        return value

    def number(self, name: str) -> int:
        """A number by its name in the rows."""
        if name not in self.numbers:
            self.numbers[name] = self._number(name)
        return self.numbers[name]

    def _number(self, name: str) -> int:
        for row in self.rows:
            if name in row.table.get("let", {}):
                what = row.table["let"][name]
                if isinstance(what, dict):
                    ((function, key),) = what.items()
                    return FUNCTIONS[function](self, row.path(key))
                return self.evaluate(what)
            if name in row.table.get("keys", {}):
                return self.whole(row.path(row.table["keys"][name]))
        raise KeyError(name)

    def evaluate(self, what: int | str) -> int:
        """A number, or a sum of products of names and numbers, such as "4*d*d + d"."""
        return what if isinstance(what, int) else self._sum(ast.parse(what, mode="eval").body)

    def _sum(self, node: ast.expr) -> int:
        if isinstance(node, ast.Constant):
            return int(str(node.value))
        if isinstance(node, ast.Name):
            return self.number(node.id)
        if not isinstance(node, ast.BinOp):
            raise KeyError(ast.unparse(node))
        left, right = self._sum(node.left), self._sum(node.right)
        if isinstance(node.op, ast.Div | ast.FloorDiv) and right < 1:
            path, found = self._of(node.right)
            raise self.fail(path, f"{found}expected at least 1")
        if isinstance(node.op, ast.Div):
            if left % right:
                divisor, _ = self._of(node.right)
                raise self.fail(self._of(node.left)[0], f"= {left}: expected a multiple of "
                                f"{divisor} = {right}")  # fmt: skip
            return left // right
        return OPERATORS[type(node.op)](left, right)

    def require_equal(self, name: str, what: str) -> None:
        """Refuse a number that the model's code would not accept."""
        number, expected = self.number(name), self.evaluate(what)
        if number != expected:
            path, found = self._of(ast.parse(name, mode="eval").body)
            raise self.fail(path, f"{found}expected {what} = {expected}")

    def _of(self, node: ast.expr) -> tuple[str, str]:
        """Key that a number was read from, or the sum that it is; and its value."""
        name = ast.unparse(node)
        for row in self.rows:
            if name in row.table.get("keys", {}):
                return row.path(row.table["keys"][name]), f"= {self.numbers[name]}: "
            what = row.table.get("let", {}).get(name)
            if isinstance(what, dict):
                return row.path(next(iter(what.values()))), f"= {self.numbers[name]}: "
        return f"{self.rows[0].part or self.rows[-1].part}: {name}", ""


def _flag(values: TowerValues, path: str) -> int:
    value = values.value(path)
    if not isinstance(value, bool):
        raise values.wrong(path, "true or false")
    return int(value)


def _head_width(values: TowerValues, path: str) -> int:
    """Width of a head; where it is missing, that of all heads divided by their number."""
    if values.value(path) is None:
        values.assumed[path] = values.evaluate("d / heads")
        return int(values.assumed[path])
    return values.whole(path)


def _heads_if_missing(values: TowerValues, path: str) -> int:
    """A number of key-value heads; where it is missing, that of the heads."""
    if values.value(path) is None:
        values.assumed[path] = values.number("heads")
        return values.number("heads")
    return values.whole(path)


def _edge(values: TowerValues, path: str) -> int:
    """Edge of a square, which may be written twice."""
    value = values.value(path)
    if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < LARGEST:
        raise values.wrong(path, "an integer of at least 1, or the same one twice")
    return value


def _numbered(values: TowerValues, path: str) -> int:
    """How many blocks a list names."""
    value, layers = values.value(path), values.number("layers")
    fits = isinstance(value, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < layers for one in value
    )
    if not fits or len(set(value)) != len(value):
        raise values.wrong(path, f"different numbers of blocks, from 0 to {layers - 1}")
    return len(value)


def _entries(values: TowerValues, path: str) -> int:
    value = values.value(path)
    if not isinstance(value, list) or not value:
        raise values.wrong(path, "a list")
    return len(value)


def _one_of(which: slice) -> Callable[[TowerValues, str], int]:
    """A function that multiplies a part of the numbers in a list."""

    def number(values: TowerValues, path: str) -> int:
        value = values.value(path)
        if not isinstance(value, list) or any(type(one) is not int or one < 1 for one in value):
            raise values.wrong(path, "a list of integers of at least 1")
        return prod(value[which])

    return number


def _halvings(values: TowerValues, path: str) -> int:
    """How many rows along an edge become one: 2 between every two stages."""
    return int(2 ** (_entries(values, path) - 1))


def _inverse(values: TowerValues, path: str) -> int:
    """1 over a ratio such as 0.5."""
    value = values.value(path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-3 <= value <= 1:
        raise values.wrong(path, "1 divided by an integer, such as 0.5")
    whole = round(1 / value)
    if abs(whole * value - 1) > 1e-9:
        raise values.wrong(path, "1 divided by an integer, such as 0.5")
    return whole


def _root(values: TowerValues, path: str) -> int:
    """Edge of a square of so many rows."""
    value = values.whole(path)
    if isqrt(value) ** 2 != value:
        raise values.wrong(path, "a square number")
    return isqrt(value)


def _taken(values: TowerValues, path: str) -> int:
    """How many layers of the tower the projector takes side by side; all layers run anyway."""
    value = values.value(path)
    if isinstance(value, list) and value:
        return len(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise values.wrong(path, "the number of a layer, or a list")
    return 1


def _class_rows(values: TowerValues, path: str) -> int:
    """Class tokens that the projector takes."""
    tokens = values.number("class_tokens")
    rows = {"full": tokens, "default": 0} if tokens else {"full": 0}
    value = values.value(path)
    if not isinstance(value, str) or value not in rows:
        raise values.wrong(path, " or ".join(json.dumps(name) for name in rows))
    return rows[value]


def _chosen(table: str) -> Callable[[TowerValues, str], int]:
    """A function that takes the number of a name from a table of `towers.toml`."""

    def number(values: TowerValues, path: str) -> int:
        known: dict[str, int] = tower_tables()[table]
        name = values.value(path)
        if not isinstance(name, str) or name not in known:
            raise values.wrong(path, f"one of {', '.join(known)}")
        return known[name]

    return number


FUNCTIONS: dict[str, Callable[[TowerValues, str], int]] = {
    "flag": _flag,
    "head_width": _head_width,
    "heads_if_missing": _heads_if_missing,
    "edge": _edge,
    "numbered": _numbered,
    "entries": _entries,
    "first": _one_of(slice(1)),
    "later": _one_of(slice(1, None)),
    "last": _one_of(slice(-1, None)),
    "halvings": _halvings,
    "inverse": _inverse,
    "root": _root,
    "taken": _taken,
    "class_rows": _class_rows,
    "gated": _chosen("gated"),
    "plain": _chosen("plain"),
    "norm_weights": _chosen("norm_weights"),
}
"""What a row may say a number is, besides a key: a function of a key."""
