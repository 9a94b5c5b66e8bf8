"""The tables of dmon and vmstat as columns over time, where there is no samples file."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from monitors.analysis.trace import Column, GpuTrace, NodeTrace
from monitors.external.dmon import COLUMNS, DmonRow
from monitors.external.vmstat import VmstatRow
from monitors.records import GpuInfo

_DAY = 86400.0
UNDATED = 20 * _DAY
"""Where rows without a date are put: a midnight soon after 1970 began."""
_DMON = {**{name: name_in_sample for name, _, name_in_sample in COLUMNS}, "fb": "memory_used_mib"}


class TableBuilder:
    """Takes the rows of dmon and vmstat, whose times are local and whole seconds, or missing."""

    def __init__(self) -> None:
        self._gpus: dict[int, dict[float, DmonRow]] = {}
        self._clocks: dict[int, float] = {}
        self._host: dict[float, VmstatRow] = {}
        self._gpu_dated: bool | None = None
        self._host_dated: bool | None = None
        self._zone: str | None = None

    def add_dmon(self, row: DmonRow) -> None:
        """Take a row of dmon."""
        rows = self._gpus.setdefault(row.gpu, {})
        dated = row.when is not None
        if self._gpu_dated is None:
            self._gpu_dated = dated
        if dated != self._gpu_dated:  # a row whose time is damaged belongs nowhere
            return
        if row.clock_s is None:
            moment = _seconds(row.when, len(rows))
        else:
            before = self._clocks.get(row.gpu, row.clock_s)
            days = before // _DAY + (row.clock_s < before % _DAY - _DAY / 2)
            moment = self._clocks[row.gpu] = days * _DAY + row.clock_s
            moment += UNDATED
        rows[moment] = row

    def add_vmstat(self, row: VmstatRow) -> None:
        """Take a row of vmstat."""
        dated = row.when is not None
        if self._host_dated is None:
            self._host_dated = dated
        if dated == self._host_dated:
            self._host[_seconds(row.when, len(self._host))] = row
            self._zone = row.zone or self._zone

    def problems(self) -> list[str]:
        """What is not known of the times."""
        found = []
        if self._gpu_dated is False and not self._clocks:
            found.append("dmon's rows have no time (-o DT): taken to be a second apart")
        elif self._gpu_dated is False:
            found.append("dmon's rows have no date (-o DT)")
        if self._host_dated is False:
            found.append("vmstat's rows have no time (-t): taken to be a second apart")
        if self._shift() and found:
            found.append("both tables are taken to begin at the same moment")
        return found

    def trace(self, node: str) -> NodeTrace:
        """What was gathered, in the name of `node`."""
        shift = self._shift()
        gpu_shift = shift if self._host_dated else 0.0
        host_shift = 0.0 if self._host_dated else shift
        gpus = {
            index: {at + gpu_shift: row for at, row in rows.items()}
            for index, rows in self._gpus.items()
        }
        hosts = {at + host_shift: row for at, row in self._host.items()}
        moments = sorted({*hosts, *(at for rows in gpus.values() for at in rows)})
        at = {moment: number for number, moment in enumerate(moments)}
        host = _Table(len(moments))
        for moment, row in hosts.items():
            host.put(at[moment], _host_values(row))
        traces = []
        for index in sorted(gpus):
            table = _Table(len(moments))
            for moment, found in gpus[index].items():
                table.put(at[moment], _gpu_values(found))
            traces.append(GpuTrace(GpuInfo(index), table.columns))
        wall = np.array(moments, dtype=float)
        steps = np.diff(wall)
        interval = float(np.median(steps)) if len(steps) else 1.0
        session = np.zeros(len(wall), dtype=np.int64)
        return NodeTrace(node, wall, wall, session, host.columns, tuple(traces), interval)

    def _shift(self) -> float:
        """From the begin of the table without dates to that of the other."""
        begins = [min(rows) for rows in self._gpus.values() if rows]
        if not begins or not self._host or bool(self._gpu_dated) == bool(self._host_dated):
            return 0.0
        difference = min(begins) - min(self._host)
        return difference if self._gpu_dated else -difference


class _Table:
    def __init__(self, length: int) -> None:
        self._length = length
        self.columns: dict[str, Column] = {}

    def put(self, at: int, values: dict[str, float | None]) -> None:
        for name, value in values.items():
            if value is not None:
                if name not in self.columns:
                    self.columns[name] = np.full(self._length, np.nan)
                self.columns[name][at] = value


def _gpu_values(row: DmonRow) -> dict[str, float | None]:
    found = {_DMON[name]: value for name, value in row.values.items() if name in _DMON}
    # With -s v: the share of the time under a power cap in percent, and whether it was too hot.
    power, hot = row.values.get("pviol"), row.values.get("tviol")
    if power is not None:
        found["power_capped"] = min(1.0, max(0.0, power / 100))
    if hot is not None:
        found["hot"] = float(hot > 0)
    return found


def _host_values(row: VmstatRow) -> dict[str, float | None]:
    values = row.values
    found: dict[str, float | None] = {}
    if "id" in values and "wa" in values:
        found["cpu_busy_pct"] = max(0, 100 - values["id"] - values["wa"])
        found["cpu_iowait_pct"] = values["wa"]
    if "swpd" in values:
        found["swap_used_mib"] = values["swpd"] / 1024
    if "si" in values and "so" in values:
        found["swap_mib_s"] = (values["si"] + values["so"]) / 1024
    return found


def _seconds(when: datetime | None, row: int) -> float:
    """Unix seconds; rows without a time are taken to be a second apart."""
    return float(row) + UNDATED if when is None else when.replace(tzinfo=UTC).timestamp()
