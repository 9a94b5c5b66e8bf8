"""The page's table of GPUs: a row each, with the number that a column is sorted by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from monitors.analysis.analysis import Analysis
from monitors.analysis.summary import GpuSummary

_MIB_A_GIB = 1024


@dataclass(frozen=True)
class GpuTableColumn:
    """One column: its title with the unit, and its value of a GPU."""

    title: str
    value: Callable[[GpuSummary], float | None] | None = None
    """None where the column is a text."""
    decimals: int = 0

    @property
    def number(self) -> bool:
        """Whether it holds numbers."""
        return self.value is not None


@dataclass(frozen=True)
class GpuTableCell:
    """One cell: what is shown, and what it is sorted by; None of a text, "" of an unknown."""

    text: str
    value: float | str | None = None


@dataclass(frozen=True)
class GpuTableRow:
    """One GPU."""

    cells: tuple[GpuTableCell, ...]
    flagged: bool
    """Whether a finding names it."""


def _gib(mib: float | None) -> float | None:
    return None if mib is None else mib / _MIB_A_GIB


COLUMNS = (
    GpuTableColumn("node"),
    GpuTableColumn("GPU", lambda gpu: gpu.index),
    GpuTableColumn("type"),
    GpuTableColumn("utilization, %", lambda gpu: gpu.sm_pct.mean),
    GpuTableColumn("SM activity, %", lambda gpu: gpu.sm_active_pct.mean),
    GpuTableColumn("power, W", lambda gpu: gpu.power_w.mean),
    GpuTableColumn("peak power, W", lambda gpu: gpu.power_w.peak),
    GpuTableColumn("SM clock, MHz", lambda gpu: gpu.sm_clock_mhz.mean),
    GpuTableColumn("peak temperature, °C", lambda gpu: gpu.temperature_c.peak),
    GpuTableColumn("peak memory, GiB", lambda gpu: _gib(gpu.memory_used_mib.peak), 1),
    GpuTableColumn("memory, GiB", lambda gpu: _gib(gpu.memory_total_mib), 1),
)


def rows(analysis: Analysis) -> list[GpuTableRow]:
    """Return a row for each GPU of each node, in the order of the report."""
    flagged = {name for finding in analysis.findings for name in finding.where}
    return [
        GpuTableRow(
            tuple(_cell(column, node.node, gpu) for column in COLUMNS),
            f"{node.node} GPU {gpu.index}" in flagged,
        )
        for node in analysis.report.nodes
        for gpu in node.gpus
    ]


def _cell(column: GpuTableColumn, node: str, gpu: GpuSummary) -> GpuTableCell:
    if column.value is None:
        return GpuTableCell(node if column.title == "node" else gpu.name or "unknown")
    value = column.value(gpu)
    return (
        GpuTableCell("-", "")
        if value is None
        else GpuTableCell(f"{value:,.{column.decimals}f}", value)
    )
