"""A value that has two levels within a run: when it changed, and from what to what.

The mean over both is a value that never was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_PARTS = 160
_LEAST_PARTS = 5
"""A level that lasts for less than this many samples is a dip, not a level."""
_LEAST_SHARE = 0.04
"""The same, as a share of the time."""
_EXPLAINED = 0.6
"""Share of the variance between the two levels; the rest is within them."""


@dataclass(frozen=True)
class LevelChange:
    """A stretch of time at another level than before it, and after it."""

    begin: float
    """Unix seconds."""
    end: float | None
    """Unix seconds; None where it lasted to the end."""
    level: float
    """In the stretch, in the unit of the value."""
    before: float
    """Before it, and after it where it ended, in the unit of the value."""
    share: float
    """Share of the known time that the stretch took, 0 to 1."""

    @property
    def fell(self) -> bool:
        """Whether the level before was higher."""
        return self.level < self.before

    @property
    def low(self) -> float:
        """The lower level."""
        return min(self.level, self.before)

    @property
    def high(self) -> float:
        """The higher level."""
        return max(self.level, self.before)

    @property
    def loss(self) -> float:
        """Share of the higher level that was missing, over the whole known time, 0 to 1."""
        share = self.share if self.fell else 1 - self.share
        return (1 - self.low / self.high) * share if self.high > 0 else 0.0


def level_change(
    moments: NDArray[np.float64], values: NDArray[np.floating], least: float
) -> LevelChange | None:
    """Return the change of a value; None where it stayed, or changed all the time.

    `moments` are the ends of the samples in Unix seconds; values that are not a number are unknown.
    `least` is the difference that counts, as a share of the higher level.
    """
    known = np.isfinite(values)
    moments, values = moments[known], values[known].astype(np.float64)
    if len(values) < 2 * _LEAST_PARTS or np.ptp(values) < least * np.abs(values).max():
        return None
    edges = np.unique(np.linspace(0, len(values), min(len(values), _MOST_PARTS) + 1).astype(int))
    sums = np.add.reduceat(values, edges[:-1])
    sizes = np.diff(edges).astype(np.float64)
    best = _most_different(sums, sizes)
    if best is None:
        return None
    first, last = int(edges[best[0]]), int(edges[best[1]])
    middle = float(values[first:last].mean() + np.r_[values[:first], values[last:]].mean()) / 2
    width = int(sizes.max())
    first, last = _sharpened(values, first, middle, width), _sharpened(values, last, middle, width)
    inside = np.zeros(len(values), dtype=bool)
    inside[first:last] = True
    if first == 0:  # a change is named by the moment at which it came
        inside, first, last = ~inside, last, len(values)
    level, before = float(values[inside].mean()), float(values[~inside].mean())
    rest = values[inside].var() * inside.sum() + values[~inside].var() * (~inside).sum()
    whole = values.var() * len(values)
    if (
        abs(level - before) < least * max(abs(level), abs(before))
        or rest > (1 - _EXPLAINED) * whole
    ):
        return None
    end = None if last == len(values) else float(moments[last - 1])
    return LevelChange(float(moments[first - 1]), end, level, before, float(inside.mean()))


def _sharpened(values: NDArray[np.floating], edge: int, middle: float, width: int) -> int:
    """The sample nearest to an edge between parts at which the value crosses the middle."""
    if not 0 < edge < len(values):
        return edge
    begin, end = max(1, edge - width), min(len(values) - 1, edge + width)
    rises = (
        values[edge:end].mean() > values[begin - 1 : edge].mean() if begin <= edge < end else True
    )
    beyond = (middle - values[begin:end]) * (1 if rises else -1)
    return begin + int(np.argmax(np.r_[0.0, np.cumsum(beyond)]))


def _most_different(
    sums: NDArray[np.float64], sizes: NDArray[np.float64]
) -> tuple[int, int] | None:
    """The stretch of parts whose mean differs most from that of the others, by their variance."""
    total, count = np.r_[0.0, np.cumsum(sums)], np.r_[0.0, np.cumsum(sizes)]
    inside_sum = total[None, :] - total[:, None]
    inside = count[None, :] - count[:, None]
    outside = count[-1] - inside
    least = max(_LEAST_PARTS, _LEAST_SHARE * count[-1])
    good = (inside >= least) & (outside >= least)
    # What is before a stretch, or after it, is part of a level, too.
    pieces = [count[:, None] + 0 * inside, count[-1] - count[None, :] + 0 * inside]
    for piece in pieces:
        good &= (piece == 0) | (piece >= min(least, _LEAST_PARTS))
    if not good.any():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (inside_sum / inside - (total[-1] - inside_sum) / outside) ** 2
        between *= inside * outside
    first, last = np.unravel_index(np.argmax(np.where(good, between, -1.0)), between.shape)
    return int(first), int(last)
