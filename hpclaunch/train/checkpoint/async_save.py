"""Asynchronous checkpoints: torch.distributed.checkpoint writes while training goes on.

The weights and the optimizer's state are copied into the host's memory and written from there by
threads that use process groups of their own. On the training's group their collectives would come
between the training's, in another order on each rank.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.checkpoint.training_state import Writing
from hpclaunch.train.distributed import LONG_TIMEOUT, DistContext, all_gather_object
from hpclaunch.train.failure import one_line

CONCURRENT_SAVES = 2
"""Parts of a checkpoint written at the same time, each with its own process group: the weights
and the optimizer's state."""


@dataclass
class PendingSave:
    """One checkpoint that is being written, as one rank sees it."""

    step: int
    folder: Path
    context: DistContext
    writing: Writing
    """What DCP has written, or is still writing."""
    started: float
    """Seconds of the monotonic clock."""
    blocked_seconds: float
    """How long training waited for it."""
    problem: str | None = None
    files: dict[str, manifest.FileEntry] = field(default_factory=dict)
    """This rank's files."""

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        """Wait for the writing, then collect the digests, both without holding up training."""
        for future in self.writing.futures:
            self.problem = error_of(future.result) or self.problem
        if self.problem is None:
            self.problem = error_of(self._collect)

    def _collect(self) -> None:
        known = {
            f"{writer.folder.name}/{name}": entry
            for writer in self.writing.writers
            for name, entry in writer.written.items()
        }
        rank, ranks = self.context.rank, self.context.world_size
        self.files = manifest.read_back(self.folder, rank, ranks, known)

    @property
    def done(self) -> bool:
        """True once this rank's part is on the disk, or has failed."""
        return not self._thread.is_alive()

    def wait(self) -> tuple[str | None, dict[str, manifest.FileEntry]]:
        """Wait until done; return the error (None if there was none) and this rank's files."""
        self._thread.join()
        return self.problem, self.files


def new_save_groups(context: DistContext) -> list[Any] | None:
    """Create the process groups that the writing threads use. Every rank must call it.

    Return None where asynchronous saves are impossible: with one process, or without FSDP (and so
    without DCP). Raises RuntimeError, on all ranks, where gloo cannot connect the nodes.
    """
    import torch.distributed as dist

    if not dist.is_initialized() or not context.fsdp_version:
        return None
    # On GPUs the training's group is NCCL's, which has no tensors on the CPU: gloo works on both.
    timeout = timedelta(seconds=LONG_TIMEOUT)
    groups: list[Any] = []

    def create() -> None:
        groups.extend(
            dist.new_group(backend="gloo", timeout=timeout) for _ in range(CONCURRENT_SAVES)
        )

    errors = all_gather_object(context, error_of(create))
    error = next((each for each in errors if each), None)
    if error:
        raise RuntimeError(error)
    return groups


def error_of(work: Callable[[], object]) -> str | None:
    """Call `work`; return its error in one line, None if it succeeded.

    An error of a save costs that checkpoint, never the run.
    """
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        work()
    except CheckpointException as error:  # not an Exception, by its own declaration
        rank, (cause, _) = min(error.failures.items())
        return f"rank {rank}: {one_line(cause)}"
    except Exception as error:
        return one_line(error)
    return None
