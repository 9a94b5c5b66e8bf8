"""TRL's SFTTrainer with checkpoints that appear whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from trl import SFTTrainer

from hpclaunch.run.events import mark
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import checkpoints
from hpclaunch.train.world import World, barrier


class RunTrainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped here: mypy skips it
    """An SFTTrainer that keeps its checkpoints in a run folder."""

    def __init__(
        self,
        run: RunFolder,
        world: World,
        keep: int,
        saved: Callable[[float], None] = lambda _: None,
        **arguments: Any,
    ) -> None:
        """Take SFTTrainer's arguments; `keep` checkpoints stay, the newest.

        `saved` is told the seconds that each checkpoint took.
        """
        self.saved = saved
        self.run = run
        self.world = world
        self.keep = keep
        self.use_cache = getattr(arguments["model"].config, "use_cache", None)
        """As the model came: training switches it off, and what is saved should generate fast."""
        super().__init__(**arguments)

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: a card with nothing filled in says nothing of the model."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(checkpoints.aside(self.run))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let all ranks write aside, then rename; the first rank marks it."""
        started = time.monotonic()
        step = self.state.global_step
        if self.world.first:
            checkpoints.clear_aside(self.run)
            checkpoints.aside(self.run).mkdir(parents=True)
        barrier()  # nobody writes into what is about to be cleared
        super()._save_checkpoint(model, trial)
        barrier()  # all shards are there
        if self.world.first:
            path = checkpoints.promote(self.run, step, self.world.size, self.keep)
            mark(
                self.run.events,
                "checkpoint",
                step=step,
                seconds=round(time.monotonic() - started, 3),
                bytes=checkpoints.size(path),
                path=str(path.relative_to(self.run.root)),
            )
        barrier()
        self.saved(time.monotonic() - started)
