"""Compiled parts of the kernel, kept per user: one cache folder a part.

Numba's own check sees a change of a function's file only, not of the formulas it calls. So a
part's folder bears a hash of all the files that its code reaches, and older folders go.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numba
from numba.core import config
from numba.extending import register_jitable

from sweepengine.formulas.cost import FORMULAS

PACKAGE = "sweepengine."
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
                kept: Callable[..., None] = numba.njit(cache=True, **OPTIONS)(function)
        except (OSError, RuntimeError):  # no place to keep it
            kept = numba.njit(**OPTIONS)(function)
        return kept

    return decorate


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
    digest = hashlib.sha256(b"".join(Path(path).read_bytes() for path in files))
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
