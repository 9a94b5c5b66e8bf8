"""From two readings of the host's counters to what happened between them."""

from __future__ import annotations

import os
from typing import Protocol

from monitors.recorder.interfaces import Clock
from monitors.recorder.procfs import HostCounters
from monitors.recorder.rank_watch import RankWatch
from monitors.records import HostSample

_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class CounterReader(Protocol):
    """Whatever can read the host's counters."""

    def read(self) -> HostCounters:
        """Read everything once."""
        ...


class HostSampler:
    """Host values over the time since the last call; the first call covers the time since begin."""

    def __init__(
        self, files: CounterReader, clock: Clock, rank_watch: RankWatch | None = None
    ) -> None:
        """`rank_watch`: told of every reading which ranks' main threads ran."""
        self._files, self._clock, self._rank_watch = files, clock, rank_watch
        self._last, self._at = files.read(), clock.mono()

    def sample(self) -> tuple[HostSample, dict[str, int] | None]:
        """Values of this tick, and the same as a row for vmstat."""
        now, at = self._files.read(), self._clock.mono()
        last, passed = self._last, at - self._at
        self._last, self._at = now, at
        if self._rank_watch is not None:
            self._rank_watch.update(now.ranks, self._clock.wall(), at)
        return _sample(last, now, passed), vmstat_row(last, now, passed)


def _sample(last: HostCounters, now: HostCounters, seconds: float) -> HostSample:
    spent = _spent(last, now)
    total = sum(spent)
    idle, iowait = (spent[3], spent[4]) if total else (0, 0)
    mem, job = now.mem, now.cgroup
    return HostSample(
        cpu_busy_pct=round(100 * (total - idle - iowait) / total, 1) if total else None,
        cpu_iowait_pct=round(100 * iowait / total, 1) if total else None,
        load1=now.load1,
        mem_used_mib=_mib(_less(mem.get("MemTotal"), mem.get("MemAvailable"))),
        mem_total_mib=_mib(mem.get("MemTotal")),
        swap_used_mib=_mib(_less(mem.get("SwapTotal"), mem.get("SwapFree"))),
        cgroup_mem_mib=_mib(job.used_bytes, 1024),
        cgroup_limit_mib=_mib(job.limit_bytes, 1024),
        net_rx_bytes=now.net[0] if now.net else None,
        net_tx_bytes=now.net[1] if now.net else None,
        ib_rx_bytes=now.ib[0] if now.ib else None,
        ib_tx_bytes=now.ib[1] if now.ib else None,
        swap_mib_s=_swapped(last, now, seconds),
        psi_cpu_pct=_stalled(last, now, "cpu", seconds),
        psi_memory_pct=_stalled(last, now, "memory", seconds),
        psi_io_pct=_stalled(last, now, "io", seconds),
        cgroup_cpu_s=None if job.cpu_s is None else round(job.cpu_s, 3),
        cgroup_throttled_s=None if job.throttled_s is None else round(job.throttled_s, 3),
        oom_kills=job.oom_kills,
        **_ranks(last, now, seconds),
    )


def _ranks(last: HostCounters, now: HostCounters, seconds: float) -> dict[str, float]:
    """What the ranks did between the two readings; whole percents, finer they are noise."""
    both = [(last.ranks[pid], times) for pid, times in now.ranks.items() if pid in last.ranks]
    if not both or seconds <= 0:
        return {}
    whole = len(both) * seconds / 100
    ran = sum(after.ran_s - before.ran_s for before, after in both) / whole
    queued = sum(after.queued_s - before.queued_s for before, after in both) / whole
    spent = sum(after.cpu_s - before.cpu_s for before, after in both) / whole
    return {
        "rank_ran_pct": float(round(min(100.0, max(0.0, ran)))),
        "rank_queued_pct": float(round(min(100.0, max(0.0, queued)))),
        "rank_cpu_pct": float(round(max(0.0, spent))),
    }


def _swapped(last: HostCounters, now: HostCounters, seconds: float) -> float | None:
    """MiB a second from and to swap."""
    pages = 0
    for name in ("pswpin", "pswpout"):
        if name not in last.vm or name not in now.vm or seconds <= 0:
            return None
        pages += max(0, now.vm[name] - last.vm[name])
    return round(pages * _PAGE_KIB / 1024 / seconds, 2)


def _stalled(last: HostCounters, now: HostCounters, what: str, seconds: float) -> float | None:
    before, after = last.pressure.get(what), now.pressure.get(what)
    if before is None or after is None or seconds <= 0:
        return None
    return round(min(100.0, max(0, after - before) / seconds / 1e4), 1)


def vmstat_row(last: HostCounters, now: HostCounters, seconds: float) -> dict[str, int] | None:
    """The columns of vmstat; None where one is missing, because its table knows no blank."""
    spent = _spent(last, now)
    total = sum(spent)
    if not total or seconds <= 0:
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = spent

    def share(part: int) -> int:
        return round(100 * part / total)

    def rate(before: dict[str, int], after: dict[str, int], name: str, unit: int = 1) -> int:
        return round(max(0, after[name] - before[name]) * unit / seconds)

    try:
        return {
            "r": now.stat["procs_running"],
            "b": now.stat["procs_blocked"],
            "swpd": now.mem["SwapTotal"] - now.mem["SwapFree"],
            "free": now.mem["MemFree"],
            "buff": now.mem["Buffers"],
            "cache": now.mem["Cached"] + now.mem["SReclaimable"],
            "si": rate(last.vm, now.vm, "pswpin", _PAGE_KIB),
            "so": rate(last.vm, now.vm, "pswpout", _PAGE_KIB),
            "bi": rate(last.vm, now.vm, "pgpgin"),
            "bo": rate(last.vm, now.vm, "pgpgout"),
            "in": rate(last.stat, now.stat, "intr"),
            "cs": rate(last.stat, now.stat, "ctxt"),
            "us": share(user + nice),
            "sy": share(system + irq + softirq),
            "id": share(idle),
            "wa": share(iowait),
            "st": share(steal),
        }
    except KeyError:
        return None


def _spent(last: HostCounters, now: HostCounters) -> tuple[int, ...]:
    # Idle and iowait can run backwards by a tick when a core goes to sleep.
    pairs = zip(last.cpu, now.cpu, strict=False)
    return tuple(max(0, after - before) for before, after in pairs)


def _less(total: int | None, part: int | None) -> int | None:
    return None if total is None or part is None else total - part


def _mib(amount: int | None, divisor: int = 1) -> float | None:
    """MiB from KiB, or from bytes with a divisor of 1024."""
    return None if amount is None else round(amount / divisor / 1024, 1)
