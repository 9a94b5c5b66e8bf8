"""Memory and CPU of the job this process belongs to, from its cgroup, version 1 or 2."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from monitors.recorder.kernel_files import open_file, pick, read_file, whole_number

JOB_GROUP = re.compile(r"job_\d+|s[0-9A-HJKMNP-TV-Z]{13}")
"""How Slurm names a job's group: `job_7`, and by its SLUID from 26.05 on with version 2."""


@dataclass(frozen=True, slots=True)
class CgroupCounters:
    """One reading; None is not known. Counters since the job began."""

    used_bytes: int | None = None
    """Without file cache that is free to be dropped."""
    limit_bytes: int | None = None
    """None where there is no limit, too."""
    cpu_s: float | None = None
    throttled_s: float | None = None
    oom_kills: int | None = None


class CgroupFiles:
    """The counters of a job.

    Slurm puts every task into a group of its own below the job's; the limits that hurt stand at
    the job's, so that is the level to watch.
    """

    def __init__(self, root: Path) -> None:
        folders = _folders(root)
        memory, unified = folders.get("memory"), folders.get("")
        if memory is None and unified is not None and (unified / "memory.current").exists():
            usage, limit, events = "memory.current", "memory.max", "memory.events"
            memory = unified
        else:
            usage, limit = "memory.usage_in_bytes", "memory.limit_in_bytes"
            events = "memory.oom_control"
        nowhere = Path("/nonexistent")
        self._usage = open_file((memory or nowhere) / usage)
        self._limit = open_file((memory or nowhere) / limit)
        self._stat = open_file((memory or nowhere) / "memory.stat")
        self._events = open_file((memory or nowhere) / events)
        # Of a group at the top, CPU time is that of the whole machine.
        self._acct = open_file(folders.get("cpuacct", nowhere) / "cpuacct.usage")
        self._cpu = open_file(folders.get("cpu", folders.get("", nowhere)) / "cpu.stat")

    def read(self) -> CgroupCounters:
        """Read everything once."""
        usage, limit = whole_number(read_file(self._usage)), whole_number(read_file(self._limit))
        stat = pick(read_file(self._stat), ("total_inactive_file", "inactive_file"), b" ")
        cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))
        # Version 1 writes "no limit" as the largest number of pages there can be.
        unlimited = limit is None or limit >= 1 << 60
        names = ("usage_usec", "throttled_usec", "throttled_time")
        cpu = pick(read_file(self._cpu), names, b" ")
        spent = whole_number(read_file(self._acct))
        return CgroupCounters(
            used_bytes=None if usage is None else max(0, usage - cache),
            limit_bytes=None if unlimited else limit,
            cpu_s=_seconds(cpu.get("usage_usec"), 10**6) if spent is None else spent / 10**9,
            throttled_s=_seconds(cpu.get("throttled_usec"), 10**6)
            if "throttled_usec" in cpu
            else _seconds(cpu.get("throttled_time"), 10**9),
            oom_kills=pick(read_file(self._events), ("oom_kill",), b" ").get("oom_kill"),
        )


def _seconds(count: int | None, unit: int) -> float | None:
    return None if count is None else count / unit


def _folders(root: Path) -> dict[str, Path]:
    """The job's folder by controller; under the empty name, that of version 2."""
    found: dict[str, Path] = {}
    text = read_file(open_file(root / "proc/self/cgroup")).decode(errors="replace")
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        level = _job_level(path).lstrip("/")
        base = root / "sys/fs/cgroup"
        if number == "0":
            found[""] = base / level
        else:
            for name in controllers.split(","):
                if name == "memory" or (name in ("cpu", "cpuacct") and level):
                    found[name] = base / name / level
    return found


def _job_level(path: str) -> str:
    parts = path.split("/")
    jobs = [at for at, part in enumerate(parts) if JOB_GROUP.fullmatch(part)]
    return "/".join(parts[: jobs[0] + 1]) if jobs else path
