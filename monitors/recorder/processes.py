"""Questions about processes: does the parent still run, and what has this one used."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import psutil

from monitors.records import OwnCost


class ParentWatch:
    """Watches a process. A process id is used again; together with its start time it is not."""

    def __init__(self, pid: int | None) -> None:
        """Watch `pid`, or nothing where it is None."""
        self._watching = pid is not None
        self._process: psutil.Process | None = None
        if pid is not None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
                self._process = psutil.Process(pid)

    def gone(self) -> bool:
        """Whether the watched process has ended; never where none is watched."""
        if self._process is None:
            return self._watching
        try:
            # A zombie has ended: its own parent has not looked yet. Twice the file is read, which
            # takes 34 us instead of 21, once a tick.
            return not self._process.is_running() or self._process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


class FenceWatch:
    """Watches whether a file still holds a token: whether this attempt may still record here."""

    def __init__(self, fence_file: Path | None, fence_token: str) -> None:
        self._file, self._token = fence_file, fence_token

    def changed(self) -> bool:
        """Whether the file holds another token; not while it cannot be read, or is empty."""
        if self._file is None:
            return False
        try:
            token = self._file.read_text(errors="replace").strip()
        except OSError:
            return False
        return bool(token) and token != self._token


def own_cost() -> OwnCost:
    """Return the CPU seconds and the largest resident size of this process.

    Not from psutil: it has CPU times in hundredths of a second, and no largest size on Linux. Nor
    is that getrusage's: the kernel carries ru_maxrss over from whatever started this program.
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
    """Return Slurm's name for this node, or the host's own."""
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename
