"""How far the nodes' clocks are apart, so that what they record can be put side by side."""

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
class Said:
    """What a rank's clock said between two moments of the first rank's clock."""

    node: str
    at: float
    after: float
    before: float


def tell(folder: RunFolder, world: DistContext) -> None:
    """Mark how far each node's clock is ahead of the first rank's; every rank must call it."""
    if world.nodes < 2:
        return
    barrier()  # whoever was late is not measured
    said = [each for _ in range(ROUNDS) for each in _round(world, time.time)]
    if world.first:
        ahead = offsets(said)
        log_event(
            folder.events,
            "clocks",
            ahead={node: round(middle, 4) for node, (middle, _) in ahead.items()},
            within={node: round(error, 4) for node, (_, error) in ahead.items()},
        )


def _round(world: DistContext, clock: Callable[[], float]) -> list[Said]:
    begun = clock()
    barrier()
    # Later than the first rank began, for it had to come; and earlier than it has heard of it.
    shares = all_gather_object(world, (_node(), clock()) if world.local_rank == 0 else None)
    heard = clock()
    return [Said(*share, after=begun, before=heard) for share in shares if share is not None]


def offsets(said: Iterable[Said]) -> dict[str, tuple[float, float]]:
    """Return by node how many seconds its clock is ahead, and by how much that may be wrong."""
    bounds: dict[str, tuple[float, float]] = {}
    for each in said:
        low, high = bounds.get(each.node, (-inf, inf))
        bounds[each.node] = max(low, each.at - each.before), min(high, each.at - each.after)
    # Bounds that exclude each other come of a clock that was set meanwhile: nothing is known.
    return {
        node: ((low + high) / 2, (high - low) / 2)
        for node, (low, high) in bounds.items()
        if low <= high
    }


def _node() -> str:
    """Return the node's name as its sampler has it."""
    return os.environ.get("SLURMD_NODENAME") or os.uname().nodename
