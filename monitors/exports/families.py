"""OpenMetrics: what every recorded value is called there, and how a sample is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

END = "# EOF\n"
CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_MIB = 1024 * 1024
Labels = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its name, and what it tells."""

    name: str
    help: str
    unit: str = ""
    """By the rules of the format the name ends with it."""
    factor: float = 1
    """What a recorded value is multiplied by to be in that unit."""
    kind: Literal["gauge", "counter", "info", "stateset"] = "gauge"

    @property
    def sample_name(self) -> str:
        """What its samples are called."""
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")

    def head(self) -> str:
        """The lines that go before its samples."""
        unit = f"# UNIT {self.name} {self.unit}\n" if self.unit else ""
        return f"# TYPE {self.name} {self.kind}\n{unit}# HELP {self.name} {_escaped(self.help)}\n"

    def takes(self, value: float) -> bool:
        """Whether a value may be written: readers refuse a whole page for a counter below 0."""
        return self.kind != "counter" or value >= 0

    def scaled(self, value: float) -> float:
        """A recorded value in the family's unit."""
        return value if self.factor == 1 else round(value * self.factor, 6)

    def sample(self, pairs: Labels, value: float) -> str:
        """One line: a recorded value in the family's unit, without a time."""
        return f"{self.sample_name}{labels(pairs)} {self.scaled(value)!r}\n"


def labels(pairs: Labels) -> str:
    """Labels as they stand behind a name; nothing where there are none."""
    shown = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
    return f"{{{shown}}}" if shown else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _gpu_ratio(name: str, what: str) -> Family:
    return Family(f"job_gpu_{name}_ratio", f"Share of the time in which {what}.", "ratio", 0.01)


def _gpu_watts(name: str, which: str) -> Family:
    what = f"{which} of the driver's own readings of the power, some 20 ms apart."
    return Family(f"job_gpu_{name}_watts", what, "watts")


def _node_ratio(name: str, what: str) -> Family:
    return Family(f"job_node_{name}_ratio", f"Share of the time in which {what}.", "ratio", 0.01)


def _mib(name: str, what: str) -> Family:
    return Family(f"job_{name}_bytes", what, "bytes", _MIB)


def _rate(name: str, what: str, factor: float) -> Family:
    # The format knows no unit for a rate.
    return Family(f"job_{name}_bytes_per_second", what, factor=factor)


def _counter(name: str, what: str, unit: str = "") -> Family:
    return Family(f"job_{name}", what, unit, kind="counter")


FAMILIES: dict[str, Family] = {
    # by the names of the values in GpuSample and HostSample
    "power_w": Family("job_gpu_power_watts", "Power drawn by the GPU.", "watts"),
    "temperature_c": Family("job_gpu_temperature_celsius", "Temperature of the chip.", "celsius"),
    "memory_temperature_c": Family(
        "job_gpu_memory_temperature_celsius", "Temperature of the GPU's memory.", "celsius"
    ),
    "sm_pct": _gpu_ratio("sm", "a kernel ran"),
    "mem_pct": _gpu_ratio("memory_busy", "the GPU's memory was read or written"),
    "enc_pct": _gpu_ratio("encoder", "the video encoder was busy"),
    "dec_pct": _gpu_ratio("decoder", "the video decoder was busy"),
    "jpg_pct": _gpu_ratio("jpeg", "the JPEG engine was busy"),
    "ofa_pct": _gpu_ratio("optical_flow", "the optical flow engine was busy"),
    "memory_clock_mhz": Family(
        "job_gpu_memory_clock_hertz", "Clock of the GPU's memory.", "hertz", 1e6
    ),
    "sm_clock_mhz": Family("job_gpu_sm_clock_hertz", "Clock of the SMs.", "hertz", 1e6),
    "pcie_rx_mb_s": _rate("gpu_pcie_received", "Received by the GPU over PCIe.", 1e6),
    "pcie_tx_mb_s": _rate("gpu_pcie_sent", "Sent by the GPU over PCIe.", 1e6),
    "memory_used_mib": _mib("gpu_memory_used", "Memory of the GPU in use."),
    "throttle": Family(
        "job_gpu_throttle_reasons", "NVML's bit mask of what holds the clocks back."
    ),
    "energy_j": _counter(
        "gpu_energy_joules", "Energy since the driver was loaded; asked for now and then.", "joules"
    ),
    "power_max_w": _gpu_watts("power_max", "Highest"),
    "power_min_w": _gpu_watts("power_min", "Lowest"),
    "power_mean_w": _gpu_watts("power_mean", "Mean"),
    "sm_active_pct": _gpu_ratio("sm_active", "an SM had work, all SMs together"),
    "tensor_active_pct": _gpu_ratio("tensor_active", "the tensor cores worked"),
    "dram_active_pct": Family(
        "job_gpu_memory_bandwidth_ratio", "Traffic of the GPU's memory by its most.", "ratio", 0.01
    ),
    "nvlink_rx_mb_s": _rate("gpu_nvlink_received", "Received by the GPU over all NVLinks.", 1e6),
    "nvlink_tx_mb_s": _rate("gpu_nvlink_sent", "Sent by the GPU over all NVLinks.", 1e6),
    "xid_errors": _counter("gpu_xid_errors", "Errors the driver reported since the record began."),
    "ecc_corrected": _counter("gpu_ecc_corrected", "Memory errors since the driver was loaded."),
    "ecc_uncorrected": _counter(
        "gpu_ecc_uncorrected", "Memory errors beyond correction since the driver was loaded."
    ),
    "ecc_corrected_ever": _counter(
        "gpu_ecc_corrected_ever", "Memory errors in the life of the GPU."
    ),
    "ecc_uncorrected_ever": _counter(
        "gpu_ecc_uncorrected_ever", "Memory errors beyond correction in the life of the GPU."
    ),
    "rows_remapped": Family("job_gpu_rows_remapped", "Rows of memory replaced by spare ones."),
    "remap_pending": Family("job_gpu_row_remap_pending", "1 while a row waits to be replaced."),
    "remap_failed": Family("job_gpu_row_remap_failed", "1 where a row could not be replaced."),
    "processes": Family("job_gpu_processes", "Processes that compute on the GPU."),
    "processes_mib": _mib("gpu_processes_memory", "Memory of the GPU held by processes."),
    "largest_process_mib": _mib(
        "gpu_largest_process_memory", "Memory held by the process that holds most."
    ),
    "strangers_mib": _mib("gpu_strangers_memory", "Memory held by processes of other jobs."),
    "cpu_busy_pct": _node_ratio("cpu_busy", "the cores worked, all cores together"),
    "cpu_iowait_pct": _node_ratio("cpu_iowait", "the cores waited for disks"),
    "load1": Family("job_node_load1", "Load average of the last minute."),
    "mem_used_mib": _mib("node_memory_used", "Memory in use, without what could be dropped."),
    "mem_total_mib": _mib("node_memory_total", "Memory of the node."),
    "swap_used_mib": _mib("node_swap_used", "Swap in use."),
    "cgroup_mem_mib": _mib("cgroup_memory_used", "Memory of the whole job on the node."),
    "cgroup_limit_mib": _mib("cgroup_memory_limit", "Memory the job may use on the node."),
    "net_rx_bytes": _counter(
        "node_network_received_bytes", "Received over the physical interfaces.", "bytes"
    ),
    "net_tx_bytes": _counter(
        "node_network_sent_bytes", "Sent over the physical interfaces.", "bytes"
    ),
    "ib_rx_bytes": _counter("node_infiniband_received_bytes", "Received over InfiniBand.", "bytes"),
    "ib_tx_bytes": _counter("node_infiniband_sent_bytes", "Sent over InfiniBand.", "bytes"),
    "swap_mib_s": _rate("node_swap_moved", "Moved from and to swap.", _MIB),
    "psi_cpu_pct": _node_ratio("pressure_cpu", "some task stood still for a core"),
    "psi_memory_pct": _node_ratio("pressure_memory", "some task stood still for memory"),
    "psi_io_pct": _node_ratio("pressure_io", "some task stood still for disks"),
    "cgroup_cpu_s": _counter("cgroup_cpu_seconds", "CPU time of the job on the node.", "seconds"),
    "cgroup_throttled_s": _counter(
        "cgroup_throttled_seconds", "Time its threads were held back by its CPU limit.", "seconds"
    ),
    "oom_kills": _counter("cgroup_oom_kills", "Processes of the job killed for memory."),
    "rank_ran_pct": _node_ratio("rank_ran", "a rank's main thread ran"),
    "rank_queued_pct": _node_ratio("rank_queued", "a rank's main thread waited for a core"),
    "rank_cpu_pct": Family("job_rank_cores", "Cores that a rank kept busy.", "", 0.01),
}
