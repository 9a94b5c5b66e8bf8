"""What is recorded of a node: the records that go to the files and come back from them.

The sampled values inside a `Tick` are declared in `monitors.samples`. `None` always means "not
known": a value the machine does not offer is never written as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitors.samples.gpu import GpuSample
from monitors.samples.host import HostSample

__all__ = [
    "End",
    "GpuInfo",
    "GpuSample",
    "GpuTable",
    "HostSample",
    "Note",
    "OwnCost",
    "Record",
    "Start",
    "Tick",
]


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """What stays the same about one GPU while the job runs."""

    index: int
    """The driver's number inside this job's cgroup; the UUID is what identifies the GPU."""
    uuid: str | None = None
    name: str | None = None
    pci_bus: str | None = None
    memory_total_mib: float | None = None
    power_limit_w: float | None = None


@dataclass(frozen=True, slots=True)
class OwnCost:
    """What the sidecar itself has used so far."""

    cpu_s: float | None = None
    max_rss_kib: float | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """The head of one recording. A requeued job has several in one file."""

    node: str
    wall: float
    """Seconds since the epoch."""
    mono: float
    """Seconds on the node's monotonic clock, at the same moment."""
    zone: str
    utc_offset_s: int
    interval_s: float
    gpus: tuple[GpuInfo, ...] = ()
    gpu_problem: str | None = None
    """Why no GPU is sampled; None where all is well."""


@dataclass(frozen=True, slots=True)
class GpuTable:
    """The GPUs of a node whose driver answered only after the recording had begun."""

    gpus: tuple[GpuInfo, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """One second of one node (or whatever the interval is)."""

    n: int
    """Number of the deadline, from 0 at each start: a hole in it is a missed tick."""
    wall: float
    mono: float
    host: HostSample
    gpus: tuple[GpuSample, ...] | None = None
    """None when the GPUs did not answer in time."""
    own: OwnCost | None = None
    vmstat: tuple[int, ...] | None = None
    """The row of vmstat's table, in the order of its columns."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth telling that happened while recording."""

    wall: float
    text: str


@dataclass(frozen=True, slots=True)
class End:
    """The foot of a recording that ended in order."""

    wall: float
    reason: str
    ticks: int
    missed: int
    own: OwnCost
    lost_writes: int = 0


Record = Start | GpuTable | Tick | Note | End
