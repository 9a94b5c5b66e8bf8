"""Which processes hold a GPU's memory, and whether they are the job's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from monitors.recorder.cgroup import JOB_GROUP
from monitors.recorder.devices.binding import MIB, nv
from monitors.recorder.devices.query import DeviceQuery

_JOB = re.compile(rf"/({JOB_GROUP.pattern})(?:/|$)", re.MULTILINE)
_FIRST_NAMESPACE = "pid:[4026531836]"
"""The kernel's own number of the namespace that every container is inside of."""


class Processes:
    """Memory that computing processes hold on one GPU."""

    def __init__(self, query: DeviceQuery, proc: Path = Path("/proc")) -> None:
        self._query, self._proc = query, proc
        self._job = _job_of(proc / "self") if _numbers_mean_something(proc) else None
        self._reported: set[int] = set()

    def sample(self) -> dict[str, Any]:
        """Values by the names of `GpuSample`."""
        found = self._query.call("processes", nv.nvmlDeviceGetComputeRunningProcesses)
        if found is None:
            return {}
        held = {
            int(process.pid): None if process.usedGpuMemory is None else process.usedGpuMemory / MIB
            for process in found
        }
        values: dict[str, Any] = {"processes": len(held)}
        known = {pid: mib for pid, mib in held.items() if mib is not None}
        if len(known) < len(held):  # MIG, or no permission: a part of the sum would mislead
            return values
        values["processes_mib"] = round(sum(known.values()), 1)
        if known:
            values["largest_process_mib"] = round(max(known.values()), 1)
        strangers = self._strangers(known)
        if strangers is not None:
            values["strangers_mib"] = round(sum(known[pid] for pid in strangers), 1)
            for pid in strangers:
                if pid not in self._reported:
                    self._reported.add(pid)
                    text = f"process {pid}, not of this job, holds {known[pid]:,.0f} MiB"
                    self._query.note(text)
        return values

    def _strangers(self, known: dict[int, float]) -> list[int] | None:
        """Processes of other jobs; None where it cannot be told of each."""
        if self._job is None:
            return None
        jobs = {pid: _job_of(self._proc / str(pid)) for pid in known}
        if any(job is None and not self._visible(pid) for pid, job in jobs.items()):
            return None
        return [pid for pid, job in jobs.items() if job != self._job]

    def _visible(self, pid: int) -> bool:
        return (self._proc / str(pid) / "cgroup").exists()


def _job_of(process: Path) -> str | None:
    """Slurm's group of the job that a process belongs to, by its cgroup."""
    try:
        found = _JOB.search((process / "cgroup").read_text(errors="replace"))
    except OSError:
        return None
    return found[1] if found else None


def _numbers_mean_something(proc: Path) -> bool:
    """NVML gives the host's process ids, which inside a container are those of others."""
    try:
        return str((proc / "self/ns/pid").readlink()) == _FIRST_NAMESPACE
    except OSError:
        return False
