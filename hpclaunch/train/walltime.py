"""When to stop for the time limit: as late as the measured times allow, and in time to save.

The time line and the constants are in `hpclaunch/run/stop_timing.py`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpclaunch.run.stop_timing import AFTER_CHECKPOINT_SECONDS, SLOWDOWN_FACTOR

TIME_LIMIT = "time limit"
"""Text of the stop file, by which the script knows to requeue the job."""


def allocation_end(variables: Mapping[str, str] = os.environ) -> float | None:
    """Return when the allocation ends, in Unix seconds; None without a limit.

    A time in the past is a mistake and ignored: it would stop every attempt after its first step.
    """
    try:
        end = float(variables.get("HPCLAUNCH_ENDS", ""))
    except ValueError:
        return None
    return end if end > time.time() else None


@dataclass
class Walltime:
    """Compares the steps of a run with the end of its allocation."""

    end: float | None
    """Unix seconds; None: no limit."""
    checkpoint_seconds: float | None = None
    """The slowest checkpoint so far, earlier attempts of this run included."""
    now: Callable[[], float] = time.time
    _started: float = field(init=False)
    """Seconds by `now`, as all that began is."""
    _step_started: float = field(init=False)
    """Seconds by `now`."""
    _step_seconds: float = 0.0
    """The slowest step so far, evaluation and logging included."""
    _pending_since: float | None = None
    """Since when (seconds by `now`) a checkpoint is being written while training goes on."""

    def __post_init__(self) -> None:
        self._started = self._step_started = self.now()

    def training_continues(self, save_pending: bool = False) -> None:
        """Record that training goes on after a save, whose time belongs to no step.

        `save_pending`: it is still being written, and the next one would have to wait for it.
        """
        self._step_started = self.now()
        self._pending_since = self._step_started if save_pending else None

    def checkpoint_saved(self, seconds: float) -> None:
        """Record a checkpoint that is in place, so many seconds after it was begun."""
        self.checkpoint_seconds = max(self.checkpoint_seconds or 0.0, seconds)
        self._pending_since = None

    def step_ended(self) -> None:
        """Record the end of a step."""
        now = self.now()
        self._step_seconds = max(self._step_seconds, now - self._step_started)
        self._step_started = now

    def must_stop(self) -> bool:
        """Return whether another step and a checkpoint might not fit before the end."""
        if self.end is None:
            return False
        save = self.checkpoint_seconds or 0.0
        if self._pending_since is not None:
            save = 2 * max(save, self.now() - self._pending_since)
        needed = SLOWDOWN_FACTOR * (self._step_seconds + save) + AFTER_CHECKPOINT_SECONDS
        return self.now() + needed >= self.end

    def must_measure(self) -> bool:
        """Return whether to save now, to learn how long a checkpoint takes.

        True when half the time is over and none has been saved yet.
        """
        if (
            self.end is None
            or self.checkpoint_seconds is not None
            or self._pending_since is not None
        ):
            return False
        return self.now() >= self._started + (self.end - self._started) / 2


def slowest_checkpoint(events: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the seconds of the slowest checkpoint among a run's events, None without one."""
    seconds = [
        float(event["seconds"])
        for event in events
        if event.get("event") == "checkpoint" and isinstance(event.get("seconds"), int | float)
    ]
    return max(seconds, default=None)
