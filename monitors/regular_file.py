"""Open a file of a record that somebody else may have put there: a plain file, or nothing."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path


class NotRegularFileError(OSError):
    """A FIFO, device or folder where a plain file belongs."""


def open_regular(path: Path, follow_links: bool = False) -> io.BufferedReader:
    """Open a file for reading, never waiting for a FIFO's writer.

    Raises OSError; NotRegularFileError where it is no plain file. A link is followed only where the
    user named the file.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    if not follow_links:
        flags |= os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
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


def open_regular_text(path: Path, encoding: str = "utf-8") -> io.TextIOWrapper:
    """Open a text as `open_regular` does, whatever bytes it holds; its line ends are kept."""
    return io.TextIOWrapper(open_regular(path), encoding, errors="replace", newline="\n")
