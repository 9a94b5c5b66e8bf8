"""How old a sample is, told by a clock that may differ from the one that stamped it."""

from __future__ import annotations

from math import inf


class Lag:
    """Learns how far a node's clock is off, from when its samples are first seen.

    A sample that is new at a look was taken between that look and the one before: so each look
    says between which bounds the clocks differ. Of all differences within the bounds the one next
    to none is taken to be it.
    """

    def __init__(self) -> None:
        self._bounds = (-inf, inf)
        self._looked: float | None = None

    def age(self, wall: float, now: float, new: bool) -> float:
        """Seconds since a sample stamped `wall` was taken; `new`: since the last look.

        Both times are in Unix seconds, `wall` on the node's clock, `now` on ours.
        """
        behind = now - wall
        low, high = self._bounds
        if new and self._looked is not None:
            low = max(low, behind - max(0.0, now - self._looked))
        high = min(high, behind)
        if low > high:  # a clock was set
            low, high = (behind - 1.0, behind) if new else (-inf, behind)
        self._bounds, self._looked = (low, high), now
        offset = min(max(0.0, low), high)
        return max(0.0, behind - offset)
