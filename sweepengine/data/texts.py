"""Pydantic types of texts in files, which appear in terminals, charts, pages and file names."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

_MAX_NAME = 200
_MAX_TEXT = 10_000
SPREADSHEET_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet take a text for a formula."""
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories of invisible characters: control characters, direction marks, surrogates."""


def _shown(text: str, allowed: str = "") -> str:
    for character in text:
        if not character.isprintable() and character not in allowed:
            kind = unicodedata.category(character)
            if kind in HIDDEN:
                raise ValueError(f"holds U+{ord(character):04X}: expected printable characters")
    return text


def _shown_lines(text: str) -> str:
    return _shown(text, "\n\t\r")


def _name(text: str) -> str:
    if text.startswith(SPREADSHEET_STARTS):
        raise ValueError(f"starts with {text[0]}: spreadsheets would take it for a formula")
    return _shown(text)


Name = Annotated[str, Field(min_length=1, max_length=_MAX_NAME, strict=True), AfterValidator(_name)]
"""One line of 1 to 200 printable characters that no spreadsheet takes for a formula."""
Text = Annotated[str, Field(max_length=_MAX_TEXT, strict=True), AfterValidator(_shown_lines)]
"""Any number of lines of printable text."""
Source = Annotated[
    str, Field(min_length=1, max_length=_MAX_TEXT, strict=True), AfterValidator(_shown_lines)
]
"""The source of a figure: a text that is not empty."""
