"""Questions about processes: is the parent still there, and what has this one used."""

from __future__ import annotations

import os
import time
from pathlib import Path

from monitors.records import OwnCost


def _start_time(pid: int) -> str | None:
    """When a live process started, in clock ticks since boot; None for a dead one or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold spaces and parentheses itself.
    fields = stat[stat.rfind(")") + 1 :].split()
    return None if len(fields) < 20 or fields[0] in "ZX" else fields[19]


class ParentWatch:
    """Tells whether a process is still the one it was: pids are used again, start times are not."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._started = None if pid is None else _start_time(pid)

    @property
    def watching(self) -> bool:
        """Whether there is a process to watch at all."""
        return self._pid is not None

    def gone(self) -> bool:
        """True once the watched process has ended; never when none is watched."""
        if self._pid is None:
            return False
        return self._started is None or _start_time(self._pid) != self._started


class OwnerWatch:
    """Tells whether a file still holds the words it is to hold: whose folder this is."""

    def __init__(self, file: Path | None, words: str) -> None:
        self._file, self._words = file, words

    def changed(self) -> bool:
        """True once the file holds other words; never while it cannot be read, or is empty."""
        if self._file is None:
            return False
        try:
            now = self._file.read_text(errors="replace").strip()
        except OSError:
            return False
        return bool(now) and now != self._words


def own_cost() -> OwnCost:
    """CPU seconds and largest resident size of this process.

    VmHWM and not getrusage: the kernel carries ru_maxrss over from whatever started this program.
    """
    rss = None
    try:
        status = Path("/proc/self/status").read_text(errors="replace")
        rss = next(
            (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")),
            None,
        )
    except (OSError, ValueError, IndexError):
        pass
    return OwnCost(cpu_s=round(time.process_time(), 3), max_rss_kib=rss)


def default_node() -> str:
    """Slurm's name for this node, or the host's own."""
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename
