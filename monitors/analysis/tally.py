"""From the records of one node's samples file to its summary, in one pass and little memory."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from monitors.analysis.summary import GpuSummary, Growth, Mean, NodeSummary
from monitors.records import End, GpuInfo, GpuSample, GpuTable, Note, OwnCost, Record, Start, Tick

_MB = 1e6
GPU_VALUES = (
    "sm_pct", "mem_pct", "power_w", "sm_clock_mhz", "temperature_c",
    "memory_used_mib", "pcie_rx_mb_s", "pcie_tx_mb_s",
    "sm_active_pct", "tensor_active_pct", "nvlink_rx_mb_s", "nvlink_tx_mb_s",
)  # fmt: skip
HOST_VALUES = (
    "cpu_busy_pct", "cpu_iowait_pct", "mem_used_mib", "swap_used_mib", "cgroup_mem_mib",
)  # fmt: skip
TRAFFIC = ("net_rx", "net_tx", "ib_rx", "ib_tx")


class GpuTally:
    """Gathers the samples of one GPU."""

    def __init__(self, info: GpuInfo) -> None:
        self.info = info
        self.samples = 0
        self.values = {name: Mean() for name in GPU_VALUES}
        self.energy = Growth()

    def add(self, sample: GpuSample, mono: float) -> None:
        """Take one sample at a moment on the monotonic clock."""
        # A GPU that was lost leaves samples without a single value: they tell nothing.
        known = False
        for name, gathered in self.values.items():
            value = getattr(sample, name)
            gathered.add(value)
            known = known or value is not None
        self.samples += known
        self.energy.add(sample.energy_j, mono)

    def summary(self) -> GpuSummary:
        """What was gathered."""
        info = self.info
        return GpuSummary(
            index=info.index,
            uuid=info.uuid,
            name=info.name,
            pci_bus=info.pci_bus,
            memory_total_mib=info.memory_total_mib,
            power_limit_w=info.power_limit_w,
            samples=self.samples,
            energy_j=self.energy.total(),
            **{name: gathered.stat() for name, gathered in self.values.items()},
        )


class _Session:
    """Time under one start of the sidecar; monotonic seconds."""

    def __init__(self, begin: float, number: int) -> None:
        self._begin = self.last = self._own_at = begin
        self.next = number
        self.missed = 0
        self.cpu_s: float | None = None

    def tick(self, number: int, mono: float) -> None:
        self.missed += max(0, number - self.next)
        self.next = number + 1
        self.last = max(self.last, mono)

    def own(self, cost: OwnCost) -> None:
        if cost.cpu_s is not None:
            self.cpu_s, self._own_at = cost.cpu_s, self.last

    @property
    def seconds(self) -> float:
        return self.last - self._begin

    @property
    def own_seconds(self) -> float:
        """How long the sidecar had run when its cost was last noted."""
        return 0.0 if self.cpu_s is None else self._own_at - self._begin


class NodeTally:
    """Gathers the records of one node; `add` them in the order of the file."""

    def __init__(self) -> None:
        self._gpus: dict[str, GpuTally] = {}
        self._table: dict[int, GpuTally] = {}
        self._values = {name: Mean() for name in HOST_VALUES}
        self._traffic = {name: Growth() for name in TRAFFIC}
        self._memory_total: float | None = None
        self._limit: float | None = None
        self._sessions: list[_Session] = []
        self._open: _Session | None = None
        self._starts = self._samples = self._gpu_missed = self._lost_writes = 0
        self._rss: float | None = None
        self._zone: timezone = UTC
        self._began: str | None = None
        self._last: str | None = None
        self._end_reason: str | None = None
        self._gpu_problem: str | None = None
        self._notes: list[str] = []

    @property
    def samples(self) -> int:
        """Ticks seen so far."""
        return self._samples

    def add(self, record: Record) -> None:
        """Take one record."""
        match record:
            case Start():
                self._start(record)
            case GpuTable():
                self._set_table(record.gpus)
            case Tick():
                self._tick(record)
            case Note():
                self._notes.append(f"{self._iso(record.wall)}: {record.text}")
            case End():
                self._end_reason = record.reason
                self._last = self._iso(record.wall)
                self._lost_writes += record.lost_writes
                self._own(record.own)
                self._open = None

    def summary(self, node: str) -> NodeSummary:
        """What was gathered, in the name of `node`."""
        cpu_s = sum(session.cpu_s or 0.0 for session in self._sessions)
        watched_s = sum(session.own_seconds for session in self._sessions)
        gpus = (tally.summary() for tally in self._gpus.values())
        stats: dict[str, Any] = {name: mean.stat() for name, mean in self._values.items()}
        stats |= {f"{name}_mb_s": growth.rate(_MB) for name, growth in self._traffic.items()}
        return NodeSummary(
            node=node,
            began=self._began,
            last=self._last,
            duration_s=round(sum(s.seconds for s in self._sessions), 3) if self._samples else None,
            starts=self._starts,
            end_reason=self._end_reason,
            samples=self._samples,
            missed=sum(session.missed for session in self._sessions),
            gpu_missed=self._gpu_missed if self._gpus else None,
            lost_writes=self._lost_writes,
            mem_total_mib=self._memory_total,
            cgroup_limit_mib=self._limit,
            own_cpu_pct=round(100 * cpu_s / watched_s, 3) if watched_s else None,
            own_max_rss_mib=None if self._rss is None else round(self._rss / 1024, 1),
            gpus=tuple(sorted(gpus, key=lambda gpu: (gpu.index, gpu.uuid or ""))),
            gpu_problem=None if self._gpus else self._gpu_problem,
            notes=tuple(self._notes),
            **stats,
        )

    def _start(self, start: Start) -> None:
        self._starts += 1
        # No zone is a day away: such an offset is garbage.
        offset = start.utc_offset_s if abs(start.utc_offset_s) < 86400 else 0
        self._zone = timezone(timedelta(seconds=offset))
        self._last = self._iso(start.wall)
        self._began = self._began or self._last
        self._end_reason, self._gpu_problem = None, start.gpu_problem
        self._begin_session(start.mono, 0)
        self._set_table(start.gpus)

    def _begin_session(self, mono: float, number: int) -> _Session:
        """Counters may have begun anew in between, after a reboot for one."""
        for growth in (*self._traffic.values(), *(gpu.energy for gpu in self._gpus.values())):
            growth.restart()
        self._open = _Session(mono, number)
        self._sessions.append(self._open)
        return self._open

    def _set_table(self, gpus: Iterable[GpuInfo]) -> None:
        """A requeued job can be given other GPUs under the same numbers: the UUID decides."""
        self._table = {}
        for info in gpus:
            tally = self._gpus.setdefault(info.uuid or f"number {info.index}", GpuTally(info))
            self._table[info.index] = tally

    def _tick(self, tick: Tick) -> None:
        # Without a session, the head of this recording is lost: count from here.
        session = self._open or self._begin_session(tick.mono, tick.n)
        session.tick(tick.n, tick.mono)
        self._samples += 1
        self._last = self._iso(tick.wall)
        self._began = self._began or self._last
        self._host(tick)
        if tick.own is not None:
            self._own(tick.own)
        if tick.gpus is None:
            self._gpu_missed += bool(self._table)
            return
        for sample in tick.gpus:
            if sample.index not in self._table:  # likewise: all that is known is its number
                info = GpuInfo(sample.index)
                self._table[sample.index] = self._gpus.setdefault(
                    f"number {sample.index}", GpuTally(info)
                )
            self._table[sample.index].add(sample, tick.mono)

    def _host(self, tick: Tick) -> None:
        host = tick.host
        for name, gathered in self._values.items():
            gathered.add(getattr(host, name))
        for name, growth in self._traffic.items():
            growth.add(getattr(host, f"{name}_bytes"), tick.mono)
        if host.mem_total_mib is not None:
            self._memory_total = host.mem_total_mib
        if host.cgroup_limit_mib is not None:
            self._limit = host.cgroup_limit_mib

    def _own(self, cost: OwnCost) -> None:
        if self._open is not None:
            self._open.own(cost)
        if cost.max_rss_kib is not None:
            self._rss = max(self._rss or 0.0, cost.max_rss_kib)

    def _iso(self, wall: float) -> str | None:
        try:
            return datetime.fromtimestamp(wall, self._zone).isoformat(timespec="seconds")
        except (ValueError, OverflowError, OSError):
            return None
