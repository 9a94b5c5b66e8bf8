"""One writer at a time in a run folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder

_held: dict[Path, int] = {}
"""Descriptors of the locks of this process, by folder. They stay open until it ends."""

_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}


def lock(folder: RunFolder) -> None:
    """Hold a folder until this process ends. Raises UserError where another process holds it.

    Processes that this one starts do not inherit it. A file system without locks is none to refuse
    a run for: there, two at once are not noticed.
    """
    if folder.root in _held:
        return
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(folder.lock_file, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{folder.lock_file} is a link", "remove it") from None
        return  # the folder cannot be written: what is written next says so
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _TAKEN:
            name = folder.root.name
            raise UserError(
                f"another command is at work in run {name}", f"hpclaunch status {quote(name)}"
            ) from None
        return
    _held[folder.root] = descriptor


def unlock(folder: RunFolder) -> None:
    """Let go of a folder, where it is held."""
    descriptor = _held.pop(folder.root, None)
    if descriptor is not None:
        os.close(descriptor)


@contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Hold a folder meanwhile. Raises UserError where another process holds it."""
    lock(folder)
    try:
        yield
    finally:
        unlock(folder)
