"""The sampled values of a node: each is declared here, once.

`monitors.samples.gpu` says what a declaration has. A new value takes a line here and the module
under `monitors.recorder` that reads it.

`None` always means "not known": a value the machine does not offer is never written as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitors.samples.metric import counter, gauge


@dataclass(frozen=True, slots=True)
class HostSample:
    """One node at one tick. Percentages are of all cores together, over the time since the last."""

    # fmt: off
    cpu_busy_pct: float | None = gauge(
        "%", "job_node_cpu_busy_ratio",
        "Share of the time in which the cores worked: neither idle nor waiting for disks.",
        report=True,
    )
    cpu_iowait_pct: float | None = gauge(
        "%", "job_node_cpu_iowait_ratio",
        "Share of the time in which the cores waited for disks.", report=True,
    )
    load1: float | None = gauge(
        "", "job_node_load1", "Load average of the last minute.", report=True
    )
    mem_used_mib: float | None = gauge(
        "MiB", "job_node_memory_used_bytes",
        "Total memory less what the kernel could hand out without swapping.", report=True,
    )
    mem_total_mib: float | None = gauge(
        "MiB", "job_node_memory_total_bytes", "Memory of the node.", report=True
    )
    swap_used_mib: float | None = gauge(
        "MiB", "job_node_swap_used_bytes", "Swap in use.", report=True
    )
    cgroup_mem_mib: float | None = gauge(
        "MiB", "job_cgroup_memory_used_bytes",
        "Memory of the whole job on the node, less the file cache that is free to be dropped.",
        report=True,
    )
    cgroup_limit_mib: float | None = gauge(
        "MiB", "job_cgroup_memory_limit_bytes", "Memory the job may use on the node.", report=True
    )
    net_rx_bytes: int | None = counter(
        "bytes", "job_node_network_received_bytes",
        "Received over the physical interfaces since boot.", report=True,
    )
    net_tx_bytes: int | None = counter(
        "bytes", "job_node_network_sent_bytes",
        "Sent over the physical interfaces since boot.", report=True,
    )
    ib_rx_bytes: int | None = counter(
        "bytes", "job_node_infiniband_received_bytes",
        "Received over InfiniBand, which goes past the kernel's network counters.", report=True,
    )
    ib_tx_bytes: int | None = counter(
        "bytes", "job_node_infiniband_sent_bytes",
        "Sent over InfiniBand, which goes past the kernel's network counters.", report=True,
    )
    swap_mib_s: float | None = gauge(
        "MiB/s", "job_node_swap_moved_bytes_per_second", "Moved from and to swap.", report=True
    )
    psi_cpu_pct: float | None = gauge(
        "%", "job_node_pressure_cpu_ratio",
        "CPU pressure (PSI some): share of the time in which some task waited for a core.",
        report=True,
    )
    psi_memory_pct: float | None = gauge(
        "%", "job_node_pressure_memory_ratio",
        "Memory pressure (PSI some): share of the time in which some task waited for memory.",
        report=True,
    )
    psi_io_pct: float | None = gauge(
        "%", "job_node_pressure_io_ratio",
        "I/O pressure (PSI some): share of the time in which some task waited for disks.",
        report=True,
    )
    cgroup_cpu_s: float | None = counter(
        "s", "job_cgroup_cpu_seconds", "CPU time of the whole job on the node.", report=True
    )
    cgroup_throttled_s: float | None = counter(
        "s", "job_cgroup_throttled_seconds",
        "Time the job's threads were held back by its CPU limit, all together.", report=True,
    )
    oom_kills: int | None = counter(
        "", "job_cgroup_oom_kills", "Processes of the job that the kernel killed for memory.",
        report=True,
    )
    rank_ran_pct: float | None = gauge(
        "%", "job_node_rank_ran_ratio",
        "Share of the time in which a rank's main thread ran, the mean of the node's ranks.",
        report=True,
    )
    rank_queued_pct: float | None = gauge(
        "%", "job_node_rank_queued_ratio",
        "Share of the time in which a rank's main thread was ready to run, without a core. "
        "The rest of the time it waited.", report=True,
    )
    rank_cpu_pct: float | None = gauge(
        "% of a core", "job_rank_cores",
        "Cores that a rank kept busy with all its threads, the mean of the node's ranks.",
        report=True,
    )
    # fmt: on
