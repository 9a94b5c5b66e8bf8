"""Whose turn it is: questions that take long are not asked of every GPU in every tick."""

from __future__ import annotations

import time


class Schedule:
    """Every `every`th tick, at another one for every GPU so that no tick bears them all."""

    def __init__(
        self, every: int, index: int, least_s: float = 0.0, most_s: float = float("inf")
    ) -> None:
        """Never sooner than `least_s` seconds after the last time, however fast the ticks are.

        And in every tick where they lie `most_s` seconds apart or more.
        """
        self._every, self._index = every, index
        self._least_s, self._most_s = least_s, most_s
        self._ticks = 0
        self._requested = float("-inf")

    def due(self) -> bool:
        """To be called once a tick; the first one is always a turn."""
        turn = self._ticks == 0 or (self._ticks + self._index) % self._every == 0
        self._ticks += 1
        now = time.monotonic()
        passed = now - self._requested
        if passed < self._least_s or not (turn or passed >= self._most_s):
            return False
        self._requested = now
        return True
