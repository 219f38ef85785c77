"""Numbers of a vision tower from a config: keys, sums of products of numbers, and functions.

A row of `towers.toml` names each number in one of three ways, and nothing is read before a block or
a join needs it.
"""

import ast
import json
import operator
from collections.abc import Callable
from math import isqrt, prod
from typing import Any

from sweepengine.data.errors import InputError, of_key, shown
from sweepengine.data.tower_tables import Config, Row, tower_tables

LARGEST = 2**31
MEANINGS = {
    "h": "the width of the decoder",
    "rule_merge": "the patches an edge of a feature",
    "rule_patch": "the patch of the image rule",
}
"""What numbers of formulas are called in errors."""


OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
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
        return of_key(self.source, path, problem)

    def value(self, path: str) -> Any:
        """Value of a key, or the default of transformers, or None."""
        self.read.add(path)
        if (value := self._given(path)) is not None:
            return value
        if (default := self.default(path)) is not None:
            self.assumed[path] = default
        return default

    def default(self, path: str) -> Any:
        """The default of transformers for a key that the config lacks, or None."""
        if self._given(path) is not None:
            return None
        for row in self.rows:
            for name, default in row.table.get("defaults", {}).items():
                if row.path(name) == path:
                    return default
        return None

    def wrong(self, path: str, expected: str) -> InputError:
        """The error to raise for a value that is missing, or not as expected."""
        value = self.value(path)
        problem = "required key is missing" if value is None else f"= {shown(value)}"
        return self.fail(path, f"{problem}: expected {expected}")

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
                definition = row.table["let"][name]
                if isinstance(definition, dict):
                    ((function, key),) = definition.items()
                    return FUNCTIONS[function](self, row.path(key))
                return self.evaluate(definition)
            if name in row.table.get("keys", {}):
                return self._spelled_number(row, name)
        raise KeyError(name)

    def _paths(self, row: Row, name: str) -> list[str]:
        """Keys that a row has for a number: the first one decides, and others."""
        keys = row.table["keys"][name]
        return [row.path(key) for key in ([keys] if isinstance(keys, str) else keys)]

    def _spelled_number(self, row: Row, name: str) -> int:
        """A number by its key; other keys for it must say the same."""
        first, *others = self._paths(row, name)
        stated = [path for path in others if self._given(path) is not None]
        if stated and self._given(first) is None:
            number = int(self.default(first))
        else:
            number = self.whole(first)
        for path in stated:
            if self.whole(path) != number:
                expected = f"expected {number}, as of {first.rpartition('.')[2]}"
                raise self.fail(path, f"= {self.whole(path)}: {expected}")
        return number

    def _given(self, path: str) -> Any:
        part, _, key = path.rpartition(".")
        table = self.config.get(part) if part else self.config
        return table.get(key) if isinstance(table, dict) else None

    def evaluate(self, formula: int | str) -> int:
        """A number, or a sum of products of names and numbers, such as "4*d*d + d"."""
        if isinstance(formula, int):
            return formula
        return self._evaluated(ast.parse(formula, mode="eval").body)

    def _evaluated(self, node: ast.expr) -> int:
        if isinstance(node, ast.Constant):
            return int(str(node.value))
        if isinstance(node, ast.Name):
            return self.number(node.id)
        if not isinstance(node, ast.BinOp):
            raise KeyError(ast.unparse(node))
        left, right = self._evaluated(node.left), self._evaluated(node.right)
        if not isinstance(node.op, ast.Div | ast.FloorDiv):
            return OPERATORS[type(node.op)](left, right)
        dividend = self.path_of(ast.unparse(node.left))
        divisor = self.path_of(ast.unparse(node.right))
        if right < 1:
            raise self.fail(divisor, f"= {right}: expected at least 1")
        if isinstance(node.op, ast.Div) and left % right:
            raise self.fail(dividend, f"= {left}: expected a multiple of {divisor} = {right}")
        return left // right

    def require_equal(self, name: str, formula: str) -> None:
        """Refuse a number that the code of the model would not accept."""
        number, expected = self.number(name), self.evaluate(formula)
        if number != expected:
            meaning = MEANINGS.get(formula, formula)
            raise self.fail(self.path_of(name), f"= {number}: expected {meaning} = {expected}")

    def path_of(self, name: str) -> str:
        """Key that a number is read from; of other numbers their name, or their formula."""
        for row in self.rows:
            if name in row.table.get("keys", {}):
                return self._paths(row, name)[0]
            definition = row.table.get("let", {}).get(name)
            if isinstance(definition, dict):
                return row.path(next(iter(definition.values())))
        return f"{self.rows[-1].part}: {name}"


def _flag(values: TowerValues, path: str) -> int:
    value = values.value(path)
    if not isinstance(value, bool):
        raise values.wrong(path, "true or false")
    return int(value)


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
        type(number) is int and 0 <= number < layers for number in value
    )
    if not fits or len(set(value)) != len(value):
        raise values.wrong(path, f"different numbers of blocks, from 0 to {layers - 1}")
    return len(value)


def _entries(values: TowerValues, path: str) -> int:
    value = values.value(path)
    if not isinstance(value, list) or not value:
        raise values.wrong(path, "a list")
    return len(value)


def _product_of(which: slice) -> Callable[[TowerValues, str], int]:
    """A function that multiplies a part of the numbers in a list."""

    def number(values: TowerValues, path: str) -> int:
        value = values.value(path)
        if not isinstance(value, list) or any(
            type(entry) is not int or entry < 1 for entry in value
        ):
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


def _times_width(values: TowerValues, path: str) -> int:
    """Width of the blocks times a ratio, rounded down."""
    ratio = values.value(path)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < LARGEST:
        raise values.wrong(path, "a number above 0, such as 4")
    width = int(values.number("d") * ratio)
    if not 1 <= width < LARGEST:
        raise values.wrong(path, "a ratio that gives a width of at least 1")
    return width


def _or_decoder_width(values: TowerValues, path: str) -> int:
    """Value of a key; the width of the decoder where the config lacks it."""
    if values.value(path) is None:
        values.assumed[path] = values.number("h")
        return values.number("h")
    return values.whole(path)


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
    "edge": _edge,
    "numbered": _numbered,
    "entries": _entries,
    "first": _product_of(slice(1)),
    "later": _product_of(slice(1, None)),
    "last": _product_of(slice(-1, None)),
    "halvings": _halvings,
    "inverse": _inverse,
    "or_decoder_width": _or_decoder_width,
    "root": _root,
    "times_width": _times_width,
    "taken": _taken,
    "class_rows": _class_rows,
    "gated": _chosen("gated"),
    "plain": _chosen("plain"),
    "norm_weights": _chosen("norm_weights"),
}
"""What a row may say a number is, besides a key: a function of a key."""
