"""Data files of models and devices: shipped ones by their stem, a user's own by path."""

import json
import stat
import tomllib
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from sweepengine.data.errors import InputError, location, nearest

CONFIG = "config.json"
"""What Hugging Face calls a model's file; a model is named by its folder too."""
MODEL_SCHEMA_VERSION = 2
DEVICE_SCHEMA_VERSION = 1
"""Of model and device files, their `schema_version`."""
LARGEST_FILE = 1 << 24
DEEPEST = 64
"""Levels of a table within a table."""


def read_text(path: Path) -> str:
    """Content of a text file that a user names: every such file is read here.

    Raises
    ------
    InputError
        When it cannot be read, is no regular file, is not UTF-8, or larger than any that a
        person or a program writes for us (16 MiB).
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{path}: cannot be read: Is a directory")
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path}: cannot be read: expected a regular file")
        if found.st_size > LARGEST_FILE:
            raise InputError(f"{path}: {found.st_size:,} bytes: expected at most {LARGEST_FILE:,}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: cannot be read: {reason}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file: {error}") from None
    except ValueError as error:  # of the path itself
        raise InputError(f"{path}: cannot be read: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    InputError
        When the file cannot be read, is not TOML, or holds what no file of ours does (`sane`).
    """
    return parsed_toml(path, read_text(path))


def parsed_toml(path: str | Path, text: str) -> dict[str, Any]:
    """The table of a TOML text; `path` is what messages call it.

    Raises
    ------
    InputError
    """
    found: dict[str, Any] = sane(path, parsed(path, text, tomllib.loads, "TOML"))
    return found


def read_json(path: Path) -> Any:
    """Read a JSON file; a key that stands twice is an error.

    Raises
    ------
    InputError
        When the file cannot be read, is not JSON, or holds what no file of ours does (`sane`).
    """
    return parsed_json(path, read_text(path))


def parsed_json(path: str | Path, text: str) -> Any:
    """What a JSON text holds; `path` is what messages call it.

    Raises
    ------
    InputError
    """
    return sane(path, parsed(path, text, _json, "JSON"))


def parsed(path: str | Path, text: str, parse: Callable[[str], Any], kind: str) -> Any:
    """What a parser makes of a text, every problem one line.

    Raises
    ------
    InputError
    """
    try:
        return parse(text)
    except RecursionError:
        raise InputError(f"{path}: not a {kind} file: too deep") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a {kind} file: {reason}") from None


def _json(text: str) -> Any:
    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            raise ValueError(f"{counts.most_common(1)[0][0]!r} stands twice in one table")
        return found

    return json.loads(text, object_pairs_hook=table)


def sane(path: str | Path, data: Any) -> Any:
    """Refuse integers beyond 64 bits, and tables within tables within tables without end.

    Raises
    ------
    InputError
        Naming the key.
    """
    pending: list[tuple[tuple[int | str, ...], Any]] = [((), data)]
    while pending:
        place, value = pending.pop()
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(f"{path}: {location(place)}: expected an integer of at most 64 bits")
        if len(place) > DEEPEST:
            raise InputError(f"{path}: {location(place[:3])}: more than {DEEPEST} levels deep")
        if isinstance(value, dict):
            pending += [((*place, str(key)), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            pending += [
                ((*place, i), inner)
                for i, inner in enumerate(value)
                if isinstance(inner, int | list | dict)
            ]
    return data


def exists(path: Path) -> bool:
    """Whether there is something other than a directory at a path, one that may be nonsense."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


def _stem(path: Path) -> str:
    return path.stem


@cache
def known(kind: str) -> dict[str, Path]:
    """Data files of `kind` ("models", "devices") that come with the package, by stem."""
    folder = Path(str(resources.files("sweepengine.data") / kind))
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=_stem)}


def find(kind: str, name: str | Path) -> Path:
    """Path of a data file named by stem, or by a path of the user's own.

    Raises
    ------
    InputError
        When there is none; the message names the known ones.
    """
    shipped = known(kind)
    if str(name) in shipped:
        return shipped[str(name)]
    path = Path(name)
    if str(name) and exists(path / CONFIG):
        return path / CONFIG
    if path.suffix in (".toml", ".json") or exists(path):
        return path
    singular = kind.removesuffix("s")
    raise InputError(
        f'{singular} "{name}" does not exist{nearest(str(name), shipped)}: expected a path to a '
        f"TOML file or one of {', '.join(shipped)}"
    )
