"""Raw counters of the host, read from /proc, /sys and the job's cgroup through files kept open.

Not from psutil, which opens and parses each file anew: of a tick's reading, on two cores of an AMD
EPYC with psutil 7.2, CPU times take 17 us instead of 11, memory and swap 101 instead of 12, network
34 instead of 9. What a sidecar takes, the training lacks. Pressure (PSI), cgroups, the number of
processes ready to run and the page counters behind vmstat's `bi` and `bo` psutil does not have.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monitors.recorder.cgroup import CgroupCounters, CgroupFiles
from monitors.recorder.kernel_files import open_file, pick, read_file, whole_number
from monitors.recorder.ranks import RankFiles, RankTimes


@dataclass(frozen=True, slots=True)
class HostCounters:
    """One reading. Memory in KiB as the kernel counts it, traffic in bytes since boot."""

    cpu: tuple[int, ...] = ()
    """Clock ticks: user, nice, system, idle, iowait, irq, softirq, steal."""
    stat: dict[str, int] = field(default_factory=dict)
    vm: dict[str, int] = field(default_factory=dict)
    mem: dict[str, int] = field(default_factory=dict)
    load1: float | None = None
    cgroup: CgroupCounters = field(default_factory=CgroupCounters)
    pressure: dict[str, int] = field(default_factory=dict)
    """Microseconds in which some task stood still for a core, for memory, for disks."""
    net: tuple[int, int] | None = None
    ib: tuple[int, int] | None = None
    ranks: dict[int, RankTimes] = field(default_factory=dict)
    """The job's ranks on this node, by process id."""


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

    def __init__(self, root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> None:
        proc = root / "proc"
        self._ranks = RankFiles(root, environment)
        self._stat, self._vmstat = open_file(proc / "stat"), open_file(proc / "vmstat")
        self._meminfo, self._loadavg = open_file(proc / "meminfo"), open_file(proc / "loadavg")
        self._net = open_file(proc / "net/dev")
        self._interfaces = _physical(root / "sys/class/net")
        self._ib = [
            (open_file(port / "port_rcv_data"), open_file(port / "port_xmit_data"))
            for port in sorted((root / "sys/class/infiniband").glob("*/ports/*/counters"))
        ]
        self._cgroup = CgroupFiles(root)
        self._pressure = {
            name: open_file(proc / "pressure" / name) for name in ("cpu", "memory", "io")
        }

    def read(self) -> HostCounters:
        """Read everything once."""
        stat = read_file(self._stat)
        load = read_file(self._loadavg).split()
        return HostCounters(
            cpu=_cpu(stat),
            stat=pick(stat, _STAT, b" "),
            vm=pick(read_file(self._vmstat), _VM, b" "),
            mem=pick(read_file(self._meminfo), _MEM, b":"),
            load1=float(load[0]) if load else None,
            cgroup=self._cgroup.read(),
            pressure=self._stalls(),
            net=_traffic(read_file(self._net), self._interfaces),
            ib=self._infiniband(),
            ranks=self._ranks.read(),
        )

    def _stalls(self) -> dict[str, int]:
        found = {}
        for name, file in self._pressure.items():
            head, _, total = read_file(file).partition(b"\n")[0].rpartition(b"total=")
            if head.startswith(b"some") and total.isdigit():
                found[name] = int(total)
        return found

    def _infiniband(self) -> tuple[int, int] | None:
        total_rx = total_tx = 0
        seen = False
        for files in self._ib:
            rx, tx = (whole_number(read_file(file)) for file in files)
            if rx is not None and tx is not None:
                total_rx, total_tx = total_rx + rx * _IB_WORD, total_tx + tx * _IB_WORD
                seen = True
        return (total_rx, total_tx) if seen else None


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
