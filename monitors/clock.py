"""The real clock of the sidecar, which also hears the signals that end it."""

from __future__ import annotations

import signal
import time

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class SystemClock:
    """Time from the kernel; stop requests from signals.

    The signals are blocked and collected while waiting, instead of handled where they strike: so
    no write is ever cut in two and no lock is taken from inside a handler.
    """

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        # Slurm's --signal=USR1@N reaches every process of a step; by default it would kill this one
        # minutes before the job ends, just when the record gets interesting.
        for other in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(other, signal.SIG_IGN)

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def mono(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def wait(self, seconds: float) -> str | None:
        """Sleep `seconds`; returns the name of the signal that cut it short."""
        caught = signal.sigtimedwait(STOP_SIGNALS, max(0.0, seconds))
        return None if caught is None else signal.Signals(caught.si_signo).name
