"""Curves and bars of one line's height, made of characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpclaunch.frozen import frozen
from monitors.storage.live import Point


@frozen
class Glyphs:
    """The characters to draw with."""

    heights: str
    """From the lowest to the highest."""
    full: str
    empty: str
    more: str
    degree: str


UNICODE = Glyphs("▁▂▃▄▅▆▇█", "█", "░", "…", "°")
ASCII = Glyphs("_.-=+*%#", "#", ".", "...", " ")
"""For terminals that say they know nothing else."""

Values = Sequence[float | None]


def spark(values: Values, low: float, high: float, glyphs: Glyphs) -> str:
    """Draw a curve between two bounds, a character a value; a blank where it is not known."""
    steps, span = len(glyphs.heights) - 1, high - low
    drawn = []
    for value in values:
        if value is None:
            drawn.append(" ")
            continue
        share = (value - low) / span if span > 0 else 0.0
        drawn.append(glyphs.heights[round(min(1.0, max(0.0, share)) * steps)])
    return "".join(drawn)


def curve(values: Sequence[float], width: int, glyphs: Glyphs) -> str:
    """Draw the last values between their own lowest and highest, at most `width` characters."""
    if len(values) < 2 or width < 1:
        return ""
    cells = min(width, len(values))
    groups = [values[len(values) * i // cells : len(values) * (i + 1) // cells]
              for i in range(cells)]  # fmt: skip
    means = [sum(group) / len(group) for group in groups]
    return spark(means, min(means), max(means), glyphs)


def bar(share: float, width: int, glyphs: Glyphs) -> str:
    """Draw how much of something is done or full."""
    full = round(min(1.0, max(0.0, share)) * width)
    return glyphs.full * full + glyphs.empty * (width - full)


def buckets(
    points: Sequence[Point], pick: Callable[[Point], float | None], cells: int, span_s: float
) -> list[float | None]:
    """Means over equal parts of the last `span_s` seconds, the newest last; None: unknown."""
    if not points or cells < 1:
        return [None] * max(0, cells)
    each = span_s / cells
    # The parts have fixed times: otherwise the whole curve would flicker at each tick.
    last = int(points[-1].tick.mono // each)
    sums, counts = [0.0] * cells, [0] * cells
    for point in reversed(points):
        at = cells - 1 - (last - int(point.tick.mono // each))
        if at < 0:
            break
        value = pick(point)
        if value is not None and at < cells:
            sums[at] += value
            counts[at] += 1
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]
