"""A training's parts, from its recipe: tokenizer, data, settings, model, trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import attention, data, model, objectives, packing, settings, template
from hpclaunch.train.distributed import DistContext
from hpclaunch.train.peak_memory import PeakMemory
from hpclaunch.train.phase_callback import PhaseCallback
from hpclaunch.train.progress_log import ProgressLog, log_line
from hpclaunch.train.stop import StopInTime
from hpclaunch.train.timeouts import Timeouts


@dataclass(frozen=True)
class Inputs:
    """What a training takes beside the model."""

    source: model.Source
    """Where the model is loaded from."""
    tokenizer: Any
    new_tokens: list[int]
    """Ids of `data.special_tokens` that the model does not have yet."""
    rows: data.Rows
    arguments: Any
    """TRL's config, such as SFTConfig."""
    attn_implementation: str
    training_template: str | None
    """Chat template to train with; None for the tokenizer's own."""


@dataclass(frozen=True)
class Callbacks:
    """The trainer's callbacks that the session reads after training."""

    stop: StopInTime
    memory: PeakMemory


def load_inputs(recipe: Recipe, folder: RunFolder, context: DistContext) -> Inputs:
    """Return everything but the model. Raises UserError."""
    source = model.source(recipe.model)
    tokenizer, new_tokens = model.load_tokenizer(source, recipe)
    chat = template.has_chat_template(tokenizer, recipe.training)
    rows = data.load_rows(recipe.data, recipe.objective, chat=chat, check=False)
    config = model.load_config(source)
    packed = packing.use_packing(recipe.training, config)
    attn_implementation = attention.attn_implementation(
        recipe.model.attention, context.device, config, recipe.model.dtype, packed=packed
    )
    arguments = settings.training_arguments(
        recipe,
        folder,
        context,
        conversations=rows.messages,
        has_eval_set=rows.validation is not None,
        packing=packed,
    )
    training_template = None
    if tokenizer.chat_template and template.masks_assistant(arguments, rows):
        training_template = template.training_template_of(tokenizer, rows)
    return Inputs(
        source, tokenizer, new_tokens, rows, arguments, attn_implementation, training_template
    )


def load_model(recipe: Recipe, inputs: Inputs, context: DistContext) -> Any:
    """Return the model, with rows for new tokens. Raises UserError."""
    from transformers import set_seed

    set_seed(inputs.arguments.seed)  # rows of new tokens start at random
    return model.load_model(
        recipe,
        inputs.source,
        inputs.attn_implementation,
        len(inputs.tokenizer),
        context.fsdp_version,
    )


def create_trainer(
    recipe: Recipe, inputs: Inputs, loaded: Any, folder: RunFolder, context: DistContext
) -> tuple[Any, Callbacks]:
    """Return the trainer for the recipe's objective, data tokenized, and its callbacks.

    Raises UserError where no sample has anything to learn from.
    """
    from transformers import PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from hpclaunch.train.kernels import install as kernels
    from hpclaunch.train.tensorboard import FullDiskTensorBoard
    from hpclaunch.train.trainer import CheckpointOptions

    stop = StopInTime(folder, context)
    memory = PeakMemory(context)
    timeouts = Timeouts(recipe.training.get("ddp_timeout"))
    with template.chat_template(inputs.tokenizer, inputs.training_template):
        trainer = objectives.trainer_class(recipe.objective)(
            folder,
            context,
            CheckpointOptions(
                recipe.checkpoints.keep,
                recipe.checkpoints.asynchronous,
                on_training_continues=stop.walltime.training_continues,
            ),
            timeouts,
            model=loaded,
            args=inputs.arguments,
            train_dataset=inputs.rows.train,
            eval_dataset=inputs.rows.validation,
            processing_class=inputs.tokenizer,
            peft_config=model.lora_config(recipe, loaded, inputs.new_tokens, context.fsdp_version),
            callbacks=[stop, timeouts, memory],
        )
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(TensorBoardCallback):
        trainer.add_callback(FullDiskTensorBoard)
    model.add_head_bias_attribute(trainer.model)
    if trainer.padding_free:
        packing.forbid_masks(model.without_adapter(trainer.model))
    _check_not_empty(recipe, trainer)
    faster = kernels.install(recipe, trainer, context.fsdp_version)
    if context.is_main_process:
        if faster:
            log_line(f"fused: {', '.join(faster)}")
        tokens = lambda: int(trainer._total_train_tokens)  # noqa: E731
        trainer.add_callback(ProgressLog(folder, tokens, lambda: trainer.data_wait_seconds))
        trainer.add_callback(PhaseCallback())
    return trainer, Callbacks(stop, memory)


def _check_not_empty(recipe: Recipe, trainer: Any) -> None:
    """Refuse to train on nothing: TRL drops samples that truncation left without a loss."""
    if len(trainer.train_dataset) == 0:
        raise UserError(
            f"no sample of {recipe.data.name} has a token to learn from within "
            f"max_length {trainer.args.max_length}",
            "raise training.max_length",
        )


def save_final(recipe: Recipe, folder: RunFolder, context: DistContext, trainer: Any) -> None:
    """Write RUN/final. Every rank must call it."""
    import torch

    from hpclaunch.train.checkpoint.final_weights import save_final_weights

    with trainer.timeouts.saving("saving the final weights"):
        save_final_weights(folder, context, trainer, getattr(torch, recipe.model.dtype))
