"""How long ranks wait for each other: minutes in a step, longer while they load or save.

One time-out for all would be that of the longest save: with one rank stuck, a job of hundreds of
GPUs would sit out two hours in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from transformers import TrainerCallback

from hpclaunch.train.settings import LONG_TIMEOUT

STEP_TIMEOUT = 600
"""Seconds: torch's own for collectives over NCCL. Within a step ranks meet at every layer."""


class Timeouts(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Shortens the time-out once the first step has shown that all ranks are there."""

    def __init__(self, chosen: int | None) -> None:
        """`chosen`: the recipe's own ddp_timeout, which then holds from beginning to end."""
        self.step = chosen or STEP_TIMEOUT
        self.long = chosen or LONG_TIMEOUT
        self.short = False
        self.savings = 0
        """Saves that are under way, one within the other."""
        self.alone: list[Any] = []

    def leave_alone(self, groups: list[Any]) -> None:
        """Keep the time-out of `groups`, which do not train: theirs is for writing to a disk."""
        self.alone = groups

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The first step takes longest: kernels are compiled, memory is laid out."""
        if not self.short:
            self.short = True
            self._set(self.step)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Wait longer for each other: one rank's disk may be much slower than another's."""
        self.savings += 1
        self._set(self.long)
        yield
        self.savings -= 1
        if self.short and not self.savings:
            self._set(self.step)

    def _set(self, seconds: int) -> None:
        """Set how long every collective waits that begins from now on, in every group but those."""
        import torch.distributed as dist
        from torch.distributed import distributed_c10d

        if not dist.is_initialized():
            return
        for group in list(distributed_c10d._world.pg_map):
            if group not in self.alone:
                distributed_c10d._set_pg_timeout(timedelta(seconds=seconds), group)
