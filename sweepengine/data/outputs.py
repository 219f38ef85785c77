"""Output files of commands: written atomically, and only files of the command are replaced."""

import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sweepengine.data.errors import InputError
from sweepengine.data.files import read_text

KINDS = (".svg", ".png", ".html")
"""Suffixes of chart files."""


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing; it appears under its name only if the block ends without an error.

    Links are followed. Pipes and terminals are written to directly.

    Raises
    ------
    InputError
        When the file cannot be written: a directory, a block device, a read-only file, or a
        missing folder.
    """
    target, streams = _target(path)
    if streams:
        with target.open("wb") as file:
            yield file
        return
    handle, draft = _draft(path, target)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(draft, _mode(target))
        os.replace(draft, target)
    except OSError as error:
        _remove(draft)
        if error.filename not in (None, draft, str(target)):
            raise
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    except BaseException:
        _remove(draft)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises
    ------
    InputError
        When it cannot be written.
    """
    with written(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def check_writable(path: Path) -> None:
    """Check that a file can be written, before its content is computed.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    target, streams = _target(path)
    if not streams:
        handle, draft = _draft(path, target)
        os.close(handle)
        _remove(draft)


def _target(path: Path) -> tuple[Path, bool]:
    """The resolved path of a file, and whether it is a stream, which is not replaced."""
    try:
        target = path.resolve()
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be written: {reason}") from None
    if str(path) in ("", ".") or stat.S_ISDIR(mode) or not target.name:
        raise InputError(f"{path}: is a directory: expected a file name")
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode):
        return path, True
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is a device: expected a file name")
    if not mode & 0o222 and target.exists():
        raise InputError(f"{path}: cannot be written: it is read-only")
    return target, False


def _draft(path: Path, target: Path) -> tuple[int, str]:
    """Handle and name of a new temporary file in the folder of the final one."""
    try:
        return tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".unfinished")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _mode(target: Path) -> int:
    """Permissions of the file to replace, or the default ones of a new file."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _remove(draft: str) -> None:
    with suppress(OSError):
        os.unlink(draft)


class OutputFolder:
    """A folder that a command may fill again; only files that it wrote are replaced.

    The file `RECORD` in the folder lists their names.
    """

    RECORD = "written.txt"

    def __init__(self, path: Path) -> None:
        """Open a folder, which may be missing.

        Raises
        ------
        InputError
            When the path is not a folder, or its record cannot be read.
        """
        self.path = path
        if str(path) in ("", ".") or "://" in str(path) or ":/" in str(path):
            raise InputError(f'"{path}": expected a local directory to write into')
        try:
            if path.exists() and not path.is_dir():
                raise InputError(f"{path}: is a file: expected a directory to write into")
            record = path / self.RECORD
            self.written_names = set(read_text(record).splitlines()) if record.exists() else set()
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"{path}: cannot be read: {reason}") from None

    def claim(self, names: Iterable[str]) -> None:
        """Check that no file of these names was written by anything else, and that one can be.

        Raises
        ------
        InputError
            Naming the first such file, or the folder when it cannot be written or created.
        """
        for name in names:
            target = self.path / name
            if (target.exists() or target.is_symlink()) and name not in self.written_names:
                raise InputError(
                    f"{target}: was not written by this command: remove it, or write to another "
                    "directory"
                )
        nearest = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        handle, draft = _draft(self.path, nearest / self.RECORD)
        os.close(handle)
        _remove(draft)

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write files by name, each atomically, after the record of their names.

        Raises
        ------
        InputError
            When a file was written by anything else, or cannot be written.
        """
        self.claim(contents)
        try:
            for folder in {(self.path / name).parent for name in contents}:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be created: {error.strerror}") from None
        self.written_names |= set(contents)
        write_text(
            self.path / self.RECORD, "".join(f"{name}\n" for name in sorted(self.written_names))
        )
        for name, content in contents.items():
            with written(self.path / name) as file:
                file.write(content)


def file_stem(name: str) -> str:
    """A file stem from a name: letters, digits and ``._-`` only."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
