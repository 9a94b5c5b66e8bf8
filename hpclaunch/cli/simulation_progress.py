"""How far `plan --exact` is, on stderr: a line that moves on a terminal, else one now and then."""

from __future__ import annotations

import sys
import threading
import time

from hpclaunch.cli.terminal import is_terminal
from hpclaunch.cli.text import say
from hpclaunch.cli.visible import erase_line
from hpclaunch.units import duration

EXPECTED_S = 20.0
"""Seconds that a simulation takes on an idle machine, whatever the model's depth."""
LINE_S = 30.0
"""Seconds between two lines where stderr is no terminal."""
_LEAST_SHARE = 0.05
"""Share of the work after which its speed is known."""


class SimulationProgress:
    """Says how long a simulation takes while it runs; `done` is called with the share done."""

    def __init__(self) -> None:
        """Begin."""
        self._moves = is_terminal(sys.stderr)
        self._share = 0.0
        self._first: tuple[float, float] | None = None
        """When the first share was done, in monotonic seconds, and which."""
        self._closed = threading.Event()
        self._began = time.monotonic()

    def __enter__(self) -> SimulationProgress:
        """Print how long it will take."""
        say(f"simulating a step: about {duration(EXPECTED_S)}, more on a busy machine")
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the moving line away."""
        self._closed.set()
        if self._moves:
            sys.stderr.write(erase_line(sys.stderr))
            sys.stderr.flush()

    def done(self, share: float) -> None:
        """Take the share of the work that is done, from 0 to 1."""
        self._first = self._first or (time.monotonic(), share)
        self._share = share

    def text(self, now: float) -> str:
        """Return how far it is, at `now` in monotonic seconds."""
        if self._first is None:
            return f"starting PyTorch, {duration(now - self._began)}"
        at, share = self._first
        text = f"{self._share:.0%} done"
        if self._share - share < _LEAST_SHARE:
            return text
        left = (now - at) * (1 - self._share) / (self._share - share)
        return f"{text}, about {duration(left)} left"

    def _run(self) -> None:
        while not self._closed.wait(1.0 if self._moves else LINE_S):
            line = f"simulating a step: {self.text(time.monotonic())}"
            if self._moves:
                sys.stderr.write(f"{erase_line(sys.stderr)}hpclaunch: {line}")
                sys.stderr.flush()
            else:
                say(line)
