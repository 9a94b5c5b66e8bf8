"""Raw counters of the host, read from /proc, /sys and the job's cgroup through files kept open."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostCounters:
    """One reading. Memory in KiB as the kernel counts it, traffic in bytes since boot."""

    cpu: tuple[int, ...] = ()
    """Clock ticks: user, nice, system, idle, iowait, irq, softirq, steal."""
    stat: dict[str, int] = field(default_factory=dict)
    vm: dict[str, int] = field(default_factory=dict)
    mem: dict[str, int] = field(default_factory=dict)
    load1: float | None = None
    cgroup_bytes: int | None = None
    cgroup_limit_bytes: int | None = None
    net: tuple[int, int] | None = None
    ib: tuple[int, int] | None = None


_STAT = ("intr", "ctxt", "procs_running", "procs_blocked")
_VM = ("pgpgin", "pgpgout", "pswpin", "pswpout")
_MEM = (
    "MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SReclaimable",
    "SwapTotal", "SwapFree",
)  # fmt: skip
_IB_WORD = 4
"""InfiniBand's data counters count words of four bytes."""


class HostFiles:
    """Reads all counters of this host; what does not exist here is simply absent.

    `root` stands in for `/` in tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        proc = root / "proc"
        self._stat, self._vmstat = _open(proc / "stat"), _open(proc / "vmstat")
        self._meminfo, self._loadavg = _open(proc / "meminfo"), _open(proc / "loadavg")
        self._net = _open(proc / "net/dev")
        self._interfaces = _physical(root / "sys/class/net")
        self._ib = [
            (_open(port / "port_rcv_data"), _open(port / "port_xmit_data"))
            for port in sorted((root / "sys/class/infiniband").glob("*/ports/*/counters"))
        ]
        self._cgroup = CgroupMemory(root)

    def read(self) -> HostCounters:
        """Read everything once."""
        stat = _read(self._stat)
        load = _read(self._loadavg).split()
        used, limit = self._cgroup.read()
        return HostCounters(
            cpu=_cpu(stat),
            stat=_pick(stat, _STAT, b" "),
            vm=_pick(_read(self._vmstat), _VM, b" "),
            mem=_pick(_read(self._meminfo), _MEM, b":"),
            load1=float(load[0]) if load else None,
            cgroup_bytes=used,
            cgroup_limit_bytes=limit,
            net=_traffic(_read(self._net), self._interfaces),
            ib=self._infiniband(),
        )

    def _infiniband(self) -> tuple[int, int] | None:
        total_rx = total_tx = 0
        seen = False
        for files in self._ib:
            rx, tx = (_whole(_read(file)) for file in files)
            if rx is not None and tx is not None:
                total_rx, total_tx = total_rx + rx * _IB_WORD, total_tx + tx * _IB_WORD
                seen = True
        return (total_rx, total_tx) if seen else None


class CgroupMemory:
    """Memory of the job this process belongs to, in cgroups of version 1 or 2.

    Slurm puts every task into a group of its own below `job_N`; the limit that kills stands at
    `job_N`, so that is the level to watch.
    """

    def __init__(self, root: Path) -> None:
        self._usage: FileIO | None = None
        self._limit: FileIO | None = None
        self._stat: FileIO | None = None
        for line in _read(_open(root / "proc/self/cgroup")).decode(errors="replace").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if "memory" in controllers.split(","):
                base, usage, limit = "memory", "memory.usage_in_bytes", "memory.limit_in_bytes"
            elif number == "0":
                base, usage, limit = "", "memory.current", "memory.max"
            else:
                continue
            group = root / "sys/fs/cgroup" / base / _job_level(path).lstrip("/")
            if (group / usage).exists():
                self._usage, self._limit = _open(group / usage), _open(group / limit)
                self._stat = _open(group / "memory.stat")
                return

    def read(self) -> tuple[int | None, int | None]:
        """Bytes in use, less idle file cache, and the limit in bytes (None where unlimited)."""
        usage, limit = _whole(_read(self._usage)), _whole(_read(self._limit))
        stat = _pick(_read(self._stat), ("total_inactive_file", "inactive_file"), b" ")
        cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))
        # Version 1 writes "no limit" as the largest number of pages there can be.
        unlimited = limit is None or limit >= 1 << 60
        return None if usage is None else max(0, usage - cache), None if unlimited else limit


def _job_level(path: str) -> str:
    parts = path.split("/")
    jobs = [at for at, part in enumerate(parts) if part.startswith("job_")]
    return "/".join(parts[: jobs[0] + 1]) if jobs else path


def _open(path: Path) -> FileIO | None:
    try:
        return path.open("rb", buffering=0)
    except OSError:
        return None


def _read(file: FileIO | None) -> bytes:
    if file is None:
        return b""
    try:
        file.seek(0)
        return file.read() or b""
    except OSError:
        return b""


def _whole(text: bytes) -> int | None:
    text = text.strip()
    return int(text) if text.isdigit() else None


def _pick(text: bytes, names: tuple[str, ...], after: bytes) -> dict[str, int]:
    """The first number on the lines that begin with these names; searching beats splitting."""
    text = b"\n" + text
    found = {}
    for name in names:
        start = text.find(b"\n" + name.encode() + after)
        if start < 0:
            continue
        words = text[start + len(name) + 2 : start + len(name) + 66].split(None, 1)
        if words and words[0].isdigit():
            found[name] = int(words[0])
    return found


def _cpu(stat: bytes) -> tuple[int, ...]:
    words = stat[: stat.find(b"\n")].split()
    numbers = tuple(int(word) for word in words[1:9] if word.isdigit())
    return numbers if words[:1] == [b"cpu"] and len(numbers) == 8 else ()


def _physical(folder: Path) -> frozenset[bytes] | None:
    """Interfaces with hardware behind them: bridges and bonds would count the same bytes twice."""
    try:
        return frozenset(
            os.fsencode(path.name) for path in folder.iterdir() if (path / "device").exists()
        )
    except OSError:
        return None


def _traffic(text: bytes, wanted: frozenset[bytes] | None) -> tuple[int, int] | None:
    rx = tx = 0
    seen = False
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(b":")
        name, words = name.strip(), rest.split()
        # In a container no interface may have a device; then all but the loopback count.
        if len(words) >= 9 and (name in wanted if wanted else name != b"lo"):
            rx, tx, seen = rx + int(words[0]), tx + int(words[8]), True
    return (rx, tx) if seen else None
