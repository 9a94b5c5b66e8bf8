"""A trainer under DeepSpeed's ZeRO: this project's checkpoints in place of DeepSpeed's own."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.train.checkpoint import training_state
from hpclaunch.train.checkpoint.training_state import Writing
from hpclaunch.train.distributed import DistContext
from hpclaunch.train.zero import checkpoint
from hpclaunch.train.zero.partitions import elements, missing_attribute


class ZeroMixin:
    """Keeps checkpoints of what the ranks hold under ZeRO. Comes before all other classes."""

    model: Any
    model_wrapped: Any
    accelerator: Any
    lr_scheduler: Any
    context: DistContext
    writing: Writing
    trainable_bytes: int

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what the trainer takes."""
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        super().__init__(*arguments, **options)
        # Micro-batches are summed in fp32, as under FSDP: DeepSpeed's own is the model's type.
        plugin = self.accelerator.state.deepspeed_plugin
        plugin.hf_ds_config.config["data_types"] = {"grad_accum_dtype": "fp32"}

    def count_trainable_bytes(self) -> None:
        """Count what is trained of the whole model, of which a rank may hold a part."""
        trained = (each for each in self.model.parameters() if each.requires_grad)
        self.trainable_bytes = sum(elements(each) * each.element_size() for each in trained)

    def load_weights(self, folder: str) -> None:
        """Replace the weights after training by those of a checkpoint. Collective."""
        checkpoint.load_weights(self.model_wrapped, Path(folder))

    def save_model(self, *_: Any, **__: Any) -> None:
        """Write nothing: a checkpoint has the ranks' pieces, and final weights are gathered."""

    def _prepare_for_training(self, *arguments: Any, **options: Any) -> Any:
        with _without_its_checkpoints():
            prepared = super()._prepare_for_training(*arguments, **options)  # type: ignore[misc]  # the trainer's, beside this class
        engine = self.model_wrapped
        lacking = missing_attribute(engine.optimizer, engine.zero_optimization_stage())
        if lacking is not None:
            raise UserError(
                f"--engine deepspeed: the installed DeepSpeed's optimizer has no {lacking}",
                "install deepspeed==0.19.8",
            )
        return prepared

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        folder = Path(output_dir)
        self.writing.writers += checkpoint.save_state(self.model_wrapped, folder)
        if self.context.is_main_process:
            training_state.save_scheduler(self.lr_scheduler, folder)

    def _load_optimizer_and_scheduler(self, resumed: str | None) -> None:
        if resumed is None:
            return
        engine, folder = self.model_wrapped, Path(resumed)
        checkpoint.load_weights(engine, folder)
        checkpoint.load_optimizer(engine, folder)
        training_state.load_scheduler(self.lr_scheduler, folder)


@contextlib.contextmanager
def _without_its_checkpoints() -> Iterator[None]:
    """Let Transformers prepare a resumed training, and not load DeepSpeed's own checkpoint."""
    from transformers import trainer

    # It warns that Transformers, and not accelerate, counts micro-batches.
    logger = logging.getLogger("accelerate.accelerator")
    load, level = trainer.deepspeed_load_checkpoint, logger.level
    trainer.deepspeed_load_checkpoint = lambda *_, **__: None
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        trainer.deepspeed_load_checkpoint = load
        logger.setLevel(level)


def under_zero(trainer: Any) -> Any:
    """Return a trainer's class as ZeRO needs it."""
    return type(trainer.__name__, (ZeroMixin, trainer), {"__module__": __name__})
