"""Texts of files, as pydantic types: what ends in terminals, charts, pages and file names."""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field

LONGEST_NAME = 200
LONGEST_TEXT = 10_000
SPREADSHEET_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for the beginning of a formula."""
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that a terminal or a chart does not show as they are: control characters,
marks that turn the direction of writing, surrogates."""


def _shown(text: str, beside: str = "") -> str:
    for character in text:
        if not character.isprintable() and character not in beside:
            kind = unicodedata.category(character)
            if kind in HIDDEN:
                raise ValueError(f"holds U+{ord(character):04X}: expected characters that show")
    return text


def _shown_lines(text: str) -> str:
    return _shown(text, "\n\t\r")


def _name(text: str) -> str:
    if text.startswith(SPREADSHEET_STARTS):
        raise ValueError(f"begins with {text[0]}: expected another sign, as tables take formulas")
    return _shown(text)


Name = Annotated[
    str, Field(min_length=1, max_length=LONGEST_NAME, strict=True), AfterValidator(_name)
]
"""One line of at most 200 characters, all of which show; no spreadsheet takes it for a formula."""
Text = Annotated[str, Field(max_length=LONGEST_TEXT, strict=True), AfterValidator(_shown_lines)]
"""Several lines of text, or none."""
Source = Annotated[
    str,
    Field(min_length=1, max_length=LONGEST_TEXT, strict=True),
    AfterValidator(_shown_lines),
]
"""Where a figure comes from."""
