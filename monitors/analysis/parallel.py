"""Reading many nodes: in several processes, where there is much to read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from monitors.analysis.events import ClockOffset
from monitors.analysis.read import NodeRecord, read_node
from monitors.storage import filenames

MUCH_BYTES = 32 << 20
"""Less than this is read before a second process has begun."""
MOST_PROCESSES = 4


def read_nodes(
    directory: Path, nodes: Sequence[str], clocks: Mapping[str, ClockOffset] | None = None
) -> Iterator[NodeRecord]:
    """`read_node` for several, in their order; in several processes where there is much to read.

    `clocks` tells by node how far its clock is ahead.
    """
    read = partial(_read, directory, clocks or {})
    left = list(nodes)
    workers = min(len(os.sched_getaffinity(0)), MOST_PROCESSES, len(left))
    # A copy of a process that has threads can inherit a lock that nobody will open.
    if workers > 1 and threading.active_count() == 1 and _bytes(directory, left) >= MUCH_BYTES:
        try:
            with ProcessPoolExecutor(workers, get_context("fork")) as pool:
                for found in pool.map(read, nodes):
                    left.pop(0)
                    yield found
        except (BrokenProcessPool, OSError):
            pass  # a process was killed, for memory it may be: one after the other then
    for node in left:
        yield read(node)


def _read(directory: Path, clocks: Mapping[str, ClockOffset], node: str) -> NodeRecord:
    return read_node(directory, node, clocks.get(node))


def _bytes(directory: Path, nodes: Sequence[str]) -> int:
    total = 0
    for node in nodes:
        for suffix in filenames.SUFFIXES:
            try:
                total += filenames.path_of(directory, node, suffix).stat().st_size
            except OSError:
                continue
    return total
