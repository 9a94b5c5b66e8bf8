"""Saves a checkpoint where an evaluation is the lowest, and loads the best one at the end."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import phases
from hpclaunch.train.checkpoint import manifest
from hpclaunch.train.checkpoint.async_save import error_of
from hpclaunch.train.checkpoint.best import (
    Evaluated,
    evaluated_copies,
    evaluated_here,
    finite_loss,
    write_loss,
)
from hpclaunch.train.distributed import DistContext, all_gather_object
from hpclaunch.train.progress_log import log_line
from hpclaunch.train.upload.remote_checkpoints import RemoteCheckpoints


class BestCheckpoint(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Knows the checkpoint with the lowest evaluation loss, the same on all ranks."""

    def __init__(self, run: RunFolder, context: DistContext, trainer: Any) -> None:
        self.run = run
        self.context = context
        self.trainer = trainer
        self.losses: dict[int, float] = {}
        """Losses of this attempt's evaluations by step."""
        self.best: Evaluated | None = None
        self.saved_step: int | None = None
        """The newest checkpoint of this attempt that is in place."""

    @property
    def name(self) -> str | None:
        """Return the name of the best checkpoint's folder, which must stay."""
        return self.best.name if self.best else None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Read what earlier attempts left."""
        self._find()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Have the last step evaluated, so that its weights take part."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Evaluate no step twice."""
        if state.global_step in self.losses:
            control.should_evaluate = False
        return control

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> Any:
        """Have a checkpoint saved where the loss is the lowest so far."""
        step, loss = int(state.global_step), finite_loss((metrics or {}).get("eval_loss"))
        loss = all_gather_object(self.context, loss)[0]
        if loss is None or step == 0:
            return control
        self.losses[step] = loss
        pending = self.trainer.pending_save
        if pending is not None and pending.step == step:
            self.trainer.finalize_async_save()
        if self.saved_step == step:  # saved at the step's end, evaluated at the epoch's
            if self.context.is_main_process and self.best != Evaluated(loss, step):
                problem = error_of(lambda: write_loss(self.run, step, loss))
                if problem is not None:
                    log_line(f"step {step}: its eval loss cannot be kept: {problem}")
            self.checkpoint_in_place(step)
        elif self.best is None or loss < self.best.loss:
            control.should_save = True
        return control

    def checkpoint_in_place(self, step: int) -> None:
        """Take note of a new checkpoint; log it where it is the best. Collective."""
        before = self.best
        self.saved_step = step
        self._find()
        best = self.best
        if best is None or best == before or best.step != step or not self.context.is_main_process:
            return
        log_event(self.run.events, "best", step=best.step, eval_loss=best.loss)
        than = f", before {before.loss:.4f} at step {before.step}" if before else ""
        log_line(f"{best.name} has the lowest eval loss so far: {best.loss:.4f}{than}")

    def _find(self) -> None:
        found = evaluated_here(self.run) if self.context.is_main_process else []
        self.best = next(iter(all_gather_object(self.context, found)[0]), None)

    def load(self, remote: RemoteCheckpoints) -> Evaluated | None:
        """Load the weights with the lowest evaluation loss; return their step and loss.

        None where no evaluated checkpoint can be loaded: the weights stay those of the last step.
        A damaged checkpoint is logged, and the next best is taken. Collective.
        """
        now = int(self.trainer.state.global_step)
        loss_now = self.losses.get(now)
        last = None if loss_now is None else Evaluated(loss_now, now)
        here, copies = all_gather_object(
            self.context, (evaluated_here(self.run), evaluated_copies(remote.complete))
        )[0]
        for found in sorted({*here, *copies}):
            if found.step == now or (last is not None and last <= found):
                break
            if self._load(found, found in here, remote):
                return found
        last = last or next((each for each in here if each.step == now), None)
        if last is None and self.context.is_main_process:
            log_line("no evaluated checkpoint can be loaded: the weights are the last step's")
        return last

    def _load(self, found: Evaluated, here: bool, remote: RemoteCheckpoints) -> bool:
        """Load a checkpoint's weights if it is complete; return whether it was. Collective."""
        folder = self.run.checkpoints / found.name
        rank, ranks = self.context.rank, self.context.world_size
        problem: str | None = f"{found.name} is not here"
        if here:
            damage = manifest.find_damage(folder, rank, ranks)
            problem = next((each for each in all_gather_object(self.context, damage) if each), None)
        if problem is not None and found.name in remote.complete:
            problem = remote.fetch(found.name)
        if problem is None:
            phases.begin(f"loading {found.name}, the best checkpoint")
            self.trainer.load_weights(str(folder))
        elif self.context.is_main_process:
            log_event(self.run.events, "checkpoint damaged", path=found.name, why=problem)
            log_line(f"{found.name}, the best so far, cannot be loaded: {problem}")
        return problem is None
