"""How far the nodes' clocks are apart, so that their records can be compared."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.distributed import DistContext, all_gather_object, barrier

ROUNDS = 7
"""Each takes some milliseconds; the best of them counts."""


@dataclass(frozen=True)
class ClockReading:
    """A node's clock, read between two readings of the first rank's clock. Unix seconds."""

    node: str
    at: float
    after: float
    before: float


def log_clock_offsets(folder: RunFolder, context: DistContext) -> None:
    """Log how far each node's clock is ahead of the first rank's; every rank must call it."""
    if context.nodes < 2:
        return
    barrier()  # a rank that comes late would be measured as distance
    readings = [each for _ in range(ROUNDS) for each in _round(context, time.time)]
    if context.is_main_process:
        offsets = clock_offsets(readings)
        log_event(
            folder.events,
            "clocks",
            ahead={node: round(middle, 4) for node, (middle, _) in offsets.items()},
            within={node: round(error, 4) for node, (_, error) in offsets.items()},
        )


def _round(context: DistContext, clock: Callable[[], float]) -> list[ClockReading]:
    before_barrier = clock()
    barrier()
    # Read after the first rank came to the barrier, and before it has received the reading.
    shares = all_gather_object(context, (_node(), clock()) if context.local_rank == 0 else None)
    received = clock()
    return [
        ClockReading(*share, after=before_barrier, before=received)
        for share in shares
        if share is not None
    ]


def clock_offsets(readings: Iterable[ClockReading]) -> dict[str, tuple[float, float]]:
    """Return by node how many seconds its clock is ahead, and by how much that may be wrong."""
    bounds: dict[str, tuple[float, float]] = {}
    for each in readings:
        low, high = bounds.get(each.node, (-inf, inf))
        bounds[each.node] = max(low, each.at - each.before), min(high, each.at - each.after)
    # Bounds that exclude each other: a clock was set meanwhile, and nothing is known.
    return {
        node: ((low + high) / 2, (high - low) / 2)
        for node, (low, high) in bounds.items()
        if low <= high
    }


def _node() -> str:
    """Return the node's name, as its sidecar writes it."""
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename
