"""What the main threads of the ranks do: which run, sleep or are stopped, since when. Pure.

That a rank sleeps blames nobody: on CPUs the ranks that wait for another sleep, too. So a line says
what is seen, and where a single rank differs from all others, that it is the only one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from hpclaunch.frozen import frozen
from hpclaunch.units import duration
from monitors.storage.live import NodeNow
from monitors.storage.rank_states import (
    BLOCKED,
    RUNNING,
    SLEEPING,
    STOPPED,
    RankState,
    RankStates,
)

LEAST_RANKS = 3
"""Of fewer ranks none is told from the others."""
_FUTURE_S = 60.0
"""Seconds by which a file may be ahead of its node's newest sample."""
_NAMED = 8
_DAY_S = 86400
_WORDS = {
    RUNNING: "main thread runs",
    SLEEPING: "main thread sleeps",
    BLOCKED: "main thread waits for a disk, a file system or a driver",
    STOPPED: "stopped by a signal (SIGSTOP)",
}


@frozen
class Thread:
    """The main thread of one rank."""

    rank: int | None
    node: str
    name: str
    """The rank and its node: `rank 3 (gpu12)`."""
    state: str
    wait: str
    """What the kernel says it waits in; '' where it runs, or where that is unknown."""
    age_s: float | None
    """Seconds since it began to sleep; None where it runs."""
    clock: str
    """When that was, on its node's clock: `14:20:03`."""


def main_threads(
    nodes: Sequence[NodeNow],
    states: Mapping[str, RankStates],
    hosts: Sequence[str],
    processes_per_node: int,
) -> tuple[Thread, ...]:
    """Return the main threads that are known of, in the order of their ranks.

    `states`: what the nodes' files say; one of an earlier start, or from the future, is left out.
    """
    found = []
    for node in nodes:
        known = states.get(node.node)
        if known is None or not _is_of_now(known, node):
            continue
        first = hosts.index(node.node) * processes_per_node if node.node in hosts else None
        found += [_thread(rank, node, first) for rank in known.ranks]
    return tuple(sorted(found, key=lambda each: (each.rank is None, each.rank or 0, each.name)))


def thread_lines(threads: Sequence[Thread], total: int) -> list[str]:
    """Return a line for each kind of state: stopped ranks, then the kind with the fewest first.

    `total`: ranks of the job.
    """
    # Where the wait of one is unknown, it does not tell the others apart.
    unknown = {each.state for each in threads if not each.wait}
    kinds: dict[tuple[str, str], list[Thread]] = defaultdict(list)
    for each in threads:
        kinds[each.state, "" if each.state in unknown else each.wait].append(each)
    ordered = sorted(kinds.items(), key=lambda kind: (kind[0][0] != STOPPED, len(kind[1])))
    lines = []
    for (state, wait), some in ordered:
        text = _WORDS[state] + (f" in {wait}" if wait else "") + _since(some)
        line = f"{text}: {_who(some, len(threads), total)}"
        if len(some) == 1 and len(kinds) == 2 and len(threads) >= LEAST_RANKS:
            seen = "" if len(threads) >= total else " that are seen"
            line += f"; it is the only one of {len(threads)} ranks{seen}"
        lines.append(line)
    return lines


def _is_of_now(states: RankStates, node: NodeNow) -> bool:
    newest = node.newest
    if newest is None or states.wall > newest.tick.wall + _FUTURE_S:
        return False
    return node.start is None or states.wall >= node.start.wall


def _thread(state: RankState, node: NodeNow, first: int | None) -> Thread:
    rank, local = state.rank, state.local_rank
    if rank is None and first is not None and local is not None:
        rank = first + local
    if rank is not None:
        name = f"rank {rank} ({node.node})"
    else:
        name = f"process {state.pid} on {node.node}"
    age, clock = None, ""
    if state.since is not None and node.newest is not None:
        age = max(0.0, node.newest.tick.wall + (node.age_s or 0.0) - state.since)
        if node.start is not None:
            seconds = int(state.since + node.start.utc_offset_s) % _DAY_S
            clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return Thread(rank, node.node, name, state.state, state.wait, age, clock)


def _since(some: Sequence[Thread]) -> str:
    """Return since when all of them do it: the last that began counts."""
    known = [each for each in some if each.age_s is not None]
    if not known or len(known) < len(some):
        return ""
    last = min(known, key=lambda each: each.age_s or 0.0)
    least = "" if len(some) == 1 else "at least "
    if not last.clock:
        return f" for {least}{duration(last.age_s)}"
    return f" since {last.clock} ({least}{duration(last.age_s)})"


def _who(some: Sequence[Thread], known: int, total: int) -> str:
    ranks = [each.rank for each in some if each.rank is not None]
    if len(some) == known and known > 1:
        return f"all {known} ranks" if known >= total else f"all {known} of {total} that are seen"
    if len(some) > 2 and len(ranks) == len(some):
        return f"ranks {_ranges(ranks)}"
    rest = len(some) - _NAMED
    return ", ".join(each.name for each in some[:_NAMED]) + (
        f" and {rest} more" if rest > 0 else ""
    )


def _ranges(ranks: Sequence[int]) -> str:
    """Return sorted numbers as `0-2, 4-7`."""
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    parts = [f"{first}" if first == last else f"{first}-{last}" for first, last in runs[:_NAMED]]
    rest = sum(last - first + 1 for first, last in runs[_NAMED:])
    return ", ".join(parts) + (f" and {rest} more" if rest else "")
