"""A node's summary from whole blocks at a time: the same figures as tick by tick, much faster."""

from __future__ import annotations

import numpy as np

from monitors.analysis.summary import SHORT, Growth, Mean
from monitors.analysis.tally import GPU_VALUES, HOST_VALUES, TRAFFIC, GpuTally, NodeTally
from monitors.records import GpuInfo, OwnCost
from monitors.storage.block_arrays import FloatArray, TickArrays

HOST_WANTED = (
    *HOST_VALUES, "mem_total_mib", "cgroup_limit_mib", *(f"{name}_bytes" for name in TRAFFIC)
)  # fmt: skip
GPU_WANTED = (*GPU_VALUES, "energy_j")


class ArrayTally(NodeTally):
    """Takes blocks beside records, in the order of the file."""

    def add_ticks(self, ticks: TickArrays) -> None:
        """Take the ticks of a block."""
        numbers, mono = ticks.n, ticks.mono
        session = self._open or self._begin_session(float(mono[0]), int(numbers[0]))
        session.missed += max(0, int(numbers[0]) - session.next)
        session.missed += int(np.maximum(0, np.diff(numbers) - 1).sum())
        session.next = int(numbers[-1]) + 1
        self._samples += len(numbers)
        self._began = self._began or self._iso(float(ticks.wall[0]))
        self._last = self._iso(float(ticks.wall[-1]))
        self._owned(ticks)
        session.last = max(session.last, float(mono.max()))
        for name, gathered in self._values.items():
            if name in ticks.host:
                _add(gathered, ticks.host[name])
        for name, growth in self._traffic.items():
            if f"{name}_bytes" in ticks.host:
                _grow(growth, ticks.host[f"{name}_bytes"], mono)
        self._memory_total = _newest(ticks.host.get("mem_total_mib"), self._memory_total)
        self._limit = _newest(ticks.host.get("cgroup_limit_mib"), self._limit)
        silent = len(numbers) - len(ticks.answered)
        if not self._table and len(ticks.answered):  # that there are GPUs is known from then on
            silent -= int(ticks.answered[0]) * bool(ticks.gpus)
        if self._table or (ticks.gpus and len(ticks.answered)):
            self._gpu_missed += silent
        self._cards(ticks)

    def _owned(self, ticks: TickArrays) -> None:
        unknown = np.full(len(ticks.n), np.nan)
        spent, size = ticks.own.get("cpu_s", unknown), ticks.own.get("max_rss_kib", unknown)
        for at in np.flatnonzero(~(np.isnan(spent) & np.isnan(size))):
            if self._open is not None:
                self._open.last = max(self._open.last, float(ticks.mono[: at + 1].max()))
            self._own(OwnCost(_known(spent[at]), _known(size[at])))

    def _cards(self, ticks: TickArrays) -> None:
        if not len(ticks.answered):
            return
        tallies = [self._card(index) for index in ticks.gpus]
        known_rows = np.zeros((len(tallies), len(ticks.answered)), dtype=bool)
        for name in GPU_VALUES:
            values = ticks.gpu_values.get(name)
            if values is None:
                continue
            counts = np.full(len(tallies), values.shape[1])
            totals, peaks = values.sum(axis=1), values.max(axis=1)
            if np.isnan(totals).any():
                known = ~np.isnan(values)
                counts, totals = known.sum(axis=1), np.where(known, values, 0.0).sum(axis=1)
                peaks = np.fmax.reduce(values, axis=1)
                known_rows |= known
            else:
                known_rows[:] = True
            merged = zip(tallies, totals.tolist(), peaks.tolist(), counts.tolist(), strict=True)
            for tally, total, peak, count in merged:
                tally.values[name].merge(total, peak, count)
        mono = ticks.mono[ticks.answered]
        joules = ticks.gpu_values.get("energy_j")
        for row, tally in enumerate(tallies):
            tally.samples += int(known_rows[row].sum())
            if joules is not None:
                _grow(tally.energy, joules[row], mono)

    def _card(self, index: int) -> GpuTally:
        tally = self._table.get(index)
        if tally is None:
            tally = self._gpus.setdefault(f"number {index}", GpuTally(GpuInfo(index)))
            self._table[index] = tally
        return tally


def _add(mean: Mean, values: FloatArray) -> None:
    total = values.sum()
    if np.isnan(total):
        values = values[~np.isnan(values)]
        total = values.sum()
    if len(values):
        mean.merge(float(total), float(values.max()), len(values))


def _grow(growth: Growth, values: FloatArray, mono: FloatArray) -> None:
    known = ~np.isnan(values)
    if not known.all():
        values, mono = values[known], mono[known]
    if not len(values):
        return
    growth.add(float(values[0]), float(mono[0]))
    grown, passed = values[1:] - values[:-1], mono[1:] - mono[:-1]
    good = (grown >= 0) & (passed > SHORT)
    if not good.all():
        grown, passed = grown[good], passed[good]
    if len(grown):
        peak = float((grown / passed).max())
        growth.merge(float(grown.sum()), float(passed.sum()), peak, len(grown))
    growth.restart()
    growth.add(float(values[-1]), float(mono[-1]))


def _newest(values: FloatArray | None, before: float | None) -> float | None:
    if values is None:
        return before
    known = values[~np.isnan(values)]
    return float(known[-1]) if len(known) else before


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
