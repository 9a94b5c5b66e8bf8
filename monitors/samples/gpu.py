"""The sampled values of a GPU: each is declared here, once.

A declaration has the unit, the name of the OpenMetrics family, what is measured, whether it is read
every few ticks alone (`seldom`) and whether the report loads it (`report`); `int` says that it is a
whole number. Everything else follows from it: what is stored, exported, served and reported. So a
new value takes a line here and the module under `monitors.recorder.devices` that reads it.

`None` always means "not known": a value the machine does not offer is never written as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitors.samples.metric import counter, gauge


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU at one tick."""

    index: int
    """The GPU's number, as in `monitors.records.GpuInfo`."""
    # fmt: off
    power_w: float | None = gauge(
        "W", "job_gpu_power_watts", "Power drawn by the GPU.", report=True
    )
    temperature_c: float | None = gauge(
        "C", "job_gpu_temperature_celsius", "Temperature of the chip.", report=True
    )
    memory_temperature_c: float | None = gauge(
        "C", "job_gpu_memory_temperature_celsius", "Temperature of the GPU's memory.", report=True
    )
    sm_pct: float | None = gauge(
        "%", "job_gpu_sm_ratio", "GPU utilization: share of the time in which a kernel ran.",
        report=True,
    )
    mem_pct: float | None = gauge(
        "%", "job_gpu_memory_busy_ratio",
        "Share of the time in which the GPU's memory was read or written.",
    )
    enc_pct: float | None = gauge(
        "%", "job_gpu_encoder_ratio", "Share of the time in which the video encoder was busy."
    )
    dec_pct: float | None = gauge(
        "%", "job_gpu_decoder_ratio", "Share of the time in which the video decoder was busy."
    )
    jpg_pct: float | None = gauge(
        "%", "job_gpu_jpeg_ratio", "Share of the time in which the JPEG engine was busy."
    )
    ofa_pct: float | None = gauge(
        "%", "job_gpu_optical_flow_ratio",
        "Share of the time in which the optical flow engine was busy.",
    )
    memory_clock_mhz: float | None = gauge(
        "MHz", "job_gpu_memory_clock_hertz", "Clock of the GPU's memory.", report=True
    )
    sm_clock_mhz: float | None = gauge(
        "MHz", "job_gpu_sm_clock_hertz", "Clock of the SMs.", report=True
    )
    pcie_rx_mb_s: float | None = gauge(
        "MB/s", "job_gpu_pcie_received_bytes_per_second",
        "Received by the GPU over PCIe, since the tick before.", report=True,
    )
    pcie_tx_mb_s: float | None = gauge(
        "MB/s", "job_gpu_pcie_sent_bytes_per_second",
        "Sent by the GPU over PCIe, since the tick before.", report=True,
    )
    memory_used_mib: float | None = gauge(
        "MiB", "job_gpu_memory_used_bytes", "Memory of the GPU in use.", report=True
    )
    throttle: int | None = gauge(
        "", "job_gpu_throttle_reasons",
        "Reasons that hold the clocks back, in the bits of NVML's mask, whoever made the GPU.",
    )
    energy_j: float | None = counter(
        "J", "job_gpu_energy_joules", "Energy since the driver was loaded.", seldom=True
    )
    # The driver keeps its readings of the last two seconds alone: where more lie between two times
    # that it is asked, the three below are of those two seconds.
    power_max_w: float | None = gauge(
        "W", "job_gpu_power_max_watts",
        "Highest of the driver's own readings of the power, some 20 ms apart.", seldom=True,
    )
    power_min_w: float | None = gauge(
        "W", "job_gpu_power_min_watts",
        "Lowest of the driver's own readings of the power, some 20 ms apart.", seldom=True,
    )
    power_mean_w: float | None = gauge(
        "W", "job_gpu_power_mean_watts",
        "Mean of the driver's own readings of the power, some 20 ms apart.", seldom=True,
    )
    sm_active_pct: float | None = gauge(
        "%", "job_gpu_sm_active_ratio",
        "Share of the time in which an SM had work, all SMs together.", seldom=True, report=True,
    )
    tensor_active_pct: float | None = gauge(
        "%", "job_gpu_tensor_active_ratio",
        "Share of the time in which the tensor cores worked.", seldom=True, report=True,
    )
    dram_active_pct: float | None = gauge(
        "%", "job_gpu_memory_bandwidth_ratio",
        "Traffic of the GPU's memory as a share of its peak bandwidth.", seldom=True,
        report=True,
    )
    nvlink_rx_mb_s: float | None = gauge(
        "MB/s", "job_gpu_nvlink_received_bytes_per_second",
        "Received by the GPU over all NVLinks.", seldom=True,
    )
    nvlink_tx_mb_s: float | None = gauge(
        "MB/s", "job_gpu_nvlink_sent_bytes_per_second",
        "Sent by the GPU over all NVLinks.", seldom=True,
    )
    xid_errors: int | None = counter(
        "", "job_gpu_xid_errors", "Errors the driver reported since the recording began.",
        seldom=True,
    )
    ecc_corrected: int | None = counter(
        "", "job_gpu_ecc_corrected", "Corrected memory errors since the driver was loaded.",
        seldom=True,
    )
    ecc_uncorrected: int | None = counter(
        "", "job_gpu_ecc_uncorrected", "Uncorrected memory errors since the driver was loaded.",
        seldom=True,
    )
    ecc_corrected_ever: int | None = counter(
        "", "job_gpu_ecc_corrected_ever", "Corrected memory errors in the life of the GPU.",
        seldom=True,
    )
    ecc_uncorrected_ever: int | None = counter(
        "", "job_gpu_ecc_uncorrected_ever", "Uncorrected memory errors in the life of the GPU.",
        seldom=True,
    )
    rows_remapped: int | None = gauge(
        "", "job_gpu_rows_remapped", "Rows of the GPU's memory replaced by spare ones.", seldom=True
    )
    remap_pending: int | None = gauge(
        "", "job_gpu_row_remap_pending",
        "1 while a row waits to be replaced, which takes a reset; 0 where none does.", seldom=True,
    )
    remap_failed: int | None = gauge(
        "", "job_gpu_row_remap_failed", "1 where a row could not be replaced, else 0.", seldom=True
    )
    processes: int | None = gauge(
        "", "job_gpu_processes", "Processes that compute on the GPU.", seldom=True
    )
    processes_mib: float | None = gauge(
        "MiB", "job_gpu_processes_memory_bytes", "Memory of the GPU held by processes.", seldom=True
    )
    largest_process_mib: float | None = gauge(
        "MiB", "job_gpu_largest_process_memory_bytes",
        "Memory of the GPU held by the process that holds most.", seldom=True,
    )
    strangers_mib: float | None = gauge(
        "MiB", "job_gpu_strangers_memory_bytes",
        "Memory of the GPU held by processes of other jobs.", seldom=True,
    )
    # fmt: on
