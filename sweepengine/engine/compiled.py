"""Compiled parts of the kernel, kept per user: one cache folder a part.

Numba's own check sees a change of a function's file only, not of the formulas it calls. So a
part's folder bears a hash of all the files that its code reaches, and older folders go.
"""

import hashlib
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numba
from numba.core import config
from numba.core.caching import IndexDataCacheFile
from numba.extending import register_jitable

from sweepengine.formulas.cost import FORMULAS

PACKAGE = "sweepengine."
FORMAT = b"SHA-256, pickle"
"""Of cache files; folders of others are others."""
DIGEST = 32
"""Bytes of SHA-256 before the content of a cache file."""
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
"""What every part is compiled with; a divisor of 0 is nobody's."""


inner = register_jitable(no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""For functions that only compiled code calls."""
_known: list[FunctionType] = []


def _register_formulas() -> None:
    """Let compiled code call every formula that was imported so far."""
    for formula in FORMULAS[len(_known) :]:
        inner(formula)
        _known.append(formula)


def compiled(part: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a function when it is first called, without Python's lock, and keep it for `part`."""

    def decorate(function: Any) -> Callable[..., None]:
        _register_formulas()
        try:
            with _compiled_into(_cache_folder(part, function)):
                kept: Any = numba.njit(cache=True, **OPTIONS)(function)
            before = kept._cache._cache_file
            kept._cache._cache_file = _CheckedFiles(
                before._cache_path, before._index_name.removesuffix(".nbi"), before._source_stamp
            )
        except (OSError, RuntimeError):  # no place to keep it
            kept = numba.njit(**OPTIONS)(function)
        checked: Callable[..., None] = kept
        return checked

    return decorate


_Files: Any = IndexDataCacheFile


class _CheckedFiles(_Files):  # type: ignore[misc] # numba has no types
    """Numba's cache files with a checksum each: one that is damaged is as if it were not there.

    So it is compiled and written anew. Where nothing can be written, nothing is kept.
    """

    def save(self, key: Any, data: Any) -> None:
        with suppress(OSError):
            super().save(key, data)

    def load(self, key: Any) -> Any:
        try:
            return super().load(key)
        except Exception:  # whatever unpickling of an old file raises
            return None

    def _load_index(self) -> dict[Any, str]:
        try:
            found = self._load_data(self._index_name)
        except (OSError, ValueError):
            return {}
        version, stamp, overloads = found
        fresh = (version, stamp) == (self._version, self._source_stamp)
        return overloads if fresh else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._save_data(self._index_name, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        content = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
            raise OSError(f"{name} is damaged")
        return pickle.loads(content[DIGEST:])

    def _save_data(self, name: str, data: Any) -> None:
        content = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(content).digest() + content)


def sources(function: FunctionType) -> set[str]:
    """Files of the package that a function's code reaches, through what it calls and names."""
    found: set[str] = set()
    pending: list[Any] = [function]
    while pending:
        value = pending.pop()
        code = getattr(value, "__code__", None)
        module = value if isinstance(value, ModuleType) else None
        home = module or sys.modules.get(getattr(value, "__module__", None) or "")
        if home is None or not home.__name__.startswith(PACKAGE) or home.__file__ is None:
            continue
        if code is None:
            found.add(home.__file__)
            continue
        if (name := f"{home.__file__}:{value.__name__}") in found:
            continue
        found |= {home.__file__, name}
        pending += [value.__globals__[n] for n in code.co_names if n in value.__globals__]
    return {name for name in found if ":" not in name}


def _cache_folder(part: str, function: FunctionType) -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "sweepengine"
    files = sorted(sources(function))
    digest = hashlib.sha256(FORMAT + b"".join(Path(path).read_bytes() for path in files))
    name = f"{part}-{function.__name__}-"
    wanted = folder / f"{name}{digest.hexdigest()[:16]}"
    if not wanted.exists() and folder.is_dir():
        for old in folder.iterdir():
            # Folders of earlier versions bore a hash alone.
            if old.name.startswith(name) or old.name.endswith(("-serial", "-parallel")):
                shutil.rmtree(old, ignore_errors=True)
    return wanted


@contextmanager
def _compiled_into(folder: Path) -> Iterator[None]:
    """Numba looks its cache folder up when a function is decorated: name ours for that while."""
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
