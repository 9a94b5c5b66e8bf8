"""The process of an attached run: is it still there, and is it still the same one?"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record, boot_id

FOLDER_VARIABLE = "HPCLAUNCH_ATTACHED_TO"
"""Variable of an attached run's process: the folder that it works for."""

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
    """Return whether the process that runs an attached run still runs on this machine.

    It is the very one: its number, when it began, and the boot it began in.
    """
    if record.pid is None or record.pid_started is None or not here(record):
        return False
    if record.boot_id and record.boot_id != boot_id():
        return False
    return started(record.pid) == record.pid_started


def works_for(folder: RunFolder, record: Record) -> bool:
    """Return whether that process is this user's and was started for this folder.

    Its environment shows it, which only its owner may read; a record alone proves nothing.
    """
    if not alive(record):
        return False
    try:
        variables = Path(f"/proc/{record.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{FOLDER_VARIABLE}={folder.root}".encode() in variables


def variables_for(folder: RunFolder) -> dict[str, str]:
    """Return the variables by which `works_for` knows a process."""
    return {FOLDER_VARIABLE: str(folder.root)}
