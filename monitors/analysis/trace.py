"""One node's record as columns over time: what the plots and the findings are made from."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitors.records import GpuInfo, GpuTable, Record, Start, Tick
from monitors.samples.fields import known_values
from monitors.storage.block_arrays import FloatArray, TickArrays

_NAN = float("nan")
_PLAUSIBLE = (1e6, 1e11)
"""Unix seconds. A moment outside is garbage, and would stretch the axis over millennia."""
_JUMP_S = 2.0


@dataclass(frozen=True)
class GpuTrace:
    """One GPU. Columns are as long as the node's; not a number where a value is not known."""

    info: GpuInfo
    columns: dict[str, FloatArray]


@dataclass(frozen=True)
class NodeTrace:
    """One node. `wall` is in Unix seconds; a table without a zone counts as UTC."""

    node: str
    wall: FloatArray
    mono: FloatArray
    session: NDArray[np.int64]
    """Number of the start each sample belongs to: counters are not compared across starts."""
    host: dict[str, FloatArray]
    gpus: tuple[GpuTrace, ...] = ()
    interval_s: float = 1.0
    utc_offset_s: int = 0
    clock_jumps: int = 0
    """How often the node's clock was set while it was recorded. The times here do not jump."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Values of one column in neighbouring rows, or in some of them."""

    begin: int
    values: FloatArray
    rows: NDArray[np.intp] | None = None
    """Which rows, counted from `begin`; None where they are all that follow."""


class _Columns:
    """Columns that grow together; one that is first seen late is unknown before."""

    def __init__(self) -> None:
        self._runs: dict[str, list[_Run]] = {}
        self._growing: dict[str, tuple[int, array[float]]] = {}

    def put(self, at: int, name: str, value: float) -> None:
        begin, column = self._growing.setdefault(name, (at, array("d")))
        missing = at - begin - len(column)
        if missing > 0:
            column.extend((_NAN,) * missing)
        if missing >= 0:
            column.append(value)
        else:
            column[at - begin] = value

    def put_run(self, name: str, run: _Run) -> None:
        self._runs.setdefault(name, []).append(run)
        self._settle()

    def _settle(self) -> None:
        """What grew value by value becomes a run: what comes after the new one begins another."""
        for name, (begin, column) in self._growing.items():
            self._runs.setdefault(name, []).append(_Run(begin, np.array(column)))
        self._growing.clear()

    def arrays(self, length: int) -> dict[str, FloatArray]:
        self._settle()
        found = {}
        for name, runs in self._runs.items():
            if len(runs) == 1 and runs[0].rows is None and len(runs[0].values) == length:
                found[name] = runs[0].values
                continue
            whole = np.full(length, np.nan)
            for run in runs:
                if run.rows is None:
                    whole[run.begin : run.begin + len(run.values)] = run.values
                else:
                    whole[run.begin + run.rows] = run.values
            found[name] = whole
        return found


@dataclass
class _GpuColumns:
    info: GpuInfo
    columns: _Columns = field(default_factory=_Columns)


class TraceBuilder:
    """Takes the records of a samples file in their order."""

    def __init__(self) -> None:
        self._wall, self._mono, self._session = array("d"), array("d"), array("q")
        self._host = _Columns()
        self._gpus: dict[str, _GpuColumns] = {}
        self._table: dict[int, _GpuColumns] = {}
        self._starts = self._jumps = 0
        self._offset = 0
        self._interval = 1.0
        self._anchor: tuple[float, float] | None = None
        self._ahead = 0.0

    def add(self, record: Record) -> None:
        """Take one record."""
        match record:
            case Start():
                self._starts += 1
                self._offset = record.utc_offset_s if abs(record.utc_offset_s) < 86400 else 0
                if 0.01 <= record.interval_s <= 86400:
                    self._interval = float(record.interval_s)
                self._anchor, self._ahead = (record.wall, record.mono), 0.0
                self._set_table(record.gpus)
            case GpuTable():
                self._set_table(record.gpus)
            case Tick():
                self._tick(record)

    def add_ticks(self, ticks: TickArrays) -> bool:
        """Take the ticks of a block; False where they have to be taken one by one."""
        wall, mono = self._anchor or (float(ticks.wall[0]), float(ticks.mono[0]))
        steady = wall + (ticks.mono - mono)
        ahead = np.abs(ticks.wall - steady - self._ahead)
        if ahead.max() > _JUMP_S or steady.min() <= _PLAUSIBLE[0] or steady.max() >= _PLAUSIBLE[1]:
            return False
        self._anchor = (wall, mono)
        at, count = len(self._wall), len(steady)
        self._wall.frombytes(steady.tobytes())
        self._mono.frombytes(ticks.mono.tobytes())
        self._session.extend((self._starts,) * count)
        for name, values in ticks.host.items():
            self._host.put_run(name, _Run(at, values))
        rows = None if len(ticks.answered) == count else ticks.answered
        for row, index in enumerate(ticks.gpus if len(ticks.answered) else ()):
            columns = self._gpu(index).columns
            for name, rows_of_gpus in ticks.gpu_values.items():
                values = rows_of_gpus[row]
                if not np.isnan(values[0]) or not np.isnan(values).all():
                    columns.put_run(name, _Run(at, values, rows))
        return True

    def trace(self, node: str) -> NodeTrace:
        """What was gathered, in the name of `node`."""
        length = len(self._wall)
        gpus = (
            GpuTrace(gpu.info, gpu.columns.arrays(length))
            for gpu in sorted(self._gpus.values(), key=lambda g: (g.info.index, g.info.uuid or ""))
        )
        return NodeTrace(
            node,
            np.array(self._wall),
            np.array(self._mono),
            np.array(self._session),
            self._host.arrays(length),
            tuple(gpus),
            self._interval,
            self._offset,
            self._jumps,
        )

    def _set_table(self, gpus: Iterable[GpuInfo]) -> None:
        self._table = {
            info.index: self._gpus.setdefault(
                info.uuid or f"number {info.index}", _GpuColumns(info)
            )
            for info in gpus
        }

    def _tick(self, tick: Tick) -> None:
        wall = self._moment(tick)
        if not _PLAUSIBLE[0] < wall < _PLAUSIBLE[1]:
            return
        at = len(self._wall)
        self._wall.append(wall)
        self._mono.append(tick.mono)
        self._session.append(self._starts)
        for name, value in known_values(tick.host).items():
            self._host.put(at, name, value)
        for sample in tick.gpus or ():
            gpu = self._gpu(sample.index)
            for name, value in known_values(sample).items():
                gpu.columns.put(at, name, value)

    def _gpu(self, index: int) -> _GpuColumns:
        gpu = self._table.get(index)
        if gpu is None:
            gpu = self._gpus.setdefault(f"number {index}", _GpuColumns(GpuInfo(index)))
            self._table[index] = gpu
        return gpu

    def _moment(self, tick: Tick) -> float:
        """The tick's time: that of the start, moved on by the clock that nobody can set."""
        if self._anchor is None:
            self._anchor = (tick.wall, tick.mono)
        wall, mono = self._anchor
        steady = wall + (tick.mono - mono)
        ahead = tick.wall - steady
        if abs(ahead - self._ahead) > _JUMP_S:
            self._jumps += 1
            self._ahead = ahead
        return steady
