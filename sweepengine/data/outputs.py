"""Files that commands write: whole or not at all, and nothing that is not theirs is replaced."""

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
"""Endings of a chart's file."""


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to fill; it appears under its name when the block ends well, else nothing is left.

    A link is followed; a pipe or a terminal is written to as it is.

    Raises
    ------
    InputError
        When it cannot be written: a directory, a block device, a file that is read-only, or a
        folder that is not there.
    """
    place, streams = _place(path)
    if streams:
        with place.open("wb") as file:
            yield file
        return
    handle, draft = _draft(path, place)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(draft, _mode(place))
        os.replace(draft, place)
    except OSError as error:
        _remove(draft)
        if error.filename not in (None, draft, str(place)):
            raise
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
    except BaseException:
        _remove(draft)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises
    ------
    InputError
        When it cannot be written.
    """
    with written(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before what goes into it is computed.

    Raises
    ------
    InputError
    """
    place, streams = _place(path)
    if not streams:
        handle, draft = _draft(path, place)
        os.close(handle)
        _remove(draft)


def _place(path: Path) -> tuple[Path, bool]:
    """The file behind a path, and whether it is a stream, which is not replaced."""
    try:
        place = path.resolve()
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be written: {reason}") from None
    if str(path) in ("", ".") or stat.S_ISDIR(mode) or not place.name:
        raise InputError(f"{path}: is a directory: expected a file's name")
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode):
        return path, True
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is a device: expected a file's name")
    if not mode & 0o222 and place.exists():
        raise InputError(f"{path}: cannot be written: it is read-only")
    return place, False


def _draft(path: Path, place: Path) -> tuple[int, str]:
    """A new file beside the one that it will become: its handle and its name."""
    try:
        return tempfile.mkstemp(dir=place.parent, prefix=".", suffix=".unfinished")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None


def _mode(place: Path) -> int:
    """Permissions of the file that is replaced, or those that a new one gets."""
    if place.exists():
        return stat.S_IMODE(place.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _remove(draft: str) -> None:
    with suppress(OSError):
        os.unlink(draft)


class OwnFolder:
    """A folder that a command fills again and again: it replaces what it wrote, nothing else.

    The names of its files stand in a file among them, `RECORD`.
    """

    RECORD = "written.txt"

    def __init__(self, path: Path) -> None:
        """Open a folder, which need not be there.

        Raises
        ------
        InputError
            When it is no folder, or its record cannot be read.
        """
        self.path = path
        if str(path) in ("", ".") or "://" in str(path) or ":/" in str(path):
            raise InputError(f'"{path}": expected a local directory to write into')
        try:
            if path.exists() and not path.is_dir():
                raise InputError(f"{path}: is a file: expected a directory to write into")
            record = path / self.RECORD
            self.own = set(read_text(record).splitlines()) if record.exists() else set()
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"{path}: cannot be read: {reason}") from None

    def claim(self, names: Iterable[str]) -> None:
        """Refuse to go on where a file of one of these names is not ours.

        Raises
        ------
        InputError
            Naming it.
        """
        for name in names:
            place = self.path / name
            if (place.exists() or place.is_symlink()) and name not in self.own:
                raise InputError(
                    f"{place}: was not written by this command: expected another directory, "
                    "or it gone"
                )

    def write(self, contents: Mapping[str, bytes]) -> None:
        """Write files by their names, each whole; the record first, so that all are ours.

        Raises
        ------
        InputError
            When one is not ours, or cannot be written.
        """
        self.claim(contents)
        try:
            for folder in {(self.path / name).parent for name in contents}:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be made: {error.strerror}") from None
        self.own |= set(contents)
        write_text(self.path / self.RECORD, "".join(f"{name}\n" for name in sorted(self.own)))
        for name, content in contents.items():
            with written(self.path / name) as file:
                file.write(content)


def file_stem(name: str) -> str:
    """A name as the beginning of a file's: letters, digits and ``._-`` alone."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
