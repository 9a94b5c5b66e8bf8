"""The loop of the sidecar: wait for the deadline, sample, append one tick."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from monitors.external.vmstat import COLUMNS
from monitors.recorder.gpu_thread import GpuSamplerThread
from monitors.recorder.interfaces import Clock, HostSource, Sink
from monitors.recorder.processes import FenceWatch, ParentWatch, own_cost
from monitors.records import End, GpuTable, Note, Record, Start, Tick
from monitors.storage.formats import json_lines

OPEN_TIMEOUT_S = 3.0
"""How long the recording waits for the driver to list the GPUs before it begins without them."""
OWN_COST_EVERY = 30
"""Ticks between two notes of the sidecar's own cost, for jobs that are killed before the end."""
_SLICE_S = 1.0


@dataclass(frozen=True)
class Settings:
    """What to record."""

    node: str
    interval_s: float = 1.0
    parent: int | None = None
    """End with this process."""
    fence_file: Path | None = None
    """End when this file holds another text than `fence_token`."""
    fence_token: str = ""


class Recorder:
    """Records one node into `sink` until told to stop."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        host: HostSource,
        gpus: GpuSamplerThread,
        sink: Sink,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._host, self._gpus = host, gpus
        self._parent = ParentWatch(settings.parent)
        self._fence = FenceWatch(settings.fence_file, settings.fence_token)
        self._sink = sink
        self._ticks = 0
        self._missed = self._lost_writes = 0
        self._table_known = self._gpus_awaited = False
        self._last_reported_problem: str | None = None
        self._killed: int | None = None

    def run(self) -> str:
        """Record; returns why it ended."""
        try:
            reason = self._loop()
            self._record(self._end(reason))
        except Exception as error:  # noted in the record, too: its reader may not have the log
            self._record(self._end(f"failed: {type(error).__name__}: {error}"))
            raise
        finally:
            self._sink.close()
        return reason

    def _loop(self) -> str:
        reason = self._await_gpus()
        begin = self._clock.mono()
        self._record(self._start(begin))
        number = 0
        while reason is None:
            # Deadlines are counted from the beginning, so no delay adds up.
            reason = self._wait_until(begin + (number + 1) * self._settings.interval_s)
            if reason is None:
                passed = int((self._clock.mono() - begin) / self._settings.interval_s) - 1
                due = max(number, passed)
                self._missed += due - number
                self._tick(due)
                number = due + 1
                if self._fence.changed():
                    reason = "another attempt records here"
        return reason

    def _await_gpus(self) -> str | None:
        timeout_s = self._clock.mono() + OPEN_TIMEOUT_S
        while not self._gpus.opened and self._clock.mono() < timeout_s:
            reason = self._clock.wait(0.02)
            if reason is not None:
                return reason
        return None

    def _wait_until(self, deadline: float) -> str | None:
        while True:
            left = deadline - self._clock.mono()
            reason = self._clock.wait(min(max(left, 0.0), _SLICE_S))
            if reason is not None:
                return reason
            if self._parent.gone():
                return "the watched process has ended"
            if self._clock.mono() >= deadline:
                return None

    def _start(self, mono: float) -> Start:
        wall = self._clock.wall()
        local = time.localtime(wall)
        problem = self._gpus.problem
        self._table_known = bool(self._gpus.table)
        self._gpus_awaited = not self._gpus.opened
        return Start(
            node=self._settings.node,
            wall=round(wall, 3),
            mono=round(mono, 3),
            zone=local.tm_zone,
            utc_offset_s=local.tm_gmtoff,
            interval_s=self._settings.interval_s,
            gpus=self._gpus.table,
            gpu_problem=problem,
        )

    def _tick(self, number: int) -> None:
        wall, mono = self._clock.wall(), self._clock.mono()
        timeout_s = min(0.4 * self._settings.interval_s, 0.5)
        gpus = self._gpus.sample(number, timeout_s)
        host, row = self._host.sample()
        if self._gpus.table and not self._table_known:
            self._table_known = True
            self._record(GpuTable(self._gpus.table))
        if self._gpus_awaited and self._gpus.opened:
            self._gpus_awaited = False
            if self._gpus.problem is not None:
                self._record(Note(round(wall, 3), f"no GPU is sampled: {self._gpus.problem}"))
        for text in self._gpus.notes():
            self._record(Note(round(wall, 3), text))
        killed, self._killed = self._killed, host.oom_kills
        if killed is not None and host.oom_kills is not None and host.oom_kills > killed:
            more = host.oom_kills - killed
            what = "a process" if more == 1 else f"{more} processes"
            self._record(Note(round(wall, 3), f"the kernel killed {what} of the job for memory"))
        own = own_cost() if self._ticks % OWN_COST_EVERY == 0 else None
        table = None if row is None else tuple(row[name] for name in COLUMNS)
        self._record(Tick(number, round(wall, 3), round(mono, 3), host, gpus, own, table))
        self._ticks += 1
        self._sink.maybe_compact()
        problem = self._sink.problem
        if problem != self._last_reported_problem:
            self._last_reported_problem = problem
            self._record(Note(round(wall, 3), f"samples are no longer packed: {problem}"))

    def _end(self, reason: str) -> End:
        wall = round(self._clock.wall(), 3)
        return End(wall, reason, self._ticks, self._missed, own_cost(), self._lost_writes)

    def _record(self, record: Record) -> None:
        self._lost_writes += not self._sink.append(json_lines.line(record))
