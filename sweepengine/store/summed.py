"""A file writer that counts what goes through it."""

import zlib
from io import RawIOBase
from typing import IO, Any


class Summed(RawIOBase):
    """A file writer that counts bytes and their CRC-32."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.bytes = 0
        self.crc32 = 0

    def writable(self) -> bool:
        """True: the file can be written."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes."""
        size = self.file.write(data)
        self.crc32 = zlib.crc32(data, self.crc32)
        self.bytes += size
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self.bytes
