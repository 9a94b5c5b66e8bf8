"""TRL's SFTTrainer with checkpoints that appear whole or not at all, and can be trusted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from trl import SFTTrainer

from hpclaunch.run.events import mark
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import checkpoints, manifest
from hpclaunch.train.failure import one_line
from hpclaunch.train.narrator import say
from hpclaunch.train.world import World, all_shares, barrier, broadcast_number

ROOM = 1.1
"""Free space wanted before a save, in sizes of the last checkpoint."""


class RunTrainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped here: mypy skips it
    """An SFTTrainer that keeps its checkpoints in a run folder."""

    def __init__(
        self,
        run: RunFolder,
        world: World,
        keep: int,
        saved: Callable[[float], None] = lambda _: None,
        held: Callable[[], str | None] = lambda: None,
        **arguments: Any,
    ) -> None:
        """Take SFTTrainer's arguments; `keep` checkpoints stay, the newest.

        `saved` is told the seconds that each checkpoint took; `held` names one that must stay.
        """
        self.run = run
        self.world = world
        self.keep = keep
        self.saved = saved
        self.held = held
        self.last_size = 0
        """Bytes of the last checkpoint."""
        self.use_cache = getattr(arguments["model"].config, "use_cache", None)
        """As the model came: training switches it off, and what is saved should generate fast."""
        super().__init__(**arguments)
        self.trained_bytes = _trained_bytes(self.model)
        """What a checkpoint's weights take at least: counted before the model is sharded."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: a card with nothing filled in says nothing of the model."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(checkpoints.aside(self.run))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let all ranks write aside, look whether it is all there, then rename it into place.

        A checkpoint that cannot be had (a full disk, a quota) costs that checkpoint, not the run:
        the ones before it stay, and training goes on.
        """
        started = time.monotonic()
        problem = self._no_room() if self.world.first else None
        if not broadcast_number(self.world, int(problem is not None)):
            problem = self._write(model, trial)
        if problem is None:
            self.saved(time.monotonic() - started)
        elif self.world.first:
            checkpoints.clear_aside(self.run)
            step = self.state.global_step
            mark(self.run.events, "checkpoint failed", step=step, why=problem)
            kept = checkpoints.newest(self.run)
            left = f"{kept.name} stays the newest" if kept else "there is none"
            say(f"step {step}: no checkpoint: {problem}; {left}")
        barrier()

    def _no_room(self) -> str | None:
        """Say how much room is missing for another checkpoint, None where there is enough."""
        free = shutil.disk_usage(self.run.root).free
        wanted = int(ROOM * self.last_size)
        if free >= wanted:
            return None
        return f"the disk has {free / 1e9:.1f} GB left, and a checkpoint takes {wanted / 1e9:.1f}"

    def _write(self, model: Any, trial: Any) -> str | None:
        """Write and check the checkpoint; gives what went wrong on any rank, the same on all."""
        started = time.monotonic()
        step = self.state.global_step
        problem = None
        if self.world.first:
            problem = _tried(lambda: checkpoints.begin(self.run))
        if broadcast_number(self.world, int(problem is not None)):
            return problem or "another rank could not begin it"
        folder = checkpoints.aside(self.run) / f"checkpoint-{step}"
        problem = _tried(lambda: super(RunTrainer, self)._save_checkpoint(model, trial))
        barrier()  # all shards are there
        share: dict[str, manifest.Part] = {}
        if problem is None:
            try:
                share = manifest.parts_of(folder, self.world.rank, self.world.size)
            except OSError as error:
                problem = one_line(error)
        shares = all_shares(self.world, (problem, share))
        problem = next((said for said, _ in shares if said is not None), None)
        parts = manifest.merged(parts for _, parts in shares)
        problem = problem or self._too_small(parts)
        if problem is None and self.world.first:
            problem = _tried(lambda: self._promote(folder, parts, started))
        if broadcast_number(self.world, int(problem is not None)):
            return problem or "the first rank could not put it into place"
        return None

    def _too_small(self, parts: dict[str, manifest.Part]) -> str | None:
        """Refuse a checkpoint without the weights: libraries have written such ones, silently."""
        held = manifest.weight_bytes(parts)
        if held >= self.trained_bytes:
            return None
        return f"it holds {held:,} bytes of weights where {self.trained_bytes:,} are trained"

    def _promote(self, folder: Path, parts: dict[str, manifest.Part], started: float) -> None:
        step = self.state.global_step
        manifest.write(
            folder,
            parts,
            step=step,
            ranks=self.world.size,
            versions={
                name: metadata.version(name) for name in ("hpclaunch", "torch", "accelerate")
            },
        )
        path = checkpoints.promote(self.run, step, self.keep, self.held())
        self.last_size = sum(part.bytes for part in parts.values())
        mark(
            self.run.events,
            "checkpoint",
            step=step,
            seconds=round(time.monotonic() - started, 3),
            bytes=self.last_size,
            path=str(path.relative_to(self.run.root)),
        )


def _trained_bytes(model: Any) -> int:
    """Give the bytes of all weights that are trained, of the whole model."""
    trained = (each for each in model.parameters() if each.requires_grad)
    return sum(each.numel() * each.element_size() for each in trained)


def _tried(work: Callable[[], object]) -> str | None:
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
