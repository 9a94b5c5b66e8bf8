"""When a process of this machine began: together with its number, it is one process alone."""

from __future__ import annotations

import os

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
