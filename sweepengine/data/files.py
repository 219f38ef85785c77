"""Data files of models and devices: shipped ones by their stem, a user's own by path."""

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from sweepengine.data.errors import InputError

CONFIG = "config.json"
"""What Hugging Face calls a model's file; a model is named by its folder too."""
MODEL_SCHEMA_VERSION = 2
DEVICE_SCHEMA_VERSION = 1
"""Of model and device files, their `schema_version`."""


def read_text(path: Path) -> str:
    """Content of a text file that a user names: every such file is read here.

    Raises
    ------
    InputError
        When it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path}: cannot be read: {reason}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    InputError
        When the file cannot be read or is not TOML.
    """
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a TOML file: {reason}") from None


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
    if (path / CONFIG).is_file():
        return path / CONFIG
    if path.suffix in (".toml", ".json") or path.is_file():
        return path
    singular = kind.removesuffix("s")
    raise InputError(
        f'{singular} "{name}" does not exist: expected a path to a TOML file or one of '
        f"{', '.join(shipped)}"
    )
