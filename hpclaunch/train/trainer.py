"""TRL's trainers with checkpoints in the run folder: complete or absent, and verified."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from transformers import TrainerCallback

from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.waiting import waiting
from hpclaunch.train.best import BestCheckpoint
from hpclaunch.train.checkpoint import digests, folders, manifest
from hpclaunch.train.checkpoint.async_save import PendingSave, error_of, new_save_groups
from hpclaunch.train.checkpoint.best import EVAL_LOSS
from hpclaunch.train.checkpoint.training_state import Writing, safetensors_dcp
from hpclaunch.train.checkpoint.training_state_mixin import TrainingStateMixin
from hpclaunch.train.distributed import DistContext, all_gather_object, barrier, broadcast_number
from hpclaunch.train.failure import one_line
from hpclaunch.train.progress_log import log_line
from hpclaunch.train.timeouts import Timeouts

FREE_SPACE_FACTOR = 1.1
"""Free space needed before a save, in sizes of the last checkpoint."""


@dataclass(frozen=True)
class CheckpointOptions:
    """How a run keeps its checkpoints, and what is called after a save."""

    keep: int = 2
    """How many of the newest stay."""
    asynchronous: bool = False
    """Write while training goes on."""
    on_training_continues: Callable[[bool], None] = lambda _: None
    """Called when training goes on after a save: whether it is still being written."""
    on_checkpoint_saved: Callable[[float], None] = lambda _: None
    """Called with the seconds from a save's beginning until the checkpoint was in place."""
    in_use: Callable[[], str | None] = lambda: None
    """Returns the name of a checkpoint that must not be removed now."""
    best: bool = False
    """Keep the checkpoint with the lowest evaluation loss, too."""
    kept_by_score: Callable[[], str | None] = lambda: None
    """Returns the name of the checkpoint with the best score of a task so far, which stays."""


class CheckpointingTrainerMixin(TrainingStateMixin):
    """Keeps a Transformers Trainer's checkpoints in a run folder. Comes before TRL's class."""

    model: Any
    model_wrapped: Any
    state: Any
    _total_train_tokens: Any
    add_callback: Callable[[Any], None]

    def __init__(
        self,
        run: RunFolder,
        context: DistContext,
        checkpoints: CheckpointOptions,
        timeouts: Timeouts,
        **arguments: Any,
    ) -> None:
        """Take the trainer's own arguments as `arguments`."""
        self.run = run
        self.context = context
        self.checkpoints = checkpoints
        self.timeouts = timeouts
        self.pending_save: PendingSave | None = None
        """The checkpoint that is still being written, the same on all ranks."""
        self.save_groups: list[Any] | None = None
        self.writing = Writing()
        self.data_wait_seconds = 0.0
        """How long this rank has waited for its batches."""
        self.last_checkpoint_bytes = 0
        self.use_cache = getattr(arguments["model"].config, "use_cache", None)
        """As the model came: training switches it off, and what is saved should generate fast."""
        super().__init__(**arguments)
        self.trainable_bytes = 0
        """Least size of a checkpoint's weights."""
        self.count_trainable_bytes()
        if checkpoints.asynchronous:
            self._enable_async_save()
        self.best: BestCheckpoint | None = None
        if checkpoints.best:
            self.best = BestCheckpoint(run, context, self)
            self.add_callback(self.best)

    def count_trainable_bytes(self) -> None:
        """Count what is trained of the whole model, before it is sharded."""
        self.trainable_bytes = _trainable_bytes(self.model)

    @property
    def tokens_seen(self) -> int:
        """Tokens trained on so far, over all ranks, without padding."""
        return int(self._total_train_tokens)

    def get_batch_samples(self, *arguments: Any, **options: Any) -> Any:
        """Fetch the batches of a step, and count how long that took."""
        started = time.monotonic()
        batches = super().get_batch_samples(*arguments, **options)  # type: ignore[misc]  # the trainer's, beside this class
        self.data_wait_seconds += time.monotonic() - started
        return batches

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none: a card with nothing filled in says nothing of the model."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(folders.partial_folder(self.run))

    def _enable_async_save(self) -> None:
        """Create the groups that asynchronous saves need, or log why saves will block."""
        why = "there is nothing that several ranks share"
        try:
            self.save_groups = new_save_groups(self.context)
        except RuntimeError as error:
            why = one_line(error)
        if self.save_groups is not None:
            self.timeouts.exclude(self.save_groups)
            self.add_callback(_FinalizeAsyncSave(self))
        elif self.context.is_main_process:
            log_line(f"checkpoints are written while training waits: {why}")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Have all ranks write into a partial folder, verify it, then rename it into place.

        A checkpoint that fails (full disk, quota) costs that checkpoint, not the run: older ones
        stay, and training goes on. One save at a time: the one before is finished first.
        """
        with self.timeouts.saving():
            self.finalize_async_save()
            started = time.monotonic()
            problem = self._check_free_space() if self.context.is_main_process else None
            if not broadcast_number(self.context, int(problem is not None)):
                problem = self._start_save(model, trial, started)
            if problem is not None:
                self._log_failed_checkpoint(self.state.global_step, problem)
            elif self.save_groups is None:
                self.finalize_async_save()
            self.checkpoints.on_training_continues(self.pending_save is not None)
            barrier()

    def _check_free_space(self) -> str | None:
        """Return how much space another checkpoint lacks, None where there is enough."""
        free = shutil.disk_usage(self.run.root).free
        needed = int(FREE_SPACE_FACTOR * self.last_checkpoint_bytes)
        if free >= needed:
            return None
        return f"the disk has {free / 1e9:.1f} GB left, and a checkpoint takes {needed / 1e9:.1f}"

    def _start_save(self, model: Any, trial: Any, started: float) -> str | None:
        """Start to write the checkpoint; return an error of any rank, the same on all ranks."""
        step = self.state.global_step
        problem = None
        if self.context.is_main_process:
            problem = error_of(lambda: folders.create_partial(self.run))
        if broadcast_number(self.context, int(problem is not None)):
            return problem or "another rank could not begin it"
        folder = folders.partial_folder(self.run) / f"checkpoint-{step}"
        save = super()._save_checkpoint  # type: ignore[misc]  # the trainer's, beside this class
        with safetensors_dcp(self.save_groups) as self.writing:
            problem = error_of(lambda: save(model, trial))
        problem = next((each for each in all_gather_object(self.context, problem) if each), None)
        if problem is not None:
            for future in self.writing.futures:
                error_of(future.result)
            return problem
        blocked = time.monotonic() - started
        self.pending_save = PendingSave(step, folder, self.context, self.writing, started, blocked)
        return None

    def finalize_async_save(self, *, wait: bool = True) -> None:
        """Put the checkpoint that is being written into place.

        `wait` for it; otherwise do so only if all ranks have written their part. Every rank must
        call it at the same place.
        """
        save = self.pending_save
        if save is None:
            return
        if not wait and not all(all_gather_object(self.context, save.done)):
            return
        with self.timeouts.saving():
            self._finalize(save)

    def _finalize(self, save: PendingSave) -> None:
        self.pending_save = None
        results = all_gather_object(self.context, save.wait())
        problem = next((error for error, _ in results if error is not None), None)
        entries = manifest.merge(files for _, files in results)
        problem = problem or self._check_size(entries)
        if problem is None and self.context.is_main_process:
            problem = error_of(lambda: self._move_into_place(save, entries))
        if broadcast_number(self.context, int(problem is not None)):
            self._log_failed_checkpoint(
                save.step, problem or "the first rank could not put it into place"
            )
        else:
            self._remove_old(save.step)
            self.checkpoints.on_checkpoint_saved(time.monotonic() - save.started)

    def _remove_old(self, step: int) -> None:
        """Remove checkpoints that are not to be kept, now that another is in place. Collective."""
        if self.best is not None:
            self.best.checkpoint_in_place(step)
        if self.context.is_main_process:
            options = self.checkpoints
            # In this order: an evaluation writes its scores before its checkpoint waits no more.
            needed = {options.in_use(), self.best and self.best.name, *waiting(self.run)}
            error_of(
                lambda: folders.remove_old(
                    self.run, options.keep, {*needed, options.kept_by_score()}
                )
            )

    def load_weights(self, checkpoint: str) -> None:
        """Replace the weights after training by those of a checkpoint. Collective."""
        model = self.model_wrapped if self.context.fsdp_version else None
        self._load_from_checkpoint(checkpoint, model)

    def _log_failed_checkpoint(self, step: int, problem: str | None) -> None:
        """Remove what was written of a checkpoint that failed, and log it."""
        if self.context.is_main_process:
            folders.remove_partial(self.run)
            log_event(self.run.events, "checkpoint failed", step=step, why=problem)
            kept = folders.newest(self.run)
            left = f"{kept.name} stays the newest" if kept else "there is none"
            log_line(f"step {step}: no checkpoint: {problem}; {left}")

    def _check_size(self, entries: dict[str, manifest.FileEntry]) -> str | None:
        """Return an error for a checkpoint without the weights: libraries have written such ones,

        silently. None if the weights are there.
        """
        size = manifest.weight_bytes(entries)
        if size >= self.trainable_bytes:
            return None
        return f"it holds {size:,} bytes of weights where {self.trainable_bytes:,} are trained"

    def _move_into_place(self, save: PendingSave, entries: dict[str, manifest.FileEntry]) -> None:
        loss = self.best.losses.get(save.step) if self.best else None
        manifest.write(
            save.folder,
            entries,
            step=save.step,
            ranks=self.context.world_size,
            versions={
                name: metadata.version(name) for name in ("hpclaunch", "torch", "accelerate")
            },
            **({} if loss is None else {EVAL_LOSS: loss}),
        )
        digests.record(self.run, save.step, save.folder / manifest.NAME)
        path = folders.move_into_place(self.run, save.step)
        self.last_checkpoint_bytes = sum(entry.bytes for entry in entries.values())
        seconds = time.monotonic() - save.started
        log_event(
            self.run.events,
            "checkpoint",
            step=save.step,
            seconds=round(seconds, 3),
            stalled=round(seconds if self.save_groups is None else save.blocked_seconds, 3),
            bytes=self.last_checkpoint_bytes,
            path=str(path.relative_to(self.run.root)),
        )


class TokenizedRowsMixin:
    """Has TRL's trainer take rows as they come: tokenized already. Comes before its class."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


class _FinalizeAsyncSave(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Checks after each step whether the pending checkpoint is written on all ranks."""

    def __init__(self, trainer: CheckpointingTrainerMixin) -> None:
        self.trainer = trainer

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Put it into place if it is."""
        self.trainer.finalize_async_save(wait=False)


def _trainable_bytes(model: Any) -> int:
    """Return the bytes of all weights that are trained, of the whole model."""
    trainable = (each for each in model.parameters() if each.requires_grad)
    return sum(each.numel() * each.element_size() for each in trainable)
