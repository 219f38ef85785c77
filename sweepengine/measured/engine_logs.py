"""Read start-up logs of serving engines: what they say of the memory of a device."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sweepengine.data.files import read_text, shipped_table
from sweepengine.formulas.kv_pages import BLOCK_TOKENS

LONGEST_LINE = 1 << 15
"""Characters of a line that are read."""
LONGEST_VALUE = 256
"""Characters of a value; what is longer is no setting or figure."""
FIGURES = ("weights", "activations", "graphs", "pool", "tokens", "requests")
"""Measured figures: GiB of one device, tokens of the pool, requests of the longest length."""


class StartLog(NamedTuple):
    """What a log says."""

    source: str
    engine: str
    settings: Mapping[str, str]
    """Text of each setting that it says."""
    figures: Mapping[str, float]
    """Of `FIGURES`, those that it says."""


class _Patterns(NamedTuple):
    settings: Mapping[str, list[re.Pattern[str]]]
    figures: Mapping[str, list[re.Pattern[str]]]
    formats: Mapping[str, str]


@cache
def _engines() -> dict[str, _Patterns]:
    """Patterns of lines, by serving engine."""
    engines = shipped_table("serving_engines", "logs.toml")

    def compiled(part: Mapping[str, list[str]]) -> dict[str, list[re.Pattern[str]]]:
        return {name: [re.compile(text) for text in texts] for name, texts in part.items()}

    return {
        engine: _Patterns(compiled(table["settings"]), compiled(table["figures"]), table["formats"])
        for engine, table in engines.items()
    }


def format_of(engine: str, quantization: str) -> str | None:
    """Precision of a quantization that a log names; None where its name does not decide it."""
    return _engines()[engine].formats.get(quantization)


def read_log(path: Path) -> StartLog | None:
    """Read a start-up log; None where no line states the memory of a serving engine.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    lines = [line[:LONGEST_LINE] for line in read_text(path).splitlines()]
    logs = [_said(str(path), engine, patterns, lines) for engine, patterns in _engines().items()]
    log = max(logs, key=lambda log: (len(log.figures), len(log.settings)))
    return log if log.figures else None


def _said(source: str, engine: str, patterns: _Patterns, lines: list[str]) -> StartLog:
    """What a log says, read as that of one serving engine."""
    settings, texts = (_first(wanted, lines) for wanted in (patterns.settings, patterns.figures))
    numbers = {name: float(text.replace(",", "")) for name, text in texts.items()}
    if "blocks" in numbers:
        numbers.setdefault("tokens", numbers["blocks"] * BLOCK_TOKENS)
    if "keys" in numbers and "values" in numbers:
        numbers.setdefault("pool", numbers["keys"] + numbers["values"])
    figures = {name: numbers[name] for name in FIGURES if name in numbers}
    return StartLog(source, engine, settings, figures)


def _first(patterns: Mapping[str, list[re.Pattern[str]]], lines: list[str]) -> dict[str, str]:
    """Value of each quantity in the first line that states it."""
    wanted, found = dict(patterns), dict[str, str]()
    for line in lines:
        for name, expressions in list(wanted.items()):
            match = next((m for one in expressions if (m := one.search(line))), None)
            if match is not None and len(match[1]) <= LONGEST_VALUE:
                found[name] = match[1]
                del wanted[name]
    return found
