"""The tables of other tools as columns over time, where there is no samples file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import numpy as np

from monitors.analysis.trace import GpuTrace, NodeTrace
from monitors.external.rows import GpuRow, HostRow
from monitors.records import GpuInfo
from monitors.storage.block_arrays import FloatArray

_DAY = 86400.0
UNDATED = 20 * _DAY
"""Where rows without a date are put: a midnight soon after 1970 began."""
_JITTER_S = 1.0
"""A time before that of the row before by more than this is no jitter."""
_ONE_TICK_S = 5.0
"""Rows of different GPUs that are no further apart than this were read at once."""


class TableBuilder:
    """Takes the rows of GPUs and of the node, whose times are local, or missing."""

    def __init__(self) -> None:
        self._gpus: dict[str, dict[float, Mapping[str, float]]] = {}
        self._infos: dict[str, GpuInfo] = {}
        self._clocks: dict[str, float] = {}
        self._host: dict[float, Mapping[str, float]] = {}
        self._gpu_dated: bool | None = None
        self._host_dated: bool | None = None
        self._tick: tuple[float, set[str]] = (0.0, set())
        self._latest: dict[str, float] = {}
        self._unordered = ""

    def add_gpu(self, row: GpuRow) -> None:
        """Take a row of a GPU."""
        rows = self._gpus.setdefault(row.key, {})
        self._infos[row.key] = row.info
        dated = row.when is not None
        if self._gpu_dated is None:
            self._gpu_dated = dated
        if dated != self._gpu_dated:  # a row whose time is damaged belongs nowhere
            return
        if row.clock_s is None:
            moment = _seconds(row.when, len(rows))
        else:
            before = self._clocks.get(row.key, row.clock_s)
            days = before // _DAY + (row.clock_s < before % _DAY - _DAY / 2)
            moment = self._clocks[row.key] = days * _DAY + row.clock_s
            moment += UNDATED
        if dated:
            self._check_order(f"GPU {row.info.index}'s", row.key, row.when, moment)
        rows[self._tick_of(row.key, moment) if dated else moment] = row.values

    def _check_order(self, whose: str, key: str, when: datetime | None, moment: float) -> None:
        """Note where a time is before that of the row before: a clock that was set back."""
        before = self._latest.get(key, moment)
        self._latest[key] = moment
        if before - moment > _JITTER_S and not self._unordered:
            self._unordered = (
                f"{whose} time goes back by {before - moment:,.0f} s, to {when:%Y-%m-%d %H:%M:%S} "
                "(the clock was set back, or the file holds several records): means count all "
                "rows, the duration and what is found over time count that time once"
            )

    def _tick_of(self, key: str, moment: float) -> float:
        """When the first GPU was read of those read together with this one."""
        begin, taken = self._tick
        if key in taken or not 0 <= moment - begin <= _ONE_TICK_S:
            self._tick = begin, taken = moment, set()
        taken.add(key)
        return begin

    def add_host(self, row: HostRow) -> None:
        """Take a row of the node."""
        dated = row.when is not None
        if self._host_dated is None:
            self._host_dated = dated
        if dated == self._host_dated:
            if dated:
                self._check_order("the node's", "", row.when, _seconds(row.when, 0))
            self._host[_seconds(row.when, len(self._host))] = row.values

    def problems(self) -> list[str]:
        """What is not known of the times."""
        found = [self._unordered] if self._unordered else []
        if self._gpu_dated is False and not self._clocks:
            found.append(
                "the GPUs' rows have no date and time (dmon: -o DT; --query-gpu: timestamp): taken "
                "to be a second apart"
            )
        elif self._gpu_dated is False:
            day = ": taken to be of the day of vmstat's" if self._host_dated else ""
            found.append(f"dmon's rows have no date (-o DT){day}")
        if self._host_dated is False:
            found.append("vmstat's rows have no time (-t): taken to be a second apart")
        if self._shift() and found and not (self._clocks and self._host_dated):
            found.append("both tables are taken to begin at the same moment")
        return found

    def trace(self, node: str) -> NodeTrace:
        """What was gathered, in the name of `node`."""
        shift = self._shift()
        gpu_shift = shift if self._host_dated else 0.0
        host_shift = 0.0 if self._host_dated else shift
        gpus = {
            key: {at + gpu_shift: values for at, values in rows.items()}
            for key, rows in self._gpus.items()
        }
        hosts = {at + host_shift: values for at, values in self._host.items()}
        moments = sorted({*hosts, *(at for rows in gpus.values() for at in rows)})
        at = {moment: number for number, moment in enumerate(moments)}
        host = _Table(len(moments))
        for moment, values in hosts.items():
            host.put(at[moment], values)
        traces = []
        for key in sorted(gpus, key=lambda key: (self._infos[key].index, key)):
            table = _Table(len(moments))
            for moment, found in gpus[key].items():
                table.put(at[moment], found)
            traces.append(GpuTrace(self._infos[key], table.columns))
        wall = np.array(moments, dtype=float)
        session = np.zeros(len(wall), dtype=np.int64)
        interval = max(map(_interval, (hosts, *gpus.values())), default=0.0) or 1.0
        return NodeTrace(node, wall, wall, session, host.columns, tuple(traces), interval)

    def _shift(self) -> float:
        """Seconds by which one table is moved onto the other: vmstat's, unless it alone has dates.

        Rows with a time of day alone belong to the day of the other's: the nearest such moment.
        """
        begins = [min(rows) for rows in self._gpus.values() if rows]
        if not begins or not self._host or (self._gpu_dated and self._host_dated):
            return 0.0
        difference = min(begins) - min(self._host)
        if not self._host_dated:
            return difference
        return -round(difference / _DAY) * _DAY if self._clocks else -difference


def _interval(moments: Iterable[float]) -> float:
    """Seconds from one row to the next, in most cases; 0 where there is one row or none."""
    steps = np.diff(np.sort(np.fromiter(moments, dtype=float)))
    return float(np.median(steps)) if len(steps) else 0.0


class _Table:
    def __init__(self, length: int) -> None:
        self._length = length
        self.columns: dict[str, FloatArray] = {}

    def put(self, at: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if name not in self.columns:
                self.columns[name] = np.full(self._length, np.nan)
            self.columns[name][at] = value


def _seconds(when: datetime | None, row: int) -> float:
    """Unix seconds; rows without a time are taken to be a second apart."""
    return float(row) + UNDATED if when is None else when.replace(tzinfo=UTC).timestamp()
