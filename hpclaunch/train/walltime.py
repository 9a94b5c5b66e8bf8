"""When to stop for the time limit: as late as the measured times allow, and in time to save."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MARGIN = 45.0
"""Seconds kept for what follows the checkpoint: processes ending, the sampler, the way back into
the queue (a second or two each where tried; file systems of a busy cluster take longer)."""

SLOWER = 1.3
"""How much longer than the longest so far the next step or checkpoint may take."""

LIMIT = "time limit"
"""What the stop file says, so that the script knows to go back into the queue."""


def ends(variables: Mapping[str, str] = os.environ) -> float | None:
    """Return when the allocation ends, in Unix seconds; None without a limit.

    One that has passed is a mistake of whoever said it: believed, it would stop every start after
    its first step.
    """
    try:
        end = float(variables.get("HPCLAUNCH_ENDS", ""))
    except ValueError:
        return None
    return end if end > time.time() else None


@dataclass
class Walltime:
    """Watches the steps of a run against the end of its allocation."""

    end: float | None
    """Unix seconds; None: no limit."""
    checkpoint: float | None = None
    """Seconds of the slowest checkpoint so far, earlier starts of this run included."""
    now: Callable[[], float] = time.time
    _began: float = field(init=False)
    _last: float = field(init=False)
    _slowest: float = 0.0
    _flying: float | None = None
    """Since when a checkpoint is being written while training goes on."""

    def __post_init__(self) -> None:
        self._began = self._last = self.now()

    def stalled(self, flying: bool = False) -> None:
        """Take note that training goes on after a save, whose time is no step's.

        `flying`: it is still being written, and another one would have to wait for it.
        """
        self._last = self.now()
        self._flying = self._last if flying else None

    def saved(self, seconds: float) -> None:
        """Take note of a checkpoint that is in place, so many seconds after it was begun."""
        self.checkpoint = max(self.checkpoint or 0.0, seconds)
        self._flying = None

    def step(self) -> None:
        """Take note of the end of a step, evaluation and logging included."""
        now = self.now()
        self._slowest = max(self._slowest, now - self._last)
        self._last = now

    def must_stop(self) -> bool:
        """Return whether another step and a checkpoint might not fit before the end."""
        if self.end is None:
            return False
        save = self.checkpoint or 0.0
        if self._flying is not None:
            save = 2 * max(save, self.now() - self._flying)
        needed = SLOWER * (self._slowest + save) + MARGIN
        return self.now() + needed >= self.end

    def must_measure(self) -> bool:
        """Whether to save now to learn how long it takes: half the time is gone, none known."""
        if self.end is None or self.checkpoint is not None or self._flying is not None:
            return False
        return self.now() >= self._began + (self.end - self._began) / 2


def slowest_checkpoint(marks: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the seconds of the slowest checkpoint a run has marked, None where it has none."""
    taken = [
        float(mark["seconds"])
        for mark in marks
        if mark.get("event") == "checkpoint" and isinstance(mark.get("seconds"), int | float)
    ]
    return max(taken, default=None)
