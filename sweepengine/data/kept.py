"""Files kept between runs under the user's cache folder; a damaged one counts as missing."""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

DIGEST = 32
"""Bytes of the SHA-256 at the start of a file."""
LARGEST = 1 << 28
"""Bytes of the largest file that is read."""


def kept_folder() -> Path:
    """The folder of the project under the cache folder of the user."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "sweepengine"


def with_checksum(content: bytes) -> bytes:
    """The bytes of a file with this content."""
    return hashlib.sha256(content).digest() + content


def read_kept(path: Path) -> bytes:
    """Content of a file.

    Raises
    ------
    OSError
        When it is missing, damaged, too large or not a regular file.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
        raise OSError(f"{path.name} is not a file of ours")
    content = path.read_bytes()
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        raise OSError(f"{path.name} is damaged")
    return content[DIGEST:]


def keep(path: Path, content: bytes) -> None:
    """Write a file in one move; where the folder cannot be written, nothing is kept."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(with_checksum(content))
            os.replace(draft, path)
        finally:
            Path(draft).unlink(missing_ok=True)
