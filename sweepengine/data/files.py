"""Reading of files: shipped models and devices by stem, files of the user by path."""

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
from sweepengine.data.hub_cache import CONFIG, REPOSITORY, cached_config, hub_cache

MODEL_SCHEMA_VERSION = 2
DEVICE_SCHEMA_VERSION = 1
"""The `schema_version` of model and device files."""
LARGEST_FILE = 1 << 24
"""Bytes."""
MODELS = "models"
"""The kind of data files that describe models, of `known` and `find`."""
MAX_LEVELS = 64
"""Largest depth of nested tables."""


def shipped_table(*parts: str) -> dict[str, Any]:
    """A TOML file of the package, by the parts of its path below `sweepengine/data`."""
    text = resources.files("sweepengine.data").joinpath(*parts).read_text(encoding="utf-8")
    return tomllib.loads(text)


def read_text(path: Path) -> str:
    """Content of a text file of the user.

    Raises
    ------
    InputError
        When it cannot be read, is not a regular file, is not UTF-8, or is larger than 16 MiB.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: cannot be read: Is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: cannot be read: expected a regular file")
        if status.st_size > LARGEST_FILE:
            raise InputError(f"{path}: {status.st_size:,} bytes: expected at most {LARGEST_FILE:,}")
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
        When the file cannot be read, is not TOML, or is not `_sane`.
    """
    return parsed_toml(path, read_text(path))


def parsed_toml(path: str | Path, text: str) -> dict[str, Any]:
    """The table of a TOML text; error messages name `path`."""
    table: dict[str, Any] = _sane(path, _parsed(path, text, tomllib.loads, "TOML"))
    return table


def read_json(path: Path) -> Any:
    """Read a JSON file; a repeated key is an error.

    Raises
    ------
    InputError
        When the file cannot be read, is not JSON, or is not `_sane`.
    """
    return parsed_json(path, read_text(path))


def parsed_json(path: str | Path, text: str) -> Any:
    """The value of a JSON text; error messages name `path`."""
    return _sane(path, _parsed(path, text, _json, "JSON"))


def _parsed(path: str | Path, text: str, parse: Callable[[str], Any], kind: str) -> Any:
    """What `parse` makes of a text in a format such as "JSON", with one-line errors."""
    try:
        return parse(text)
    except RecursionError:
        raise InputError(f"{path}: not a {kind} file: too deep") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a {kind} file: {reason}") from None


def _json(text: str) -> Any:
    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            raise ValueError(f"{counts.most_common(1)[0][0]!r} appears twice in one table")
        return result

    return json.loads(text, object_pairs_hook=table)


def _sane(path: str | Path, data: Any) -> Any:
    """Check that integers fit 64 bits and that tables are not nested too deeply; return `data`."""
    pending: list[tuple[tuple[int | str, ...], Any]] = [((), data)]
    while pending:
        keys, value = pending.pop()
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(f"{path}: {location(keys)}: expected an integer of at most 64 bits")
        if len(keys) > MAX_LEVELS:
            raise InputError(f"{path}: {location(keys[:3])}: more than {MAX_LEVELS} levels deep")
        if isinstance(value, dict):
            pending += [((*keys, str(key)), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            pending += [
                ((*keys, i), inner)
                for i, inner in enumerate(value)
                if isinstance(inner, int | list | dict)
            ]
    return data


def exists(path: Path) -> bool:
    """Whether a path, which may be malformed, leads to something other than a directory."""
    try:
        return path.exists() and not path.is_dir()
    except (OSError, ValueError):
        return False


@cache
def known(kind: str) -> dict[str, Path]:
    """Shipped data files of `kind` ("models", "devices"), by stem."""
    folder = Path(str(resources.files("sweepengine.data") / kind))
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=lambda path: path.stem)}


def find(kind: str, name: str | Path) -> Path:
    """Path of a shipped data file by stem, of a file of the user, or of a model in the Hub cache.

    Raises
    ------
    InputError
        When there is no such file (the message names the nearest shipped one, else all of them), or
        a folder has both the name of a shipped model and a model file.
    """
    shipped, path = known(kind), Path(name)
    if str(name) in shipped:
        if exists(path / CONFIG):
            raise InputError(
                f"{name}: a shipped {kind.removesuffix('s')} and the folder here with a {CONFIG} "
                f"have this name: expected ./{name} for the folder, or another name of it"
            )
        return shipped[str(name)]
    if str(name) and exists(path / CONFIG):
        return path / CONFIG
    if path.suffix in (".toml", ".json") or exists(path):
        return path
    if kind == MODELS and REPOSITORY.fullmatch(str(name)):
        return _of_hub(str(name))
    singular, near = kind.removesuffix("s"), nearest(str(name), shipped)
    listed = f"one that `sweepengine {kind}` lists" if near else f"one of {', '.join(shipped)}"
    files = "a config.json or a TOML file" if kind == MODELS else "a TOML file"
    raise InputError(
        f'{singular} "{name}" does not exist{near}: expected a path to {files}, or {listed}'
    )


def _of_hub(repository: str) -> Path:
    """The config.json of a repository in the local cache of the Hub.

    Raises
    ------
    InputError
        When it is not there; the message says where to get it.
    """
    if (path := cached_config(repository)) is not None:
        return path
    title = repository.lower()
    alike = [name for name in known(MODELS) if name in title]
    near = f" (did you mean {max(alike, key=len)}?)" if alike else ""
    raise InputError(
        f'model "{repository}" does not exist{near}: its config.json is not in the cache of the '
        f"Hub ({hub_cache()}): save https://huggingface.co/{repository}/raw/main/{CONFIG} and give "
        "the path of the file"
    )
