"""The last minutes of a value, as parts of equal length."""

from __future__ import annotations

from collections.abc import Callable

from hpclaunch.watch.sparkline import buckets
from monitors.storage.live import HISTORY_S, NodeNow, Point


def history(node: NodeNow, pick: Callable[[Point], float | None], cells: int) -> list[float | None]:
    """Return means of a value over `cells` equal parts of the last minutes, oldest first."""
    # A part must not be shorter than the time between two samples: it would be blank.
    span = max(HISTORY_S, cells * node.interval_s) if cells else HISTORY_S
    return buckets(node.points, pick, cells, span)
