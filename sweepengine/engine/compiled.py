"""Compiled parts of the kernel, with one cache folder per part.

Numba notices a change of a function's file only, not of the formulas that it calls. So the name of
a folder has a hash of all files that the part's code reaches, and older folders are removed.
"""

import hashlib
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

from sweepengine.data.errors import InputError
from sweepengine.data.kept import kept_folder, read_kept, with_checksum
from sweepengine.formulas.cost import FORMULAS

PACKAGE = "sweepengine."
FORMAT = b"SHA-256, pickle"
"""Format of cache files, which the name of the folder depends on."""
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
"""Options of every part; no formula divides by 0."""

inner = register_jitable(no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""For functions that only compiled code calls."""
_known: list[FunctionType] = []


def _register_formulas() -> None:
    """Let compiled code call every imported formula."""
    for formula in FORMULAS[len(_known) :]:
        inner(formula)
        _known.append(formula)


def compiled(part: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a function at its first call, without the GIL, and cache it for `part`.

    Raises
    ------
    InputError
        Where the environment switches Numba's compiler off; integers would overflow in silence.
    """

    def decorate(function: Any) -> Callable[..., None]:
        if config.DISABLE_JIT:  # type: ignore[attr-defined]
            raise InputError("NUMBA_DISABLE_JIT: remove it, as points need compiled code")
        _register_formulas()
        try:
            with _compiled_into(_cache_folder(part, function)):
                dispatcher: Any = numba.njit(cache=True, **OPTIONS)(function)
            before = dispatcher._cache._cache_file
            dispatcher._cache._cache_file = _CheckedFiles(
                before._cache_path, before._index_name.removesuffix(".nbi"), before._source_stamp
            )
        except (OSError, RuntimeError):  # no writable cache folder
            dispatcher = numba.njit(**OPTIONS)(function)
        callable_part: Callable[..., None] = dispatcher
        return callable_part

    return decorate


_Files: Any = IndexDataCacheFile


class _CheckedFiles(_Files):  # type: ignore[misc] # numba has no types
    """Numba's cache files with checksums: a damaged file counts as missing and is rewritten.

    Where the folder cannot be written, nothing is cached.
    """

    def save(self, key: Any, data: Any) -> None:
        with suppress(OSError):
            super().save(key, data)

    def load(self, key: Any) -> Any:
        try:
            return super().load(key)
        except Exception:  # unpickling an old file can raise anything
            return None

    def _load_index(self) -> dict[Any, str]:
        try:
            version, stamp, overloads = self._load_data(self._index_name)
        except (OSError, ValueError):
            return {}
        fresh = (version, stamp) == (self._version, self._source_stamp)
        return overloads if fresh else {}

    def _save_index(self, overloads: dict[Any, str]) -> None:
        self._save_data(self._index_name, (self._version, self._source_stamp, overloads))

    def _load_data(self, name: str) -> Any:
        return pickle.loads(read_kept(Path(self._data_path(name))))

    def _save_data(self, name: str, data: Any) -> None:
        with self._open_for_write(self._data_path(name)) as file:
            file.write(with_checksum(self._dump(data)))


def sources(function: FunctionType) -> set[str]:
    """Files of the package that a function's code reaches through the names that it uses."""
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
    folder = kept_folder()
    files = sorted(sources(function))
    digest = hashlib.sha256(FORMAT + b"".join(Path(path).read_bytes() for path in files))
    name = f"{part}-{function.__name__}-"
    wanted = folder / f"{name}{digest.hexdigest()[:16]}"
    if not wanted.exists() and folder.is_dir():
        for old in folder.iterdir():
            # Folders of earlier versions had other names.
            if old.name.startswith(name) or old.name.endswith(("-serial", "-parallel")):
                shutil.rmtree(old, ignore_errors=True)
    return wanted


@contextmanager
def _compiled_into(folder: Path) -> Iterator[None]:
    """Set Numba's cache folder, which it reads when a function is decorated."""
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
