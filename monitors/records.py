"""The values that travel from the samplers to the files and from the files to the report.

`None` always means "not known": a value the machine does not offer is never written as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


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
class GpuSample:
    """One GPU at one tick."""

    index: int
    power_w: float | None = None
    temperature_c: float | None = None
    memory_temperature_c: float | None = None
    sm_pct: float | None = None
    mem_pct: float | None = None
    enc_pct: float | None = None
    dec_pct: float | None = None
    jpg_pct: float | None = None
    ofa_pct: float | None = None
    memory_clock_mhz: float | None = None
    sm_clock_mhz: float | None = None
    pcie_rx_mb_s: float | None = None
    """MB/s (10^6 bytes) received by the GPU since the tick before."""
    pcie_tx_mb_s: float | None = None
    memory_used_mib: float | None = None
    throttle: int | None = None
    """The reasons that hold the clocks back, in the bits of NVML's mask, whoever made the GPU."""
    energy_j: float | None = None
    """Joules since the driver was loaded; asked for only every few ticks."""
    power_max_w: float | None = None
    """Highest of the driver's own readings, some 20 ms apart, since they were last told; but the
    driver keeps those of the last two seconds alone, where more lie between two looks."""
    power_min_w: float | None = None
    power_mean_w: float | None = None
    sm_active_pct: float | None = None
    """Share of the SMs that had work, over the time since this was last asked for."""
    tensor_active_pct: float | None = None
    """Share of the time in which the tensor cores worked."""
    dram_active_pct: float | None = None
    """Traffic of the GPU's memory as a share of the most that it could be."""
    nvlink_rx_mb_s: float | None = None
    """MB/s (10^6 bytes) over all NVLinks, since this was last asked for."""
    nvlink_tx_mb_s: float | None = None
    xid_errors: int | None = None
    """Errors that the driver reported since the recording began."""
    ecc_corrected: int | None = None
    """Memory errors since the driver was loaded, below: in the card's life."""
    ecc_uncorrected: int | None = None
    ecc_corrected_ever: int | None = None
    ecc_uncorrected_ever: int | None = None
    rows_remapped: int | None = None
    """Rows of the GPU's memory that were replaced by spare ones."""
    remap_pending: int | None = None
    """1 where a row waits to be replaced, which takes a reset; 0 where none does."""
    remap_failed: int | None = None
    """1 where a row could not be replaced."""
    processes: int | None = None
    """Processes that compute on this GPU."""
    processes_mib: float | None = None
    """Memory of the GPU that they hold; below: the one that holds most."""
    largest_process_mib: float | None = None
    strangers_mib: float | None = None
    """Memory held by processes of other jobs; None where that cannot be told."""


@dataclass(frozen=True, slots=True)
class HostSample:
    """One node at one tick. Percentages are of all cores together, over the time since the last."""

    cpu_busy_pct: float | None = None
    """Everything but idle and waiting for disks."""
    cpu_iowait_pct: float | None = None
    load1: float | None = None
    mem_used_mib: float | None = None
    """Total less what the kernel could hand out without swapping."""
    mem_total_mib: float | None = None
    swap_used_mib: float | None = None
    cgroup_mem_mib: float | None = None
    """Of the whole job on this node, less the file cache that is free to be dropped."""
    cgroup_limit_mib: float | None = None
    net_rx_bytes: int | None = None
    """Counted since boot over the physical interfaces, as are the three below."""
    net_tx_bytes: int | None = None
    ib_rx_bytes: int | None = None
    """InfiniBand traffic, which goes past the kernel's network counters."""
    ib_tx_bytes: int | None = None
    swap_mib_s: float | None = None
    """MiB a second moved from and to swap."""
    psi_cpu_pct: float | None = None
    """Share of the time in which some task stood still for a core; below: for memory, for disks."""
    psi_memory_pct: float | None = None
    psi_io_pct: float | None = None
    cgroup_cpu_s: float | None = None
    """CPU seconds of the whole job on this node."""
    cgroup_throttled_s: float | None = None
    """Seconds its threads were held back by the job's CPU limit, all together."""
    oom_kills: int | None = None
    """Processes of the job that the kernel killed for memory."""
    rank_ran_pct: float | None = None
    """Share of the time in which the main thread of a rank ran, the mean of the node's ranks."""
    rank_queued_pct: float | None = None
    """The same for being ready to run without a core. The rest of the time it waited."""
    rank_cpu_pct: float | None = None
    """CPU time of a rank with all its threads, in percent of one core, the mean of the ranks."""


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


class DeviceError(Exception):
    """The GPUs cannot be sampled; the message says why."""


class DeviceSource(Protocol):
    """Where GPU values come from."""

    def open(self) -> tuple[GpuInfo, ...]:
        """Find the GPUs. Raises DeviceError when there is no way to ask for them."""
        ...

    def sample(self, n: int) -> tuple[GpuSample, ...]:
        """Values of every GPU at tick `n`."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What happened to the devices since this was last called."""
        ...

    def urgent(self) -> tuple[str, ...]:
        """Of these what is known without asking a device, while `sample` may not return."""
        ...


class HostSource(Protocol):
    """Where host values come from."""

    def sample(self) -> tuple[HostSample, dict[str, int] | None]:
        """Values since the last call, and the row for vmstat (None where it cannot be filled)."""
        ...


class Clock(Protocol):
    """Time, and the wish to stop, which a waiting process learns at the same place."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def mono(self) -> float:
        """Seconds on a clock that never jumps."""
        ...

    def wait(self, seconds: float) -> str | None:
        """Sleep; returns early with the reason when asked to stop."""
        ...


class Sink(Protocol):
    """A place that takes whole pieces of text, in order."""

    def append(self, text: str) -> bool:
        """Write and flush; False when it did not work. Never raises."""
        ...

    def tidy(self) -> None:
        """A tick is done, there is time until the next. Never raises, hardly ever waits."""
        ...

    @property
    def problem(self) -> str | None:
        """What went wrong inside for good; None where all is well."""
        ...

    def close(self) -> None:
        """No more text will come."""
        ...
