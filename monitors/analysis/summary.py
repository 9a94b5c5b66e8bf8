"""What the report says, as values. `None` is "unknown" everywhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stat:
    """Mean and peak of one value, and how many samples they rest on."""

    mean: float | None = None
    """In the value's own unit, as `peak` is."""
    peak: float | None = None
    """In the value's own unit."""
    count: int = 0


@dataclass(frozen=True, slots=True)
class GpuSummary:
    """One GPU over the whole record."""

    index: int
    uuid: str | None = None
    name: str | None = None
    pci_bus: str | None = None
    memory_total_mib: float | None = None
    power_limit_w: float | None = None
    samples: int = 0
    sm_pct: Stat = Stat()
    mem_pct: Stat = Stat()
    power_w: Stat = Stat()
    sm_clock_mhz: Stat = Stat()
    temperature_c: Stat = Stat()
    memory_used_mib: Stat = Stat()
    pcie_rx_mb_s: Stat = Stat()
    pcie_tx_mb_s: Stat = Stat()
    sm_active_pct: Stat = Stat()
    tensor_active_pct: Stat = Stat()
    nvlink_rx_mb_s: Stat = Stat()
    nvlink_tx_mb_s: Stat = Stat()
    energy_j: float | None = None
    """Joules between the first and the last reading of the counter."""


@dataclass(frozen=True, slots=True)
class NodeSummary:
    """One node over the whole record, all restarts together."""

    node: str
    role: str = ""
    """What the node did where it trained nothing: `server`; '' of those that trained."""
    files: tuple[str, ...] = ()
    """Names of the files the figures come from."""
    began: str | None = None
    """ISO time of the first sample's recording; without an offset where the file names no zone."""
    last: str | None = None
    """ISO time of the last sign of life."""
    duration_s: float | None = None
    """Seconds under record: pauses between restarts are not in it."""
    starts: int | None = None
    end_reason: str | None = None
    """None when the last recording has no end: killed, or still running."""
    samples: int = 0
    missed: int | None = None
    """Deadlines that passed without a sample."""
    gpu_missed: int | None = None
    """Samples in which the GPUs did not answer."""
    lost_writes: int | None = None
    cpu_busy_pct: Stat = Stat()
    cpu_iowait_pct: Stat = Stat()
    mem_used_mib: Stat = Stat()
    mem_total_mib: float | None = None
    swap_used_mib: Stat = Stat()
    cgroup_mem_mib: Stat = Stat()
    cgroup_limit_mib: float | None = None
    net_rx_mb_s: Stat = Stat()
    net_tx_mb_s: Stat = Stat()
    ib_rx_mb_s: Stat = Stat()
    ib_tx_mb_s: Stat = Stat()
    clock_ahead_s: float | None = None
    """How far its clock is ahead of the one that the events go by; None where nobody compared."""
    clock_within_s: float | None = None
    """By how much that may be wrong."""
    own_cpu_pct: float | None = None
    """What the sidecar took, in percent of one core."""
    own_max_rss_mib: float | None = None
    gpus: tuple[GpuSummary, ...] = ()
    gpu_problem: str | None = None
    """Why no GPU was sampled."""
    changes: tuple[str, ...] = ()
    """Values of its GPUs that changed within the training: both levels, and when."""
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """What is missing from this node's record or could not be read."""


@dataclass(frozen=True, slots=True)
class Report:
    """All nodes that left a record in one folder."""

    directory: str
    nodes: tuple[NodeSummary, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def gpu_count(self) -> int:
        """GPUs seen on all nodes together."""
        return sum(len(node.gpus) for node in self.nodes)


class Mean:
    """Gathers values into a Stat without keeping them."""

    def __init__(self) -> None:
        self._total, self._peak, self._count = 0.0, 0.0, 0

    def add(self, value: float | None) -> None:
        """Take one value; an unknown one changes nothing."""
        if value is not None:
            self._peak = max(self._peak, value) if self._count else value
            self._total += value
            self._count += 1

    def merge(self, total: float, peak: float, count: int) -> None:
        """Take `count` values at once, by their sum and the highest of them."""
        if count:
            self._peak = max(self._peak, peak) if self._count else peak
            self._total += total
            self._count += count

    def stat(self) -> Stat:
        """Mean and peak of what was added."""
        if not self._count:
            return Stat()
        return Stat(round(self._total / self._count, 2), round(self._peak, 2), self._count)


SHORT = 1e-4
"""Seconds. The clock is recorded in milliseconds: less passed only where it is garbage."""


class Growth:
    """Follows a counter: how much it grew, and how fast per second.

    A counter that falls has been reset; the step across is left out.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._grown, self._seconds, self._peak, self._steps = 0.0, 0.0, 0.0, 0

    def add(self, value: float | None, seconds: float) -> None:
        """Take the counter's value at a moment on the monotonic clock."""
        if value is None:
            return
        if self._last is not None and value >= self._last[0] and seconds - self._last[1] > SHORT:
            grown, passed = value - self._last[0], seconds - self._last[1]
            self._peak = max(self._peak, grown / passed)
            self._grown, self._seconds = self._grown + grown, self._seconds + passed
            self._steps += 1
        self._last = (value, seconds)

    def merge(self, grown: float, seconds: float, peak: float, steps: int) -> None:
        """Take steps at once that were worked out elsewhere; `peak` is per second."""
        self._peak = max(self._peak, peak)
        self._grown, self._seconds = self._grown + grown, self._seconds + seconds
        self._steps += steps

    def restart(self) -> None:
        """What comes next is not to be compared with what was."""
        self._last = None

    def total(self) -> float | None:
        """Growth over all steps."""
        return self._grown if self._steps else None

    def rate(self, unit: float) -> Stat:
        """Growth per second, divided by `unit`."""
        if not self._steps:
            return Stat()
        mean = self._grown / self._seconds / unit
        return Stat(round(mean, 3), round(self._peak / unit, 3), self._steps)
