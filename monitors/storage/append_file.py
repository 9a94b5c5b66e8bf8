"""A file to which whole lines are appended."""

from __future__ import annotations

import os
from pathlib import Path

from monitors.regular_file import create_regular

_CHUNK = 1 << 16
"""Bytes that are searched for a line's end at a time."""


class AppendFile:
    """Appends each text with one write, so that a reader never finds half of one.

    Only a kill can leave the first part of a text, up to the end of a memory page: see
    `monitors.storage.store`. A full disk or a lost file system costs the texts that could not be
    written and nothing else: the next one that fits starts on a line of its own.
    """

    def __init__(self, path: Path) -> None:
        self._fd = create_regular(path, os.O_RDWR | os.O_APPEND)
        size = self.size
        # A requeued job finds the file of the attempt before, which may have died in mid-line.
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"

    @property
    def size(self) -> int:
        """Size of the file in bytes, whoever wrote them."""
        return os.fstat(self._fd).st_size

    def size_of_whole_lines(self) -> int:
        """Return the size in bytes up to the end of the last whole line.

        A write that another thread is in the middle of can be seen up to the end of a memory page.
        """
        end = self.size
        while end > 0:
            begin = max(0, end - _CHUNK)
            at = os.pread(self._fd, end - begin, begin).rfind(b"\n")
            if at >= 0:
                return begin + at + 1
            end = begin
        return 0

    @property
    def inode(self) -> int:
        """The file's inode, which stays when it is renamed."""
        return os.fstat(self._fd).st_ino

    def append(self, text: str) -> bool:
        """Write `text` now; return False when not all of it could be written."""
        data = text.encode(errors="replace")
        if self._torn:
            data = b"\n" + data
        try:
            written = os.write(self._fd, data)
        except OSError:
            return False
        if written:
            self._torn = written < len(data)
        return written == len(data)

    def read(self, begin: int) -> bytes:
        """Return the bytes of the file from `begin` on. Raises OSError."""
        return os.pread(self._fd, max(0, self.size - begin), begin)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
