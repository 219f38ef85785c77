"""The exception for bad input: one line that names the location and the allowed values."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


def printable(text: str, keep: str = "") -> str:
    r"""Text with control characters escaped, such as ``\x1b``; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode()
        for character in text
    )


MAX_COMPARED_CHARACTERS = 80
"""Characters of an unknown name that are compared with known names."""


class InputError(ValueError):
    """Bad input: the message is one line naming the file, the key and the allowed values."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def location(path: tuple[int | str, ...]) -> str:
    """Write a pydantic location as in TOML: ``("axes", "crops", 3)`` is ``axes.crops[3]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def of_key(source: str | Path, key: str, problem: str) -> InputError:
    """The error of a key of a file; a problem that begins with "= " names its value.

    Parameters
    ----------
    source : str or Path
        Name of the file.
    key : str
    problem : str
    """
    return InputError(f"{source}: {key}{' ' if problem.startswith('= ') else ': '}{problem}")


def shown(value: object, most: int = 80) -> str:
    """A value for an error message, cut to `most` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits than Python writes, or too deep
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= most else text[: most - 3] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion in brackets for an unknown name, case aside; empty where no name is near."""
    from difflib import get_close_matches

    choices = {choice.lower(): choice for choice in known}
    wanted = name[:MAX_COMPARED_CHARACTERS].lower()
    longer = [choice for choice in choices if wanted and choice.startswith(wanted)]
    same = [wanted] if wanted in choices else []
    near = same or longer[:3] or get_close_matches(wanted, choices, 1)
    names = " or ".join(choices[choice] for choice in near)
    return f" (did you mean {names}?)" if near else ""


def from_validation(
    source: str | Path,
    error: "ValidationError",
    keys: Iterable[str] = (),
    inside: tuple[str, ...] = (),
) -> InputError:
    """Turn the first problem of a pydantic error into one line.

    Parameters
    ----------
    source : str or Path
        Name of the file.
    error : ValidationError
    keys : iterable of str
        Known keys of the file; those of its tables are not among them.
    inside : tuple of str
        Keys of the table that was validated.
    """
    problem = error.errors(include_url=False)[0]
    where, known = location((*inside, *problem["loc"])), tuple(keys)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "unknown key" + nearest(str(problem["loc"][-1]), known)
        if known and len(problem["loc"]) == 1:
            message += f": expected one of {', '.join(known)}"
    elif problem["type"] == "missing":
        message = "required key is missing"
    elif problem["type"] != "value_error" or not where:
        message = f"{message}, found {shown(problem['input'])}"
    return InputError(f"{source}: {where + ': ' if where else ''}{' '.join(message.split())}")
