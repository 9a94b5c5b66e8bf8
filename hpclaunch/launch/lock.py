"""One command at a time may start or resume a run in its folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder


@contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Keep other commands from resuming the run meanwhile; the system lets go when this one ends.

    Raises UserError where another one is at it. Not every shared file system has locks: there it
    keeps nobody out.
    """
    try:
        lock = os.open(folder.root / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                name = folder.root.name
                raise UserError(
                    f"another command resumes run {name} at this moment",
                    f"hpclaunch status {name}",
                ) from None
        yield
    finally:
        os.close(lock)
