"""AWS Trainium, by what `neuron-monitor` prints: a report in JSON, one a line, once a second."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from monitors.recorder.devices.neuron_report import (
    core_samples,
    core_table,
    ecc_errors,
    visible_cores,
)
from monitors.recorder.interfaces import DeviceError
from monitors.records import GpuInfo, GpuSample

PERIOD_S = 1
"""Seconds between two reports."""
FIRST_REPORT_S = 30.0
"""How long the first report may take."""
STALE_S = 5.0
"""A report older than this says nothing of now."""
LONGEST_REPORT = 16 * 2**20
"""Bytes of one report; what is longer is none."""

_CONFIG = {
    "period": f"{PERIOD_S}s",
    "neuron_runtimes": [
        {
            "tag_filter": ".*",
            "metrics": [{"type": "neuroncore_counters"}, {"type": "memory_used"}],
        }
    ],
    "system_metrics": [{"type": "neuron_hw_counters"}],
}


class NeuronSource:
    """The NeuronCores of this job, a `monitors.recorder.interfaces.DeviceSource`."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._cores: list[int] = []
        self._newest: tuple[float, dict[str, Any]] | None = None
        self._first = threading.Event()
        self._silent = False
        self._errors: dict[str, int] = {}
        self._notes: list[str] = []

    def open(self) -> tuple[GpuInfo, ...]:
        """Start neuron-monitor, and list the cores of its first report. Raises DeviceError."""
        with tempfile.TemporaryDirectory(prefix="neuron-monitor-") as folder:
            config = Path(folder, "config.json")
            config.write_text(json.dumps(_CONFIG), encoding="utf-8")
            process = self._start(config)
            self._first.wait(FIRST_REPORT_S)
        if self._newest is None:
            code = _end(process)
            ended = f"ended with code {code}" if code >= 0 else "did not answer"
            raise DeviceError(f"{self._program} {ended} without a report")
        table, problem = core_table(self._newest[1])
        if not table:
            _end(process)
            raise DeviceError(problem)
        self._cores = visible_cores(os.environ.get("NEURON_RT_VISIBLE_CORES", ""), len(table))
        return tuple(table[index] for index in self._cores)

    def sample(self, n: int) -> tuple[GpuSample, ...]:
        """Values of every core in the newest report; unknown where that one is old."""
        newest = self._newest
        silent = newest is None or time.monotonic() - newest[0] > STALE_S
        if silent != self._silent:
            self._silent = silent
            what = "prints nothing any more: its values are unknown" if silent else "prints again"
            self._notes.append(f"neuron-monitor {what}")
        if newest is None or silent:
            return tuple(GpuSample(index) for index in self._cores)
        self._see_errors(ecc_errors(newest[1]))
        return core_samples(newest[1], self._cores)

    def notes(self) -> tuple[str, ...]:
        """What happened since this was last called."""
        notes, self._notes = self._notes, []
        return tuple(notes)

    def urgent(self) -> tuple[str, ...]:
        """The reports name failing devices only where they come."""
        return ()

    def _start(self, config: Path) -> subprocess.Popen[bytes]:
        try:
            # In a session of its own: what signals this process is not meant for it.
            process = subprocess.Popen(
                [self._program, "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(f"{self._program}: {error.strerror}") from None
        # Where this process is killed, the next report finds no reader, and ends the program.
        atexit.register(_end, process)
        threading.Thread(target=self._read, args=(process,), name="neuron", daemon=True).start()
        return process

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Keep the newest report."""
        assert process.stdout is not None  # noqa: S101 - opened as a pipe above
        while line := process.stdout.readline(LONGEST_REPORT):
            try:
                report = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(report, dict):
                self._newest = time.monotonic(), report
                self._first.set()
        process.wait()
        self._first.set()

    def _see_errors(self, errors: dict[str, int]) -> None:
        """Note uncorrected memory errors where their number is another than before."""
        for what, count in errors.items():
            if count and count != self._errors.get(what, 0):
                self._notes.append(f"neuron-monitor: {what} {count}")
        self._errors = errors


def _end(process: subprocess.Popen[bytes]) -> int:
    process.kill()
    return process.wait()
