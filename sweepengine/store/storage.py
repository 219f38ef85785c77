"""Storage of a dataset: a local directory, or a URI that pyarrow or fsspec reads."""

import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO, Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from sweepengine.data.errors import InputError
from sweepengine.store.summed import Summed

LOCK = ".lock"
UNFINISHED = ".unfinished"
OBJECT_STORES = ("s3", "gcs", "abfs", "py::fsspec+memory")
"""File systems where a file appears only when its write has ended."""
ANSWER_SECONDS = 20
"""Longest wait for the first answer of a remote storage, seconds."""


class LocalFolder(NamedTuple):
    """A directory. Files get their names when they are complete and on the disk."""

    path: Path

    @property
    def place(self) -> str:
        """The path as given, for messages."""
        return str(self.path)

    def names(self) -> list[str]:
        """Names of all files."""
        return sorted(entry.name for entry in self.path.iterdir())

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self.path / name).exists()

    def sizes(self) -> dict[str, int]:
        """Bytes of all regular files by their names."""
        return {
            entry.name: entry.stat().st_size
            for entry in sorted(self.path.iterdir())
            if entry.is_file()
        }

    def read(self, name: str) -> bytes:
        """Content of a regular file.

        Raises
        ------
        OSError
            When there is no such file.
        """
        path = self.path / name
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "Is not a regular file", str(path))
        return path.read_bytes()

    def write(self, name: str, fill: Callable[[IO[bytes]], object]) -> tuple[int, int]:
        """Call `fill` with a file that gets its name when it is complete.

        Returns
        -------
        tuple of int
            Bytes of the file, and their CRC-32.
        """
        draft = self.path / (name + UNFINISHED)
        with draft.open("wb") as file:
            summed = Summed(file)
            fill(summed)  # type: ignore[arg-type] # all that is asked of a file is there
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / name)
        return summed.bytes, summed.crc32

    def settle(self) -> None:
        """Sync the directory, so that names survive a power cut."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self.path / name).unlink()

    def free(self) -> str:
        """Free space, as the end of a message."""
        return f" ({self.free_bytes():,} bytes free)"

    def free_bytes(self) -> int | None:
        """Bytes that are free on the disk of the directory."""
        return shutil.disk_usage(self.path).free

    def prepare(self) -> None:
        """Create the directory.

        Raises
        ------
        InputError
            When it is a file, or cannot be created or written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InputError(
                f"{self.path}: is a file: expected a directory to write into"
            ) from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be created: {error.strerror}") from None
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise InputError(f"{self.path}: cannot be written to: expected a writable directory")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the directory for one run; the lock ends with the process.

        Raises
        ------
        InputError
            When another run holds the lock, or it is not a regular file.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK  # no wait for a pipe's end
        path = self.path / LOCK
        try:
            handle = os.open(path, flags, 0o666)
        except OSError as error:
            raise InputError(f"{path}: cannot be opened: {error.strerror}") from None
        with os.fdopen(handle, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise InputError(f"{path}: expected a regular file: remove it")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{self.path}: another run is writing here: wait until it ends"
                ) from None
            yield

    def scan(self, names: Sequence[str], schema: pl.Schema | None = None) -> pl.LazyFrame:
        """Lazy frame over Parquet files, whose integers are widened to a schema."""
        folder = Path(os.path.abspath(self.path))  # Polars does not expand an absolute path
        return pl.scan_parquet(
            [folder / name for name in names],
            glob=False,
            hive_partitioning=False,
            schema=schema,
            cast_options=pl.ScanCastOptions(integer_cast="upcast"),
        )


class RemoteFolder(NamedTuple):
    """A folder behind a URI, such as ``s3://bucket/folder``.

    An object store puts objects atomically; elsewhere a file is written under another name and
    moved. There is no lock: two simultaneous runs write the same bytes twice.
    """

    uri: str

    @property
    def place(self) -> str:
        """The URI for messages, without parameters and credentials."""
        scheme, rest = self.uri.split("?")[0].split("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def _opened(self) -> tuple[Any, str]:
        try:
            return _reached(self.uri)
        except Exception as error:  # third-party file systems raise exceptions of any type
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> InputError:
        kind = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        return InputError(f"{self.place}: cannot be reached: {kind}{' '.join(str(error).split())}")

    def names(self) -> list[str]:
        """Names of all files."""
        return list(self.sizes())

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        filesystem, folder = self._opened()
        try:
            info = filesystem.get_file_info(f"{folder}/{name}")
        except Exception as error:
            raise self._unreachable(error) from None
        return bool(info.is_file)

    def sizes(self) -> dict[str, int]:
        """Bytes of all files by their names."""
        filesystem, folder = self._opened()
        selector = pafs.FileSelector(folder, allow_not_found=True)
        try:
            infos = filesystem.get_file_info(selector)
        except Exception as error:
            raise self._unreachable(error) from None
        return {info.base_name: info.size for info in infos if info.is_file}

    def read(self, name: str) -> bytes:
        """Content of a file."""
        filesystem, folder = self._opened()
        with filesystem.open_input_stream(f"{folder}/{name}") as file:
            content: bytes = file.read()
        return content

    def write(self, name: str, fill: Callable[[IO[bytes]], object]) -> tuple[int, int]:
        """Call `fill` with a file in memory, then put it.

        Returns
        -------
        tuple of int
            Bytes of the file, and their CRC-32.
        """
        filesystem, folder = self._opened()
        content = BytesIO()
        summed = Summed(content)
        fill(summed)  # type: ignore[arg-type] # all that is asked of a file is there
        atomic = filesystem.type_name in OBJECT_STORES
        draft = f"{folder}/{name}" + ("" if atomic else UNFINISHED)
        with filesystem.open_output_stream(draft) as file:
            file.write(content.getbuffer())
        if not atomic:
            filesystem.move(draft, f"{folder}/{name}")
        return summed.bytes, summed.crc32

    def settle(self) -> None:
        """Do nothing: an object is durable when its put has ended."""

    def remove(self, name: str) -> None:
        """Remove a file."""
        filesystem, folder = self._opened()
        filesystem.delete_file(f"{folder}/{name}")

    def free(self) -> str:
        """Empty: free space is not known."""
        return ""

    def free_bytes(self) -> int | None:
        """None: free space is not known."""
        return None

    def prepare(self) -> None:
        """Create the folder, where the file system has folders."""
        filesystem, folder = self._opened()
        if filesystem.type_name not in OBJECT_STORES:
            filesystem.create_dir(folder, recursive=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing: an object store has no lock that ends with its process."""
        yield

    def scan(self, names: Sequence[str], schema: pl.Schema | None = None) -> pl.LazyFrame:
        """Lazy frame over Parquet files, whose integers are widened to a schema."""
        filesystem, folder = self._opened()
        files = [f"{folder}/{name}" for name in names]
        dataset = pads.dataset(files, filesystem=filesystem, format="parquet")
        frame = pl.scan_pyarrow_dataset(dataset)
        return frame if schema is None else frame.cast(schema)


Storage = LocalFolder | RemoteFolder


def open_storage(place: str | Path) -> Storage:
    """Storage for a path or a URI; nothing is read or created.

    Raises
    ------
    InputError
        When the path is empty or not UTF-8, or the URI has no scheme or no place.
    """
    text = str(place)
    if not text.strip() or any(0xD800 <= ord(character) < 0xE000 for character in text):
        raise InputError(f'"{text}": expected a directory or a URI, in UTF-8')
    if "://" not in text:
        return LocalFolder(Path(text))
    scheme, _, rest = text.partition("://")
    where = rest.partition("?")[0].strip("/")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) or not where or "://" in where:
        raise InputError(f"{text}: expected SCHEME://PLACE, such as s3://bucket/folder")
    if scheme == "file":
        return LocalFolder(Path(f"/{where}"))
    return RemoteFolder(text.rstrip("/"))


@cache
def _reached(uri: str) -> tuple[Any, str]:
    """File system and folder of a URI, after a first answer within `ANSWER_SECONDS`."""
    answered: Queue[tuple[Any, str] | Exception] = Queue()

    def ask() -> None:
        try:
            filesystem, folder = _from_uri(uri)
            filesystem.get_file_info(folder)
            answered.put((filesystem, folder))
        except Exception as error:
            answered.put(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer = answered.get(timeout=ANSWER_SECONDS)
    except Empty:
        raise TimeoutError(f"no answer within {ANSWER_SECONDS} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _from_uri(uri: str) -> tuple[Any, str]:
    try:
        filesystem, folder = pafs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem" not in str(error):
            raise
        from fsspec.core import url_to_fs

        external, folder = url_to_fs(uri)
        filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(external))
    return filesystem, folder.rstrip("/")
