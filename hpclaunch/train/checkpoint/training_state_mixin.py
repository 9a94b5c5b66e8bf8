"""What a Transformers Trainer saves beside its weights, and loads again, without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hpclaunch.train.checkpoint import training_state
from hpclaunch.train.checkpoint.rng_state import load_rng_state, save_rng_state
from hpclaunch.train.checkpoint.training_state import Writing, safetensors_dcp
from hpclaunch.train.distributed import DistContext

TRAINING_ARGS = "training_args.bin"
"""A pickle that Transformers writes and never reads."""


class TrainingStateMixin:
    """Replaces the Trainer's methods that write or read pickles. Comes before TRL's class."""

    model: Any
    optimizer: Any
    lr_scheduler: Any
    accelerator: Any
    context: DistContext
    writing: Writing
    """The parts of the checkpoint being saved that DCP writes."""

    def _save(self, output_dir: str, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)  # type: ignore[misc]  # the trainer's
        (Path(output_dir) / TRAINING_ARGS).unlink(missing_ok=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        folder = Path(output_dir)
        if self.context.fsdp_version:
            from accelerate.utils import save_fsdp_model, save_fsdp_optimizer

            plugin, model = self.accelerator.state.fsdp_plugin, self.model
            save_fsdp_model(plugin, self.accelerator, model, output_dir, **_options())
            save_fsdp_optimizer(plugin, self.accelerator, self.optimizer, model, output_dir)
        elif self.context.is_main_process:
            self.writing.writers.append(training_state.save_optimizer(self.optimizer, folder))
        if self.context.is_main_process:
            training_state.save_scheduler(self.lr_scheduler, folder)

    def _save_scaler(self, output_dir: str) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if scaler is not None and self.context.is_main_process:
            training_state.save_scaler(scaler, Path(output_dir))

    def _save_rng_state(self, output_dir: str) -> None:
        save_rng_state(Path(output_dir), self.context.rank)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with safetensors_dcp():
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]  # the trainer's

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        if self.context.fsdp_version:
            from accelerate.utils import load_fsdp_optimizer

            plugin, model = self.accelerator.state.fsdp_plugin, self.model
            arguments = (plugin, self.accelerator, self.optimizer, model, checkpoint)
            with safetensors_dcp():
                load_fsdp_optimizer(*arguments, **_options())
        else:
            training_state.load_optimizer(self.optimizer, folder)
        training_state.load_scheduler(self.lr_scheduler, folder)

    def _load_scaler(self, checkpoint: str | None) -> None:
        scaler = getattr(self.accelerator, "scaler", None)
        if checkpoint is not None and scaler is not None:
            training_state.load_scaler(scaler, Path(checkpoint))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_rng_state(Path(checkpoint), self.context.rank)


def _options() -> dict[str, Any]:
    """Return how accelerate saves what a method trains: an adapter alone, where there is one."""
    from transformers.trainer import get_fsdp_ckpt_kwargs

    options: dict[str, Any] = get_fsdp_ckpt_kwargs()
    return options
