"""Time-outs of collectives: minutes within a step, longer while ranks load or save.

One time-out for all would have to be that of the longest save: with one rank hanging, a job of
hundreds of GPUs would wait two hours in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from transformers import TrainerCallback

from hpclaunch.train import phases
from hpclaunch.train.distributed import LONG_TIMEOUT

STEP_TIMEOUT = 600
"""Seconds: torch's own for collectives over NCCL. Within a step ranks meet at every layer."""


class Timeouts(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Shortens the time-out once the first step has shown that all ranks are there."""

    def __init__(self, ddp_timeout: int | None) -> None:
        """`ddp_timeout`: the recipe's own, in seconds, which then holds from beginning to end."""
        self.step_seconds = ddp_timeout or STEP_TIMEOUT
        self.save_seconds = ddp_timeout or LONG_TIMEOUT
        self.first_step_done = False
        self.saves = 0
        """Saves in progress, one within the other."""
        self.excluded: list[Any] = []

    def exclude(self, groups: list[Any]) -> None:
        """Leave the time-out of `groups` as it is: they write checkpoints and do not train."""
        self.excluded = groups

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Shorten it after the first step, the slowest: kernels are compiled, memory allocated."""
        if not self.first_step_done:
            self.first_step_done = True
            self._set(self.step_seconds)

    @contextmanager
    def saving(self, what: str = "saving a checkpoint") -> Iterator[None]:
        """Use the long time-out meanwhile: one rank's disk may be much slower than another's.

        `what`: the phase that is told.
        """
        self.saves += 1
        self._set(self.save_seconds)
        with phases.phase(what):
            yield
        self.saves -= 1
        if self.first_step_done and not self.saves:
            self._set(self.step_seconds)

    def _set(self, seconds: int) -> None:
        """Set the time-out of collectives that begin from now on, in all groups not excluded."""
        import torch.distributed as dist
        from torch.distributed import distributed_c10d

        if not dist.is_initialized():
            return
        for group in list(distributed_c10d._world.pg_map):
            if group not in self.excluded:
                distributed_c10d._set_pg_timeout(timedelta(seconds=seconds), group)
