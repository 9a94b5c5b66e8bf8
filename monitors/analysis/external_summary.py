"""A node's summary from its dmon and vmstat tables alone, for when the samples file is no use."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from monitors.analysis.summary import Mean, NodeSummary
from monitors.analysis.tally import GpuTally
from monitors.external.dmon import COLUMNS, DmonRow
from monitors.external.vmstat import VmstatRow
from monitors.records import GpuInfo, GpuSample

# `fb` is there when someone recorded dmon by hand with -s m.
_FIELDS = {**{name: field for name, _, field in COLUMNS}, "fb": "memory_used_mib"}


class TableTally:
    """Gathers rows of both tables. What the tables do not tell stays unknown."""

    def __init__(self) -> None:
        self._gpus: dict[int, GpuTally] = {}
        self._gpu_rows: dict[int, int] = {}
        self._host_rows = 0
        self._busy, self._iowait, self._swap = Mean(), Mean(), Mean()
        self._first: datetime | None = None
        self._last: datetime | None = None

    def add_dmon(self, rows: Iterable[DmonRow]) -> None:
        """Take rows of dmon."""
        for row in rows:
            known = {_FIELDS[name]: value for name, value in row.values.items() if name in _FIELDS}
            gpu = self._gpus.setdefault(row.gpu, GpuTally(GpuInfo(row.gpu)))
            gpu.add(GpuSample(row.gpu, **known), 0.0)  # type: ignore[arg-type]  # of its own fields
            self._gpu_rows[row.gpu] = self._gpu_rows.get(row.gpu, 0) + 1
            self._seen(row.when)

    def add_vmstat(self, rows: Iterable[VmstatRow]) -> None:
        """Take rows of vmstat."""
        for row in rows:
            values = row.values
            if "id" in values and "wa" in values:
                # The shares are rounded one by one and can add up to 101.
                self._busy.add(max(0, 100 - values["id"] - values["wa"]))
                self._iowait.add(values["wa"])
            self._swap.add(values["swpd"] / 1024 if "swpd" in values else None)
            self._host_rows += 1
            self._seen(row.when)

    def summary(self, node: str) -> NodeSummary:
        """What was gathered, in the name of `node`."""
        first, last = self._first, self._last
        return NodeSummary(
            node=node,
            began=first.isoformat() if first else None,
            last=last.isoformat() if last else None,
            duration_s=(last - first).total_seconds() if first and last else None,
            samples=max(self._host_rows, *self._gpu_rows.values(), 0),
            cpu_busy_pct=self._busy.stat(),
            cpu_iowait_pct=self._iowait.stat(),
            swap_used_mib=self._swap.stat(),
            gpus=tuple(self._gpus[index].summary() for index in sorted(self._gpus)),
        )

    def _seen(self, when: datetime | None) -> None:
        if when is not None:
            self._first = when if self._first is None else min(self._first, when)
            self._last = when if self._last is None else max(self._last, when)
