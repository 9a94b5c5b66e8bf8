"""One writer at a time in a run folder: a lock that ends with the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lease import take_lease

_held: dict[Path, Callable[[], None]] = {}
"""What lets go of the locks of this process, by folder. They are held until it ends."""

_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}


def lock(folder: RunFolder) -> None:
    """Hold a folder until this process ends. Raises UserError where another process holds it.

    Processes that this one starts do not inherit it. A file system without locks has a lease in
    place of one (lease.py).
    """
    if folder.root in _held:
        return
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(folder.lock_file, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UserError(f"{folder.lock_file} is a link", "remove it") from None
        if error.errno != errno.EROFS and os.path.lexists(folder.lock_file):
            problem = f"{folder.lock_file} cannot be opened: {error.strerror}"
            raise UserError(problem, "remove it") from None
        return  # the folder cannot be written: what is written next says so
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _TAKEN:
            raise _refusal(folder) from None
        try:
            lease = take_lease(folder.lease_file)
        except OSError:
            return  # as above
        if isinstance(lease, str):
            raise _refusal(folder, f" ({lease})") from None
        _held[folder.root] = lease.give_back
    else:
        _held[folder.root] = lambda: os.close(descriptor)


def _refusal(folder: RunFolder, who: str = "") -> UserError:
    name = folder.root.name
    return UserError(
        f"another command is at work in run {name}{who}", f"hpclaunch status {quote(name)}"
    )


def unlock(folder: RunFolder) -> None:
    """Let go of a folder, where it is held."""
    give_back = _held.pop(folder.root, None)
    if give_back is not None:
        give_back()


def is_held(folder: RunFolder) -> bool:
    """Return whether this very process holds a folder."""
    return folder.root in _held


@contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Hold a folder meanwhile. Raises UserError where another process holds it."""
    lock(folder)
    try:
        yield
    finally:
        unlock(folder)
