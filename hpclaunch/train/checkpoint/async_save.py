"""A checkpoint that is still being written while training goes on (DCP's asynchronous save).

The weights and the optimizer are copied into the host's memory, and written from there by threads
that speak over process groups of their own: on the training's group their collectives would come
between the training's, in another order on each rank.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.distributed import DistContext, all_gather_object
from hpclaunch.train.failure import one_line
from hpclaunch.train.settings import LONG_TIMEOUT

AT_ONCE = 2
"""Parts that are written at the same time: the weights and the optimizer, each with its group."""


@dataclass
class Flight:
    """One checkpoint on its way to the disk, as one rank sees it."""

    step: int
    folder: Path
    world: DistContext
    parts: list[Future[Any]]
    """What is still being written; empty where all of it is."""
    began: float
    """By the monotonic clock."""
    stalled: float
    """Seconds that training waited for it."""
    problem: str | None = None
    share: dict[str, manifest.Part] = field(default_factory=dict)
    """This rank's files, read back."""

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        """Wait for the writing and read back what is there: neither is the training's business."""
        for part in self.parts:
            self.problem = tried(part.result) or self.problem
        if self.problem is None:
            self.problem = tried(self._measure)

    def _measure(self) -> None:
        self.share = manifest.parts_of(self.folder, self.world.rank, self.world.size)

    @property
    def over(self) -> bool:
        """True once this rank's part is on the disk, or has failed."""
        return not self._thread.is_alive()

    def wait(self) -> tuple[str | None, dict[str, manifest.Part]]:
        """Wait until it is over; gives what went wrong, and this rank's files."""
        self._thread.join()
        return self.problem, self.share


def own_groups(world: DistContext) -> list[Any] | None:
    """Make the groups that the writing threads speak over. Every rank must call it.

    None where that cannot be: without ranks there is nothing to share, and without FSDP no DCP.
    Raises RuntimeError, on all ranks, where gloo finds no way between the nodes.
    """
    import torch.distributed as dist

    if not dist.is_initialized() or not world.fsdp:
        return None
    # GPUs' own group speaks NCCL, which knows no tensors on the CPU: gloo it is, on all devices.
    timeout = timedelta(seconds=LONG_TIMEOUT)
    groups: list[Any] = []

    def make() -> None:
        groups.extend(dist.new_group(backend="gloo", timeout=timeout) for _ in range(AT_ONCE))

    failed = next((said for said in all_gather_object(world, tried(make)) if said), None)
    if failed:
        raise RuntimeError(failed)
    return groups


@contextlib.contextmanager
def in_flight(groups: list[Any] | None) -> Iterator[list[Future[Any]]]:
    """Within it DCP's save returns before it has written; gives what is then still to be awaited.

    accelerate calls it by this name. Without groups everything stays as it is.
    """
    import torch.distributed.checkpoint as dcp

    plain = dcp.save
    parts: list[Future[Any]] = []

    def save(state_dict: Any, *, storage_writer: Any, planner: Any) -> None:
        if groups is None or len(parts) == len(groups):
            plain(state_dict, storage_writer=storage_writer, planner=planner)
            return
        group = groups[len(parts)]
        parts.append(
            dcp.async_save(
                state_dict, storage_writer=storage_writer, planner=planner, process_group=group
            )
        )

    dcp.save = save
    try:
        yield parts
    finally:
        dcp.save = plain


def tried(work: Callable[[], object]) -> str | None:
    """Do it; gives what went wrong. Any error of a save is that save's alone."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        work()
    except CheckpointException as error:  # not an Exception, by its own declaration
        rank, (cause, _) = min(error.failures.items())
        return f"rank {rank}: {one_line(cause)}"
    except Exception as error:
        return one_line(error)
    return None
