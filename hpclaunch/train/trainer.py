"""TRL's SFTTrainer with checkpoints that appear whole or not at all, and can be trusted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from transformers import TrainerCallback
from trl import SFTTrainer

from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.train.checkpoint import folders, manifest
from hpclaunch.train.checkpoint.async_save import Flight, in_flight, own_groups, tried
from hpclaunch.train.distributed import DistContext, all_gather_object, barrier, broadcast_number
from hpclaunch.train.failure import one_line
from hpclaunch.train.progress_log import say
from hpclaunch.train.timeouts import Timeouts

ROOM = 1.1
"""Free space wanted before a save, in sizes of the last checkpoint."""


@dataclass(frozen=True)
class Saving:
    """How a run keeps its checkpoints, and who is told."""

    keep: int = 2
    """How many of the newest stay."""
    asynchronous: bool = False
    """Write while training goes on."""
    stalled: Callable[[bool], None] = lambda _: None
    """Told when training goes on after a save, and whether it is still being written."""
    saved: Callable[[float], None] = lambda _: None
    """Told the seconds that a checkpoint took, from its beginning until it was in place."""
    held: Callable[[], str | None] = lambda: None
    """Names a checkpoint that must stay for now."""


class RunTrainer(SFTTrainer):  # type: ignore[misc]  # trl is untyped here
    """An SFTTrainer that keeps its checkpoints in a run folder."""

    def __init__(
        self,
        run: RunFolder,
        world: DistContext,
        saving: Saving,
        patience: Timeouts,
        **arguments: Any,
    ) -> None:
        """Take SFTTrainer's arguments; `patience` holds how long ranks wait for each other."""
        self.run = run
        self.world = world
        self.saving = saving
        self.patience = patience
        self.flight: Flight | None = None
        """The checkpoint that is still being written, the same on all ranks."""
        self.groups: list[Any] | None = None
        self.waited = 0.0
        """Seconds this rank has waited for its batches."""
        self.last_size = 0
        """Bytes of the last checkpoint."""
        self.use_cache = getattr(arguments["model"].config, "use_cache", None)
        """As the model came: training switches it off, and what is saved should generate fast."""
        super().__init__(**arguments)
        self.trained_bytes = _trained_bytes(self.model)
        """What a checkpoint's weights take at least: counted before the model is sharded."""
        if saving.asynchronous:
            self._take_off()

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        """Fetch the batches of a step, and count how long that took."""
        started = time.monotonic()
        found = super().get_batch_samples(*arguments, **named)
        self.waited += time.monotonic() - started
        return found

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: a card with nothing filled in says nothing of the model."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(folders.aside(self.run))

    def _take_off(self) -> None:
        """Make ready for writing while training goes on, or say why that is not to be."""
        why = "there is nothing that several ranks share"
        try:
            self.groups = own_groups(self.world)
        except RuntimeError as error:
            why = one_line(error)
        if self.groups is not None:
            self.patience.leave_alone(self.groups)
            self.add_callback(_Land(self))
        elif self.world.first:
            say(f"checkpoints are written while training waits: {why}")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Let all ranks write aside, look whether it is all there, then rename it into place.

        A checkpoint that cannot be had (a full disk, a quota) costs that checkpoint, not the run:
        the ones before it stay, and training goes on. One at a time: the one before is awaited.
        """
        with self.patience.saving():
            self._keep_checkpoint(model, trial)

    def _keep_checkpoint(self, model: Any, trial: Any) -> None:
        self.land()
        began = time.monotonic()
        problem = self._no_room() if self.world.first else None
        if not broadcast_number(self.world, int(problem is not None)):
            problem = self._write(model, trial, began)
        if problem is not None:
            self._failed(self.state.global_step, problem)
        elif self.groups is None:
            self.land()
        self.saving.stalled(self.flight is not None)
        barrier()

    def _no_room(self) -> str | None:
        """Say how much room is missing for another checkpoint, None where there is enough."""
        free = shutil.disk_usage(self.run.root).free
        wanted = int(ROOM * self.last_size)
        if free >= wanted:
            return None
        return f"the disk has {free / 1e9:.1f} GB left, and a checkpoint takes {wanted / 1e9:.1f}"

    def _write(self, model: Any, trial: Any, began: float) -> str | None:
        """Begin to write the checkpoint; gives what went wrong on any rank, the same on all."""
        step = self.state.global_step
        problem = None
        if self.world.first:
            problem = tried(lambda: folders.begin(self.run))
        if broadcast_number(self.world, int(problem is not None)):
            return problem or "another rank could not begin it"
        folder = folders.aside(self.run) / f"checkpoint-{step}"
        with in_flight(self.groups) as parts:
            problem = tried(lambda: super(RunTrainer, self)._save_checkpoint(model, trial))
        problem = next((said for said in all_gather_object(self.world, problem) if said), None)
        if problem is not None:
            for part in parts:
                tried(part.result)
            return problem
        self.flight = Flight(step, folder, self.world, parts, began, time.monotonic() - began)
        return None

    def land(self, *, wait: bool = True) -> None:
        """Put the checkpoint that is being written into place; `wait` for it, or only if all of it

        is there. Every rank must call it at the same place.
        """
        flight = self.flight
        if flight is None:
            return
        if not wait and not all(all_gather_object(self.world, flight.over)):
            return
        with self.patience.saving():
            self._land(flight)

    def _land(self, flight: Flight) -> None:
        self.flight = None
        shares = all_gather_object(self.world, flight.wait())
        problem = next((said for said, _ in shares if said is not None), None)
        parts = manifest.merged(parts for _, parts in shares)
        problem = problem or self._too_small(parts)
        if problem is None and self.world.first:
            problem = tried(lambda: self._promote(flight, parts))
        if broadcast_number(self.world, int(problem is not None)):
            self._failed(flight.step, problem or "the first rank could not put it into place")
        else:
            self.saving.saved(time.monotonic() - flight.began)

    def _failed(self, step: int, problem: str | None) -> None:
        """Forget a checkpoint that could not be had, and say so."""
        if self.world.first:
            folders.clear_aside(self.run)
            log_event(self.run.events, "checkpoint failed", step=step, why=problem)
            kept = folders.newest(self.run)
            left = f"{kept.name} stays the newest" if kept else "there is none"
            say(f"step {step}: no checkpoint: {problem}; {left}")

    def _too_small(self, parts: dict[str, manifest.Part]) -> str | None:
        """Refuse a checkpoint without the weights: libraries have written such ones, silently."""
        held = manifest.weight_bytes(parts)
        if held >= self.trained_bytes:
            return None
        return f"it holds {held:,} bytes of weights where {self.trained_bytes:,} are trained"

    def _promote(self, flight: Flight, parts: dict[str, manifest.Part]) -> None:
        manifest.write(
            flight.folder,
            parts,
            step=flight.step,
            ranks=self.world.size,
            versions={
                name: metadata.version(name) for name in ("hpclaunch", "torch", "accelerate")
            },
        )
        path = folders.promote(self.run, flight.step, self.saving.keep, self.saving.held())
        self.last_size = sum(part.bytes for part in parts.values())
        seconds = time.monotonic() - flight.began
        log_event(
            self.run.events,
            "checkpoint",
            step=flight.step,
            seconds=round(seconds, 3),
            stalled=round(seconds if self.groups is None else flight.stalled, 3),
            bytes=self.last_size,
            path=str(path.relative_to(self.run.root)),
        )


class _Land(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Looks after each step whether the checkpoint in flight is all written."""

    def __init__(self, trainer: RunTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Put it into place if it is."""
        self.trainer.land(wait=False)


def _trained_bytes(model: Any) -> int:
    """Return the bytes of all weights that are trained, of the whole model."""
    trained = (each for each in model.parameters() if each.requires_grad)
    return sum(each.numel() * each.element_size() for each in trained)
