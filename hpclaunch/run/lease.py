"""A lease on a run folder, for file systems where flock does not work: a file with owner and time.

Its owner renews it; one that was not renewed for `EXPIRES_S` seconds, or whose process is gone from
this machine, is taken over. Times are the file server's own, so machines may disagree on the time.
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from hpclaunch.run.processes import started
from hpclaunch.run.record import boot_id, whoami
from hpclaunch.run.regular_file import read_regular

EXPIRES_S = 120.0
"""Seconds without a renewal after which a lease counts for nothing."""
RENEWED_EVERY_S = 20.0
TRIES = 3
MAX_BYTES = 1 << 12


class Owner(msgspec.Struct, frozen=True):
    """Who holds a lease."""

    user: str
    host: str
    pid: int
    pid_started: int | None
    """In clock ticks since boot."""
    machine: str
    """The machine since its boot: numbers of processes are its own."""
    since: float
    """Unix seconds on the owner's clock."""


class Lease:
    """A lease that this process holds and renews until it is given back, or the process ends."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path = path
        self._owner = owner
        self._over = threading.Event()
        threading.Thread(target=self._renew, name="lease", daemon=True).start()

    def _renew(self) -> None:
        while not self._over.wait(RENEWED_EVERY_S):
            try:
                os.utime(self._path, follow_symlinks=False)
            except OSError:
                continue

    def give_back(self) -> None:
        """Remove the lease, unless another process has taken it over meanwhile."""
        self._over.set()
        if _read(self._path) == self._owner:
            self._path.unlink(missing_ok=True)


def take_lease(path: Path) -> Lease | str:
    """Return a lease, or who holds it: `ada on login1, process 4711`. Raises OSError."""
    user, host = whoami()
    pid = os.getpid()
    owner = Owner(user, host, pid, started(pid), _machine(), round(time.time(), 3))
    for _ in range(TRIES):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            holder = _read(path)
            if not _expired(path, holder):
                return _text(holder)
            _remove(path, holder)
        else:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(msgspec.json.encode(owner))
            return Lease(path, owner)
    return _text(_read(path))


def _remove(path: Path, holder: Owner | None) -> None:
    """Take an expired lease away; one that another process has made since is put back."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _read(aside) != holder:
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _read(path: Path) -> Owner | None:
    """Return who holds a lease; None for a file that does not say."""
    try:
        return msgspec.json.decode(read_regular(path, MAX_BYTES), type=Owner)
    except (OSError, ValueError, RecursionError):
        return None


def _expired(path: Path, holder: Owner | None) -> bool:
    """Return whether a lease counts for nothing."""
    if holder is not None and holder.machine and holder.machine == _machine():
        # Its machine is this one, which knows whether the process lives.
        return started(holder.pid) != holder.pid_started
    try:
        renewed = path.stat(follow_symlinks=False).st_mtime
        return _file_server_time(path.parent) - renewed > EXPIRES_S
    except FileNotFoundError:
        return True


def _file_server_time(folder: Path) -> float:
    """Return the time as the file system of a folder has it, in Unix seconds. Raises OSError."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".time.") as file:
        return os.fstat(file.fileno()).st_mtime


def _machine() -> str:
    """Return what tells this machine since its boot, and this container's processes, from others.

    '' where the kernel does not say.
    """
    try:
        return f"{boot_id()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return boot_id()


def _text(holder: Owner | None) -> str:
    if holder is None:
        return "its lease does not say whose"
    return f"{holder.user} on {holder.host}, process {holder.pid}"
