"""What the first rank does beside its steps, told while it does it.

RUN/phase.json always has the newest; the log gets a line of it every half minute. Downloads, the
reading of data and the loading of weights are counted by the libraries' own progress bars, which
report here and draw nothing. Everything is a no-op in a process that has not called `start`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from hpclaunch.run.attempt import taken_over
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.phase import LOG_PREFIX, Phase, write_phase

IMPORTING = "importing PyTorch and Transformers"
"""The first phase of each process."""
LINE_S = 30.0
"""Seconds between two lines in the log."""
WRITE_S = 1.0
"""Seconds between two writes of the file."""


class PhaseLog:
    """Writes the phases of one process. Its thread is a daemon: nothing waits for it."""

    def __init__(self, folder: RunFolder, *, trains: bool) -> None:
        """`trains`: whether this process is a rank, and its attempt's `start` is written."""
        self._folder, self._trains = folder, trains
        self._lock = threading.Lock()
        self._outer: list[str] = [""]
        self._phase = self._new("")
        self._written: Phase | None = None
        self._line_at = time.monotonic() + LINE_S
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="phases", daemon=True).start()

    def begin(self, name: str) -> None:
        """Begin a phase, which ends the one before; '' for training steps."""
        with self._lock:
            self._outer[-1] = name
            self._set(self._new(name))

    def push(self, name: str) -> None:
        """Begin a phase within the one before, which goes on after `pop`."""
        with self._lock:
            self._outer.append(name)
            self._set(self._new(name))

    def pop(self) -> None:
        """End the phase of the last `push`."""
        with self._lock:
            if len(self._outer) > 1:
                self._outer.pop()
            self._set(self._new(self._outer[-1]))

    def count(self, done: float, total: float | None, unit: str) -> None:
        """Set how far the phase is."""
        with self._lock:
            now = time.time()
            moved = now if done != self._phase.done else self._phase.moved
            self._phase = msgspec.structs.replace(
                self._phase, done=done, total=total, unit=unit, moved=moved
            )

    def moves(self) -> None:
        """Note that the phase goes on, where its count cannot say so."""
        with self._lock:
            self._phase = msgspec.structs.replace(self._phase, moved=time.time())

    def stop(self) -> None:
        """Write the newest phase, and nothing more."""
        self._stopped.set()
        self._write()

    def _new(self, name: str) -> Phase:
        now, attempt = time.time(), os.environ.get("HPCLAUNCH_START", "")
        return Phase(name=name, began=now, moved=now, trains=self._trains, attempt=attempt)

    def _set(self, phase: Phase) -> None:
        # At once: the process may be in a call of minutes right after.
        self._phase = phase
        self._line_at = time.monotonic() + LINE_S
        self._write()

    def _run(self) -> None:
        while not self._stopped.wait(WRITE_S):
            with self._lock:
                phase = self._phase
                due = phase.name and time.monotonic() >= self._line_at
                if due:
                    self._line_at += LINE_S
                self._write()
            if due:
                with suppress(OSError, ValueError):  # a full disk, a closed stream
                    sys.stdout.write(f"{LOG_PREFIX}{phase.line(time.time())}\n")
                    sys.stdout.flush()

    def _write(self) -> None:
        if self._phase == self._written or taken_over(self._folder):
            return
        with suppress(OSError):  # a full disk costs the phase, not the run
            write_phase(self._folder, self._phase)
            self._written = self._phase


_log: list[PhaseLog] = []


def start(folder: RunFolder, *, trains: bool = False) -> None:
    """Begin to tell the phases of this process; see PhaseLog."""
    stop()
    _log.append(PhaseLog(folder, trains=trains))


def stop() -> None:
    """End it."""
    while _log:
        _log.pop().stop()


def begin(name: str) -> None:
    """Begin a phase; '' for training steps."""
    if _log:
        _log[-1].begin(name)


def count(done: float, total: float | None, unit: str) -> None:
    """Set how far the phase is: `done` of `total`, in `unit` (`B` for bytes)."""
    if _log:
        _log[-1].count(done, total, unit)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Report a phase while the block runs; afterwards the one before it again."""
    if not _log:
        yield
        return
    log = _log[-1]
    log.push(name)
    try:
        yield
    finally:
        log.pop()


def current() -> PhaseLog | None:
    """Return what tells the phases of this process; None where nothing does."""
    return _log[-1] if _log else None
