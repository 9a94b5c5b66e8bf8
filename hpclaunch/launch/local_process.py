"""The process of an attached run: is it still there, and is it still the same one?"""

from __future__ import annotations

import os
import socket

from hpclaunch.run.record import Record

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def started(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None for one that has ended.

    Process ids are used again; together with this they are not. Counted from boot, because the
    time of day may be set while the run goes on.
    """
    import psutil  # 12 ms, which only attached runs take

    try:
        process = psutil.Process(pid)
        # A zombie has ended; its parent has not looked yet.
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        since_boot_s: float = process.create_time() - psutil.boot_time()
        return round(since_boot_s * _CLOCK_TICKS)
    except (psutil.Error, ValueError):
        return None


def here(record: Record) -> bool:
    """Return whether the run was started on this machine."""
    return record.host == socket.gethostname()


def alive(record: Record) -> bool:
    """Return whether the process that runs an attached run still runs on this machine."""
    if record.pid is None or not here(record):
        return False
    since = started(record.pid)
    return since is not None and record.pid_started in (None, since)
