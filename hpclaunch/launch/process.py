"""The process of an attached run: is it still there, and is it still the same one?"""

from __future__ import annotations

import socket
from pathlib import Path

from hpclaunch.run.record import Record


def started(pid: int) -> int | None:
    """Return when a process began (kernel ticks since boot), None for one that is not there.

    Numbers of processes are used again; together with this they are not.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A zombie has ended; its parent has not looked yet.
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else None


def here(record: Record) -> bool:
    """Return whether the run was started on this machine."""
    return record.host == socket.gethostname()


def alive(record: Record) -> bool:
    """Return whether the process that carries an attached run is at work on this machine."""
    if record.pid is None or not here(record):
        return False
    found = started(record.pid)
    return found is not None and record.pid_started in (None, found)
