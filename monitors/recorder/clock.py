"""The real clock of the sidecar, which also hears the signals that end it."""

from __future__ import annotations

import os
import select
import signal
import time

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
"""USR2 because srun passes it on to its tasks; at a TERM it kills them instead."""


class SystemClock:
    """Time from the kernel; stop requests from signals.

    A signal only leaves its number in a pipe, to be found at the next wait: so no write is cut in
    two and no lock is taken from inside a handler. Not `signal.sigtimedwait`: stopped and continued
    (Slurm does that to every process it suspends or cancels), it answers with whatever signal
    number lay in memory.
    """

    def __init__(self) -> None:
        self._pipe, write_end = os.pipe()
        for end in (self._pipe, write_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: None)
        # Whoever started this may hold them back for itself.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        # Slurm's --signal=USR1@N reaches every process of a step; by default it would kill this one
        # minutes before the job ends, just when the record gets interesting.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def mono(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def wait(self, seconds: float) -> str | None:
        """Sleep `seconds`; returns the name of the signal that cut it short."""
        readable, _, _ = select.select([self._pipe], [], [], max(0.0, seconds))
        return signal.Signals(os.read(self._pipe, 1)[0]).name if readable else None
