"""The one exception that bad input raises: a line that names the place and the way out."""

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


def from_validation(source: str | Path, error: "ValidationError") -> InputError:
    """Turn the first problem that pydantic found into one line."""
    problem = error.errors(include_url=False)[0]
    where = location(problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key"
    elif problem["type"] == "missing":
        message = "required key is missing"
    elif problem["type"] != "value_error" or not where:
        message = f"{message}, found {shown(problem['input'])}"
    return InputError(f"{source}: {where + ': ' if where else ''}{' '.join(message.split())}")
