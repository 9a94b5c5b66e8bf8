"""Open a file that may have been put there by somebody else: a plain file, or nothing."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path


class NotRegularFileError(OSError):
    """A link, FIFO, device or folder where a plain file belongs."""


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading, never through a link and never waiting for a FIFO's writer.

    Raises OSError; NotRegularFileError where it is no plain file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegularFileError(f"{path} is no plain file")
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return a plain file's bytes.

    Raises OSError; NotRegularFileError where it is no plain file or has more than `max_bytes`.
    """
    with open_regular(path) as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise NotRegularFileError(f"{path} has more than {max_bytes:,} bytes")
    return content
