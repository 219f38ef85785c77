"""Where a dataset lives: a local directory, or whatever pyarrow or fsspec reaches by a URI."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from sweepengine.data.errors import InputError

LOCK = ".lock"
UNFINISHED = ".unfinished"
OBJECT_STORES = ("s3", "gcs", "abfs", "py::fsspec+memory")
"""Kinds of file systems where a write is seen whole when it ends, or not at all."""


class LocalFolder(NamedTuple):
    """A directory. Files appear under their names when they are complete and on the disk."""

    path: Path

    @property
    def place(self) -> str:
        """As the user named it, for messages."""
        return str(self.path)

    def names(self) -> list[str]:
        """Names of all files."""
        return sorted(entry.name for entry in self.path.iterdir())

    def read(self, name: str) -> bytes:
        """Content of a file."""
        return (self.path / name).read_bytes()

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return (self.path / name).stat().st_size

    def write(self, name: str, fill: Callable[[IO[bytes]], object]) -> None:
        """Let `fill` write a file, under another name until it is complete."""
        draft = self.path / (name + UNFINISHED)
        with draft.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / name)

    def settle(self) -> None:
        """Make names survive a power cut."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink()

    def free(self) -> str:
        """How much more fits, in words."""
        return f" ({shutil.disk_usage(self.path).free:,} bytes free)"

    def prepare(self) -> None:
        """Make the directory.

        Raises
        ------
        InputError
            When it is a file, or cannot be made or written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InputError(
                f"{self.path}: is a file: expected a directory to write into"
            ) from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be made: {error.strerror}") from None
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise InputError(f"{self.path}: cannot be written to: expected a writable directory")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one run; the lock dies with its owner.

        Raises
        ------
        InputError
            When another run that still lives holds it.
        """
        with (self.path / LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{self.path}: another run is writing here: expected it to end first"
                ) from None
            yield

    def scan(self, pattern: str) -> pl.LazyFrame:
        """Lazy frame over Parquet files whose names match."""
        return pl.scan_parquet(self.path / pattern)


class RemoteFolder(NamedTuple):
    """A folder behind a URI, such as ``s3://bucket/folder``.

    In object stores the put of an object is the atomic step; elsewhere a file is written under
    another name and moved. There is no lock: two runs at once write the same bytes twice.
    """

    uri: str

    @property
    def place(self) -> str:
        """As the user named it, for messages, without parameters and credentials."""
        scheme, rest = self.uri.split("?")[0].split("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def _opened(self) -> tuple[Any, str]:
        try:
            return _from_uri(self.uri)
        except (pa.ArrowException, OSError, ValueError, ImportError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> InputError:
        return InputError(f"{self.place}: cannot be reached: {' '.join(str(error).split())}")

    def names(self) -> list[str]:
        """Names of all files."""
        filesystem, folder = self._opened()
        selector = pafs.FileSelector(folder, allow_not_found=True)
        try:
            found = filesystem.get_file_info(selector)
        except OSError as error:
            raise self._unreachable(error) from None
        return sorted(info.base_name for info in found if info.is_file)

    def read(self, name: str) -> bytes:
        """Content of a file."""
        filesystem, folder = self._opened()
        with filesystem.open_input_stream(f"{folder}/{name}") as file:
            content: bytes = file.read()
        return content

    def size(self, name: str) -> int:
        """Bytes of a file."""
        filesystem, folder = self._opened()
        return int(filesystem.get_file_info(f"{folder}/{name}").size)

    def write(self, name: str, fill: Callable[[IO[bytes]], object]) -> None:
        """Let `fill` write a file into memory, then put it."""
        filesystem, folder = self._opened()
        content = BytesIO()
        fill(content)
        whole = filesystem.type_name in OBJECT_STORES
        draft = f"{folder}/{name}" + ("" if whole else UNFINISHED)
        with filesystem.open_output_stream(draft) as file:
            file.write(content.getbuffer())
        if not whole:
            filesystem.move(draft, f"{folder}/{name}")

    def settle(self) -> None:
        """Nothing is left to do: a put that has ended is durable."""

    def remove(self, name: str) -> None:
        """Remove a file."""
        filesystem, folder = self._opened()
        filesystem.delete_file(f"{folder}/{name}")

    def free(self) -> str:
        """Nobody knows how much more fits."""
        return ""

    def prepare(self) -> None:
        """Make the folder, where folders exist."""
        filesystem, folder = self._opened()
        if filesystem.type_name not in OBJECT_STORES:
            filesystem.create_dir(folder, recursive=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold nothing: an object store has no lock that dies with its owner."""
        yield

    def scan(self, pattern: str) -> pl.LazyFrame:
        """Lazy frame over Parquet files whose names match ``prefix*suffix``."""
        filesystem, folder = self._opened()
        prefix, suffix = pattern.split("*")
        files = [
            f"{folder}/{name}"
            for name in self.names()
            if name.startswith(prefix) and name.endswith(suffix)
        ]
        return pl.scan_pyarrow_dataset(pads.dataset(files, filesystem=filesystem, format="parquet"))


Storage = LocalFolder | RemoteFolder


def open_storage(place: str | Path) -> Storage:
    """Storage for a path or a URI; nothing is read or made."""
    text = str(place)
    if text.startswith("file://"):
        return LocalFolder(Path(text.removeprefix("file://")))
    return RemoteFolder(text.rstrip("/")) if "://" in text else LocalFolder(Path(text))


@cache
def _from_uri(uri: str) -> tuple[Any, str]:
    try:
        filesystem, folder = pafs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem" not in str(error):
            raise
        from fsspec.core import url_to_fs

        other, folder = url_to_fs(uri)
        filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(other))
    return filesystem, folder.rstrip("/")
