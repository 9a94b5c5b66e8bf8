"""CSV, JSON lines and OpenMetrics."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO

from monitors.exports.rows import GPU_FIELDS, HOST_FIELDS, Row, Source, rows

_HEAD = ("time", "node", "gpu")
_MIB = 1024 * 1024
_SPOOL = 1 << 20
FAMILIES: dict[str, tuple[str, str, float]] = {
    # name of a value: family, unit, factor. Counters say so by their names.
    "power_w": ("job_gpu_power_watts", "watts", 1),
    "temperature_c": ("job_gpu_temperature_celsius", "celsius", 1),
    "memory_temperature_c": ("job_gpu_memory_temperature_celsius", "celsius", 1),
    "sm_pct": ("job_gpu_sm_ratio", "ratio", 0.01),
    "mem_pct": ("job_gpu_memory_busy_ratio", "ratio", 0.01),
    "enc_pct": ("job_gpu_encoder_ratio", "ratio", 0.01),
    "dec_pct": ("job_gpu_decoder_ratio", "ratio", 0.01),
    "jpg_pct": ("job_gpu_jpeg_ratio", "ratio", 0.01),
    "ofa_pct": ("job_gpu_optical_flow_ratio", "ratio", 0.01),
    "memory_clock_mhz": ("job_gpu_memory_clock_hertz", "hertz", 1e6),
    "sm_clock_mhz": ("job_gpu_sm_clock_hertz", "hertz", 1e6),
    "pcie_rx_mb_s": ("job_gpu_pcie_received_bytes_per_second", "", 1e6),
    "pcie_tx_mb_s": ("job_gpu_pcie_sent_bytes_per_second", "", 1e6),
    "memory_used_mib": ("job_gpu_memory_used_bytes", "bytes", _MIB),
    "throttle": ("job_gpu_throttle_reasons", "", 1),
    "energy_j": ("job_gpu_energy_joules", "joules", 1),
    "cpu_busy_pct": ("job_node_cpu_busy_ratio", "ratio", 0.01),
    "cpu_iowait_pct": ("job_node_cpu_iowait_ratio", "ratio", 0.01),
    "load1": ("job_node_load1", "", 1),
    "mem_used_mib": ("job_node_memory_used_bytes", "bytes", _MIB),
    "mem_total_mib": ("job_node_memory_total_bytes", "bytes", _MIB),
    "swap_used_mib": ("job_node_swap_used_bytes", "bytes", _MIB),
    "cgroup_mem_mib": ("job_cgroup_memory_used_bytes", "bytes", _MIB),
    "cgroup_limit_mib": ("job_cgroup_memory_limit_bytes", "bytes", _MIB),
    "net_rx_bytes": ("job_node_network_received_bytes", "bytes", 1),
    "net_tx_bytes": ("job_node_network_sent_bytes", "bytes", 1),
    "ib_rx_bytes": ("job_node_infiniband_received_bytes", "bytes", 1),
    "ib_tx_bytes": ("job_node_infiniband_sent_bytes", "bytes", 1),
    "swap_mib_s": ("job_node_swap_moved_bytes_per_second", "", _MIB),
    "psi_cpu_pct": ("job_node_pressure_cpu_ratio", "ratio", 0.01),
    "psi_memory_pct": ("job_node_pressure_memory_ratio", "ratio", 0.01),
    "psi_io_pct": ("job_node_pressure_io_ratio", "ratio", 0.01),
    "cgroup_cpu_s": ("job_cgroup_cpu_seconds", "seconds", 1),
    "cgroup_throttled_s": ("job_cgroup_throttled_seconds", "seconds", 1),
    "oom_kills": ("job_cgroup_oom_kills", "", 1),
}


def csv_text(sources: Iterable[Source]) -> Iterator[str]:
    """One table: rows of the host have no `gpu`; what is not known is blank."""
    names = (*GPU_FIELDS, *HOST_FIELDS)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")

    def line(cells: Iterable[object]) -> str:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(cells)
        return buffer.getvalue()

    yield line((*_HEAD, *names))
    for source in sources:
        for row in rows(source):
            gpu = "" if row.gpu is None else row.gpu
            yield line((row.time, row.node, gpu, *(row.values.get(name, "") for name in names)))


def json_text(sources: Iterable[Source]) -> Iterator[str]:
    """One object a line; what is not known is left out."""
    for source in sources:
        for row in rows(source):
            head: dict[str, str | int] = {"time": row.time, "node": row.node}
            if row.gpu is not None:
                head["gpu"] = row.gpu
            if row.uuid is not None:
                head["uuid"] = row.uuid
            yield json.dumps(head | row.values, separators=(",", ":")) + "\n"


def openmetrics_text(sources: Iterable[Source]) -> Iterator[str]:
    """With the times of the samples, so that it can be loaded after the fact.

    Of a clock that was set back the samples until it had caught up are left out: the format wants
    times that grow.
    """
    with ExitStack() as stack:
        # The format wants all samples of a family together, and in it those of one GPU; the
        # record has them by time. So one node at a time is held in memory.
        spools: dict[str, IO[str]] = {}
        for source in sources:
            for (name, labels), (walls, values) in _series(source).items():
                if name not in spools:
                    spools[name] = stack.enter_context(
                        tempfile.SpooledTemporaryFile(_SPOOL, "w+", encoding="utf-8")
                    )
                factor = FAMILIES[name][2]
                for wall, value in zip(walls, values, strict=True):
                    shown = value if factor == 1 else round(value * factor, 6)
                    spools[name].write(f"{{{labels}}} {shown!r} {wall:.3f}\n")
        for name, (family, unit, _) in FAMILIES.items():
            if name not in spools:
                continue
            yield f"# TYPE {family} gauge\n"
            if unit:
                yield f"# UNIT {family} {unit}\n"
            spools[name].seek(0)
            for line in spools[name]:
                yield family + line
    yield "# EOF\n"


def _series(source: Source) -> dict[tuple[str, str], tuple[array[float], array[float]]]:
    """Times and values of one node by value and labels."""
    found: dict[tuple[str, str], tuple[array[float], array[float]]] = {}
    for row in rows(source):
        labels = _labels(row)
        for name, value in row.values.items():
            walls, values = found.setdefault((name, labels), (array("d"), array("d")))
            if not walls or row.wall > walls[-1] + 0.0005:
                walls.append(row.wall)
                values.append(value)
    return found


def _labels(row: Row) -> str:
    labels = {"node": row.node}
    if row.gpu is not None:
        labels["gpu"] = str(row.gpu)
        if row.uuid is not None:
            labels["uuid"] = row.uuid
    return ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
