"""Which plots the page has: a chosen few, and one for any other value that a finding rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from monitors.analysis.columns import GPU_LOADED, HOST_LOADED
from monitors.analysis.finding import Finding
from monitors.samples.fields import GPU_METRICS, HOST_METRICS

_MIB_A_GIB = 1024
_MB_A_GB = 1000
_PERCENT_TOP = 100.0
"""Top of an axis in percent."""


@dataclass(frozen=True)
class Chart:
    """One chart of a node: which columns it shows, and its axis."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    """Columns, each with its label; of a chart of GPUs one column, a line for each GPU."""
    of: Literal["gpu", "host"] = "gpu"
    top: float | None = None
    """Upper end of the axis, in `unit`; None: a round number above all nodes' values."""
    from_zero: bool = True
    scale: float = 1.0
    """What a recorded value is divided by to be in `unit`."""
    limit: Literal["power_limit_w", "memory_total_mib"] | None = None
    """What the GPU cannot exceed, as a dashed line."""

    @property
    def key(self) -> str:
        """Name of the chart in the page's anchors: its first column."""
        return self.lines[0][0]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the chart shows."""
        return tuple(column for column, _ in self.lines)


def _of_gpus(column: str, title: str, unit: str, **options: Any) -> Chart:
    return Chart(title, unit, ((column, ""),), **options)


CHARTS = (
    _of_gpus("sm_pct", "GPU utilization", "%", top=_PERCENT_TOP),
    _of_gpus("sm_active_pct", "SM activity", "%", top=_PERCENT_TOP),
    _of_gpus("tensor_active_pct", "Tensor core activity", "%", top=_PERCENT_TOP),
    _of_gpus("power_w", "GPU power", "W", limit="power_limit_w"),
    _of_gpus("sm_clock_mhz", "SM clock", "MHz", from_zero=False),
    _of_gpus("temperature_c", "GPU temperature", "°C", from_zero=False),
    _of_gpus("memory_used_mib", "GPU memory", "GiB", scale=_MIB_A_GIB, limit="memory_total_mib"),
    _of_gpus("nvlink_mb_s", "NVLink, in and out", "GB/s", scale=_MB_A_GB),
    Chart(
        "CPU",
        "%",
        (("cpu_busy_pct", "busy"), ("cpu_iowait_pct", "waiting for I/O")),
        of="host",
        top=_PERCENT_TOP,
    ),
    Chart(
        "Main threads of the ranks",
        "%",
        (("rank_ran_pct", "running"), ("rank_queued_pct", "waiting for a core")),
        of="host",
        top=_PERCENT_TOP,
    ),
    Chart(
        "Pressure (PSI some)",
        "%",
        (("psi_cpu_pct", "CPU"), ("psi_memory_pct", "memory"), ("psi_io_pct", "I/O")),
        of="host",
        top=_PERCENT_TOP,
    ),
    Chart(
        "Host memory",
        "GiB",
        (("mem_used_mib", "node"), ("cgroup_mem_mib", "job"), ("swap_used_mib", "swap")),
        of="host",
        scale=_MIB_A_GIB,
    ),
    Chart(
        "Network",
        "MB/s",
        (
            ("net_rx_mb_s", "Ethernet in"),
            ("net_tx_mb_s", "Ethernet out"),
            ("ib_rx_mb_s", "InfiniBand in"),
            ("ib_tx_mb_s", "InfiniBand out"),
        ),
        of="host",
    ),
)
"""Every chart, in the order of the page."""


def charts_for(findings: Iterable[Finding]) -> tuple[Chart, ...]:
    """Return the charts of a page: CHARTS, then one for each other column that has a plot by its
    declaration, or that a finding names.
    """
    shown = {column for chart in CHARTS for column in chart.columns}
    declared = (name for name, metric in (GPU_METRICS | HOST_METRICS).items() if metric.plot)
    named = (column for finding in findings for column in finding.columns)
    others = dict.fromkeys(column for column in (*declared, *named) if column not in shown)
    charts = (*CHARTS, *(_declared(column) for column in others))
    return tuple(sorted(charts, key=lambda chart: chart.of != "gpu"))


def _declared(column: str) -> Chart:
    """A chart of a column that has none, by what is declared of it in `monitors.samples`.

    Raises LookupError where no such column is loaded.
    """
    if column not in GPU_LOADED | HOST_LOADED:
        raise LookupError(f"a finding names column {column!r}, which is not loaded")
    of_gpus = column in GPU_LOADED
    metric = (GPU_METRICS if of_gpus else HOST_METRICS).get(column)
    title = column.replace("_", " ")
    if metric is not None:
        title = metric.plot or metric.help.partition(".")[0]
    unit = "" if metric is None else metric.unit.replace("C", "°C")
    return Chart(
        title,
        unit,
        ((column, "" if of_gpus else title),),
        of="gpu" if of_gpus else "host",
        top=_PERCENT_TOP if unit == "%" else None,
        from_zero=unit not in ("MHz", "°C"),
    )
