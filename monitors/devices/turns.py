"""Whose turn it is: questions that take long are not asked of every GPU in every tick."""

from __future__ import annotations

import time


class Turns:
    """Every `every`th tick, at another one for every GPU so that no tick bears them all."""

    def __init__(self, every: int, index: int, least_s: float = 0.0) -> None:
        """Never sooner than `least_s` seconds after the last time, however fast the ticks are."""
        self._every, self._index, self._least_s = every, index, least_s
        self._ticks = 0
        self._asked = float("-inf")

    def due(self) -> bool:
        """To be called once a tick; the first one is always a turn."""
        turn = self._ticks == 0 or (self._ticks + self._index) % self._every == 0
        self._ticks += 1
        now = time.monotonic()
        if not turn or now - self._asked < self._least_s:
            return False
        self._asked = now
        return True
