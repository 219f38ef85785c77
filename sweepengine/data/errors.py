"""The one exception that bad input raises: a line that names the place and the way out."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def printable(text: str, keep: str = "") -> str:
    r"""Text with what a terminal would take for commands spelled out, such as ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode()
        for character in text
    )


LONGEST_NAME = 80
"""Characters of a name that is none which are compared with known ones."""


class InputError(ValueError):
    """Bad input: the message is one line naming the file, the key and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def location(path: tuple[int | str, ...]) -> str:
    """Write a pydantic location as in TOML: ``("axes", "crops", 3)`` is ``axes.crops[3]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(value: object, most: int = 80) -> str:
    """A value as messages show it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits than Python writes, or too deep
        return f"one of type {type(value).__name__}"
    return text if len(text) <= most else text[: most - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """What was meant instead of a name that is none, in brackets; empty where nothing is near."""
    from difflib import get_close_matches

    choices = list(known)
    longer = [one for one in choices if name and one.startswith(name)]
    found = longer[:3] or get_close_matches(name[:LONGEST_NAME], choices, 1)
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def from_validation(
    source: str | Path, error: "ValidationError", keys: Iterable[str] = ()
) -> InputError:
    """Turn the first problem that pydantic found into one line; `keys` are those of the file."""
    problem = error.errors(include_url=False)[0]
    where = location(problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key" + nearest(str(problem["loc"][-1]), keys)
    elif problem["type"] == "missing":
        message = "required key is missing"
    elif problem["type"] != "value_error" or not where:
        message = f"{message}, found {shown(problem['input'])}"
    return InputError(f"{source}: {where + ': ' if where else ''}{' '.join(message.split())}")
