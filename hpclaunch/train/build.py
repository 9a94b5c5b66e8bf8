"""A training's parts, from its recipe: tokenizer, data, settings, model, trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from hpclaunch.chat.truncation import Truncation
from hpclaunch.errors import UserError
from hpclaunch.recipe.best import best_by_loss
from hpclaunch.recipe.global_batch import FIELD, differs, follows_global_batch
from hpclaunch.recipe.levers import switched_on
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.best_score import best_so_far
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import (
    attention,
    context_parallel,
    data,
    mixture,
    model,
    objectives,
    packing,
    phases,
    settings,
    template,
)
from hpclaunch.train.distributed import DistContext
from hpclaunch.train.peak_memory import PeakMemory
from hpclaunch.train.phase_callback import PhaseCallback
from hpclaunch.train.prepared.kept import rows_of_run
from hpclaunch.train.prepared.rows import PreparedRows, arrange
from hpclaunch.train.progress_log import ProgressLog, log_line
from hpclaunch.train.rewards import load_rewards
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
    rows: data.Rows | mixture.MixedRows | PreparedRows
    """As the data has them; as they are trained on, where `prepare` left them in the cache."""
    arguments: Any
    """TRL's config, such as SFTConfig."""
    attn_implementation: str


@dataclass(frozen=True)
class Callbacks:
    """The trainer's callbacks that the session reads after training."""

    stop: StopInTime
    memory: PeakMemory
    truncation: Truncation
    """What the training rows lose to max_length."""
    sources: tuple[dict[str, Any], ...]
    """What is used of each dataset."""


def load_inputs(recipe: Recipe, folder: RunFolder, context: DistContext) -> Inputs:
    """Return everything but the model. Raises UserError."""
    check_global_batch(recipe, context.world_size)
    source = model.source(recipe.model)
    tokenizer, new_tokens = model.load_tokenizer(source, recipe)
    chat = template.has_chat_template(tokenizer, recipe.training)
    rows: data.Rows | mixture.MixedRows | PreparedRows | None
    rows = rows_of_run(folder, recipe, context.device)
    if rows is None:
        rows = mixture.load_rows(recipe.data, recipe.objective, chat=chat, check=False)
    config = model.load_config(source)
    context_parallel.set_up(recipe, config, context.device)
    packed = packing.use_packing(recipe.training, config, recipe.objective)
    attn_implementation = attention.attn_implementation(
        recipe.model.attention, context.device, config, recipe.model.dtype, packed=packed
    )
    if context.zero_stage:
        phases.begin("starting DeepSpeed, which compiles a part of it at its first start")
    arguments = settings.training_arguments(
        recipe,
        folder,
        context,
        conversations=rows.messages,
        has_eval_set=mixture.validates(rows),
        packing=packed,
    )
    if template.comes_from_model(recipe.training) and hasattr(arguments, "eos_token"):
        arguments.eos_token = arguments.eos_token or tokenizer.eos_token
    return Inputs(source, tokenizer, new_tokens, rows, arguments, attn_implementation)


def check_global_batch(recipe: Recipe, ranks: int) -> None:
    """Refuse ranks for which batch and accumulation were not made. Raises UserError."""
    made = differs(recipe, ranks) if follows_global_batch(recipe) else None
    if made is not None:
        raise UserError(
            f"training.{FIELD}: {recipe.training[FIELD]}, and {ranks} ranks would make {made}",
            "plan the run anew for them: hpclaunch resume",
        )


def load_model(recipe: Recipe, inputs: Inputs, context: DistContext, what: str = "weights") -> Any:
    """Return the model, with rows for new tokens. `what` it is, for the log. Raises UserError."""
    from transformers import set_seed

    set_seed(inputs.arguments.seed)  # rows of new tokens, and a score's head, start at random
    return model.load_model(
        recipe,
        inputs.source,
        inputs.attn_implementation,
        len(inputs.tokenizer),
        context.fsdp_version,
        _weights_log(context, what),
    )


def _weights_log(context: DistContext, what: str = "weights") -> Callable[[str], None]:
    """Return what logs a line of how weights are loaded, on the main process alone."""
    return lambda line: log_line(f"{what}: {line}") if context.is_main_process else None


def load_reference(recipe: Recipe, inputs: Inputs, context: DistContext) -> Any | None:
    """Return a second copy of the model that the loss compares with, None where it needs none.

    An adapter is compared with the model without it; where that is asked before the first step, the
    model is not yet sharded, and the copy is, until it has answered. Raises UserError.
    """
    kind = recipe.objective_spec.reference
    if kind is None or (kind == "by_beta" and not inputs.arguments.beta):
        return None
    precomputes = kind == "precomputable" and inputs.arguments.precompute_ref_log_probs
    if recipe.method.kind != "full" and not (precomputes and context.fsdp_version):
        return None
    phases.begin(f"loading {recipe.model.name} once more, as the reference model")
    if context.fsdp_version != 2:
        recipe = msgspec.structs.replace(
            recipe, fsdp=msgspec.structs.replace(recipe.fsdp, loading="whole")
        )
    reference = load_model(
        recipe, inputs, replace(context, fsdp_version=2), what="reference model"
    )  # in its own type
    reference.requires_grad_(False)
    return reference.eval()


def create_trainer(
    recipe: Recipe, inputs: Inputs, loaded: Any, folder: RunFolder, context: DistContext
) -> tuple[Any, Callbacks]:
    """Return the trainer for the recipe's objective, data tokenized, and its callbacks.

    Raises UserError where no sample has anything to learn from.
    """
    from transformers import PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from hpclaunch.train.kernels import install as kernels
    from hpclaunch.train.kernels.levers import CheckLevers
    from hpclaunch.train.loading.adapters import adapters_on_cpu
    from hpclaunch.train.loading.hooks import load_when_sharded
    from hpclaunch.train.output_types import KeepOutputTypes
    from hpclaunch.train.tensorboard import FullDiskTensorBoard
    from hpclaunch.train.trainer import CheckpointOptions

    stop = StopInTime(folder, context)
    memory = PeakMemory(context)
    timeouts = Timeouts(recipe.training.get("ddp_timeout"))
    reference = load_reference(recipe, inputs, context)
    tokenized = tokenize_inputs(recipe, inputs)
    trainer_class = objectives.trainer_class(recipe.objective)
    if context.zero_stage:
        from hpclaunch.train.zero.trainer import under_zero

        trainer_class = under_zero(trainer_class)
    make_trainer = adapters_on_cpu(loaded)(trainer_class)
    trainer = make_trainer(
        folder,
        context,
        CheckpointOptions(
            recipe.checkpoints.keep,
            recipe.checkpoints.asynchronous,
            on_training_continues=stop.walltime.training_continues,
            best=best_by_loss(recipe),
            kept_by_score=lambda: best_so_far(recipe, folder),
        ),
        timeouts,
        model=loaded,
        args=inputs.arguments,
        train_dataset=tokenized.train,
        eval_dataset=tokenized.validation,
        processing_class=inputs.tokenizer,
        peft_config=model.lora_config(recipe, loaded, inputs.new_tokens, context.fsdp_version),
        callbacks=[stop, timeouts, memory, KeepOutputTypes()],
        **({} if reference is None else {"ref_model": reference}),
        **({"reward_funcs": load_rewards(recipe, folder)} if recipe.method.grpo.rewards else {}),
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(TensorBoardCallback):
        trainer.add_callback(FullDiskTensorBoard)
    if recipe.method.kind == "qlora":
        model.hold_adapters(trainer.model, recipe.method.quantization)
        trainer.count_trainable_bytes()
    elif recipe.method.kind == "lora" and recipe.objective_spec.scores:
        model.hold_in_float32(trainer.model)  # the head of the score is trained whole
        trainer.count_trainable_bytes()
    model.add_head_bias_attribute(trainer.model)
    if getattr(trainer, "padding_free", False):
        packing.forbid_masks(model.without_adapter(trainer.model))
    load_when_sharded(trainer.model, _weights_log(context))
    faster = kernels.install(recipe, trainer, context.fsdp_version)
    if switched_on(recipe.performance):
        trainer.add_callback(CheckLevers(recipe.performance))
    if context.is_main_process:
        if faster:
            log_line(f"fused: {', '.join(faster)}")
        trainer.add_callback(
            ProgressLog(folder, lambda: trainer.tokens_seen, lambda: trainer.data_wait_seconds)
        )
        trainer.add_callback(PhaseCallback())
    return trainer, Callbacks(stop, memory, tokenized.truncation, tokenized.sources)


def tokenize_inputs(recipe: Recipe, inputs: Inputs) -> PreparedRows:
    """Return the rows as they are trained on.

    The first rank of all, then of each node, fills the library's cache. Every rank must call it.
    Raises UserError.
    """
    from trl.trainer.utils import global_then_local_main_first

    arguments, rows = inputs.arguments, inputs.rows
    with global_then_local_main_first():  # every rank comes here: another node may have no cache
        if not isinstance(rows, PreparedRows):
            tokenized, of_rows = mixture.tokenize(rows, recipe, inputs.tokenizer, arguments)
            rows = arrange(tokenized, of_rows, arguments)
    if hasattr(arguments, "dataset_kwargs"):  # of SFTConfig alone; other trainers are ours
        options = arguments.dataset_kwargs or {}
        arguments.dataset_kwargs = {**options, "skip_prepare_dataset": True}
        arguments.assistant_only_loss = False  # the labels have it: TRL would look for messages
    return rows


def save_final(recipe: Recipe, folder: RunFolder, context: DistContext, trainer: Any) -> None:
    """Write RUN/final. Every rank must call it."""
    import torch

    from hpclaunch.train.checkpoint.final_weights import save_final_weights

    with trainer.timeouts.saving("saving the final weights"):
        save_final_weights(folder, context, trainer, getattr(torch, recipe.model.dtype))
