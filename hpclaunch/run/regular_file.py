"""Open a file that may have been put there by somebody else: a plain file, or nothing."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path


class NotRegularFileError(OSError):
    """A link, FIFO, device or folder where a plain file belongs."""


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading, never through a link and never waiting for a FIFO's writer.

    Raises OSError; NotRegularFileError where it is no plain file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotRegularFileError(errno.EINVAL, "it is a link", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(errno.EINVAL, "it is no plain file", str(path))
    return os.fdopen(descriptor, "rb")


def create_regular(path: Path, flags: int) -> int:
    """Open a file for writing, making it where there is none; returns its descriptor.

    Never through a link that was put in the way. Raises OSError.
    """
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(errno.EINVAL, "it is no plain file", str(path))
    return descriptor


def lines_of(stream: io.BufferedReader, max_bytes: int = 1 << 20) -> Iterator[bytes]:
    """Yield the lines of a file with their ends; one longer than `max_bytes` comes in pieces."""
    while line := stream.readline(max_bytes):
        yield line


def read_small_text(path: Path, max_bytes: int = 1 << 16) -> str:
    """Return a small text, whatever bytes it holds. Raises OSError, as `read_regular` does."""
    return read_regular(path, max_bytes).decode("utf-8", errors="replace")


def read_end(path: Path, max_bytes: int) -> tuple[bytes, bool]:
    """Return the last bytes of a file, and whether that is all of it. Raises OSError."""
    with open_regular(path) as stream:
        begin = stream.seek(max(0, stream.seek(0, os.SEEK_END) - max_bytes))
        return stream.read(max_bytes), begin == 0


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return a plain file's bytes.

    Raises OSError; NotRegularFileError where it is no plain file or has more than `max_bytes`.
    """
    with open_regular(path) as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise NotRegularFileError(errno.EFBIG, f"more than {max_bytes:,} bytes", str(path))
    return content
