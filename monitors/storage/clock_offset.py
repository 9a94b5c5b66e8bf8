"""The age of a sample by a clock that may differ from the one that stamped it."""

from __future__ import annotations

from math import inf


class ClockOffsetEstimate:
    """Estimates how far a node's clock is off, from when its samples are first seen.

    A sample that is new at a refresh was taken between that refresh and the one before. So each
    refresh bounds the difference of the clocks; the smallest difference within the bounds is taken.
    """

    def __init__(self) -> None:
        self._bounds = (-inf, inf)
        self._refreshed_at: float | None = None

    def age(self, wall: float, now: float, new: bool) -> float:
        """Return the seconds since a sample stamped `wall` was taken.

        `new` says whether it was first seen at this refresh. Both times are in Unix seconds, `wall`
        on the node's clock, `now` on ours.
        """
        behind = now - wall
        low, high = self._bounds
        if new and self._refreshed_at is not None:
            low = max(low, behind - max(0.0, now - self._refreshed_at))
        high = min(high, behind)
        if low > high:  # a clock was set
            low, high = (behind - 1.0, behind) if new else (-inf, behind)
        self._bounds, self._refreshed_at = (low, high), now
        offset = min(max(0.0, low), high)
        return max(0.0, behind - offset)
