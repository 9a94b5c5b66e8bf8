"""A node's summary from the tables of other tools alone, for want of a samples file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime

from monitors.analysis.summary import Mean, NodeSummary
from monitors.analysis.tally import HOST_VALUES, GpuTally
from monitors.external.rows import GpuRow, HostRow
from monitors.records import GpuSample

_FIELDS = frozenset(field.name for field in fields(GpuSample))


class TableTally:
    """Gathers rows of GPUs and of the node. What the tables do not tell stays unknown."""

    def __init__(self) -> None:
        self._gpus: dict[str, GpuTally] = {}
        self._gpu_rows: dict[str, int] = {}
        self._host_rows = 0
        self._host = {name: Mean() for name in HOST_VALUES}
        self._errors: dict[str, tuple[float, float]] = {}
        self._first: datetime | None = None
        self._last: datetime | None = None

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return self._host_rows + sum(self._gpu_rows.values())

    def add_gpus(self, rows: Iterable[GpuRow]) -> None:
        """Take rows of GPUs."""
        for row in rows:
            known = {name: value for name, value in row.values.items() if name in _FIELDS}
            gpu = self._gpus.setdefault(row.key, GpuTally(row.info))
            gpu.info = row.info
            gpu.add(GpuSample(row.info.index, **known), 0.0)  # type: ignore[arg-type]  # of its own fields
            self._gpu_rows[row.key] = self._gpu_rows.get(row.key, 0) + 1
            errors = row.values.get("ecc_uncorrected")
            if errors is not None:
                self._errors[row.key] = (self._errors.get(row.key, (errors, 0))[0], errors)
            self._seen(row.when)

    def add_host(self, rows: Iterable[HostRow]) -> None:
        """Take rows of the node."""
        for row in rows:
            for name, gathered in self._host.items():
                gathered.add(row.values.get(name))
            self._host_rows += bool(row.values)
            self._seen(row.when)

    def summary(self, node: str) -> NodeSummary:
        """What was gathered, in the name of `node`."""
        first, last = self._first, self._last
        gpus = (tally.summary() for tally in self._gpus.values())
        return NodeSummary(
            node=node,
            began=first.isoformat(timespec="seconds") if first else None,
            last=last.isoformat(timespec="seconds") if last else None,
            duration_s=(last - first).total_seconds() if first and last else None,
            samples=max(self._host_rows, *self._gpu_rows.values(), 0),
            cpu_busy_pct=self._host["cpu_busy_pct"].stat(),
            cpu_iowait_pct=self._host["cpu_iowait_pct"].stat(),
            swap_used_mib=self._host["swap_used_mib"].stat(),
            gpus=tuple(sorted(gpus, key=lambda gpu: (gpu.index, gpu.uuid or ""))),
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterable[str]:
        for key, (first, last) in self._errors.items():
            if last > first:
                index = self._gpus[key].info.index
                yield f"GPU {index}: {last - first:.0f} uncorrected ECC errors while recorded"

    def _seen(self, when: datetime | None) -> None:
        if when is not None:
            self._first = when if self._first is None else min(self._first, when)
            self._last = when if self._last is None else max(self._last, when)
