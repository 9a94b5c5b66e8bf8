"""What any log of another tool is read into: rows in this project's names and units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitors.records import GpuInfo
from monitors.samples.fields import GPU_METRICS, HOST_METRICS

_HIGHEST = {
    "%": 100.0,
    "W": 1e4,
    "C": 200.0,
    "MHz": 1e5,
    "MB/s": 1e7,
    "MiB": 1e9,
    "MiB/s": 1e7,
    "": 2.0**53,
}
"""By unit: no such value is higher. What is, is a counter that wrapped around, or garbage."""
FLAGS = ("power_capped", "hot", "held_back")
"""Shares from 0 to 1 of the time in which the clocks of a GPU were held back, and why."""
RUNNABLE = "runnable"
"""Threads of a node that ran or waited for a core, by vmstat's `r`."""


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One GPU at one moment."""

    info: GpuInfo
    when: datetime | None
    """Local time without a zone."""
    values: Mapping[str, float]
    """The known values, by the fields of `GpuSample` and by `FLAGS`."""
    clock_s: float | None = None
    """Seconds since midnight, where only the time of day is known."""

    @property
    def key(self) -> str:
        """What identifies the GPU: after a requeue another one can have the same number."""
        return self.info.uuid or self.info.pci_bus or f"number {self.info.index}"


@dataclass(frozen=True, slots=True)
class HostRow:
    """One node at one moment."""

    when: datetime | None
    """Local time without a zone."""
    values: Mapping[str, float]
    """The known values, by the fields of `HostSample` and by `RUNNABLE`."""


@dataclass
class Remarks:
    """What a reader found out about a file beside its rows."""

    skipped: int = 0
    """Lines that make no sense."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Values that cannot be, by the column's name."""
    problems: list[str] = field(default_factory=list)
    """What is not known, or was taken for granted."""
    notes: list[str] = field(default_factory=list)
    """Other things worth telling."""

    def texts(self) -> list[str]:
        """Return all that is wrong, as sentences."""
        found = []
        if self.skipped:
            lines = "1 line makes" if self.skipped == 1 else f"{self.skipped} lines make"
            found.append(f"{lines} no sense and cannot be counted")
        for column, number in self.left_out.items():
            many = f"{number} values of {column} are" if number > 1 else f"1 value of {column} is"
            found.append(f"{many} beyond what can be (a counter wrapped around?) and left out")
        return found + self.problems


def plausible(name: str, value: float) -> bool:
    """Whether a value of a `GpuSample` or `HostSample` field can be true, by its unit."""
    metric = GPU_METRICS.get(name) or HOST_METRICS[name]
    return 0 <= value <= _HIGHEST.get(metric.unit, 1e24)
