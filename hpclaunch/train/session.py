"""One training from start to end, as every rank goes through it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import clocks, data, distributed, model, settings, template
from hpclaunch.train.checkpoint import folders
from hpclaunch.train.checkpoint.resume import resume_point
from hpclaunch.train.progress_log import ProgressLog, say
from hpclaunch.train.quiet import quieten_libraries
from hpclaunch.train.upload import uploader
from hpclaunch.units import duration

_REPORTED_VERSIONS = ("torch", "transformers", "trl", "accelerate", "peft")
"""Libraries whose versions the report names."""


def run(folder: RunFolder) -> None:
    """Train what the folder's recipe says and leave the final weights. Raises UserError."""
    here = distributed.context_from_env()
    quieten_libraries(here.first)
    recipe = load(str(folder.recipe))
    began = time.monotonic()
    if here.first:
        log_event(
            folder.events,
            "start",
            world=here.size,
            device=here.device,
            hpclaunch=metadata.version("hpclaunch"),
            versions={name: metadata.version(name) for name in _REPORTED_VERSIONS},
        )
    trainer, stop = build(recipe, folder, here)
    resume = resume_point(folder, here, uploader.Store(folder, here, recipe))
    copying = uploader.Uploader(folder, here, recipe.checkpoints.sync_to)
    trainer.saving = replace(trainer.saving, held=copying.held, saved=told(stop, copying))
    clocks.tell(folder, here)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    trainer.land()
    _tell_memory(folder, here)
    if stop.paused:
        pause(folder, here, trainer)
    else:
        finish(recipe, folder, here, trainer, outcome="stopped" if stop.stopped else "done")
    until = distributed.broadcast_number(
        here, int(uploader.until(stop.paused, stop.walltime.end, stop.why))
    )
    distributed.leave()
    copying.finish(until, final=not stop.paused)
    if here.first:
        say(f"ended after {duration(time.monotonic() - began)}")


def told(stop: Any, copying: uploader.Uploader) -> Callable[[float], None]:
    """Return what is told of each checkpoint: the clock, and whoever copies it away."""

    def tell(seconds: float) -> None:
        stop.walltime.saved(seconds)
        copying.look()

    return tell


def build(recipe: Recipe, folder: RunFolder, here: distributed.DistContext) -> tuple[Any, Any]:
    """Return the trainer, with model and data loaded, and its stop callback."""
    from transformers import PrinterCallback, set_seed
    from transformers.integrations import TensorBoardCallback

    from hpclaunch.train.stop import StopInTime
    from hpclaunch.train.tensorboard import Curves
    from hpclaunch.train.timeouts import Timeouts
    from hpclaunch.train.trainer import RunTrainer, Saving

    where = model.source(recipe.model)
    tokenizer, new_tokens = model.load_tokenizer(where, recipe)
    rows = data.load_rows(recipe.data, chat=has_template(recipe, tokenizer), check=False)
    kernel = settings.attention(recipe.model.attention, here.device)
    arguments = settings.sft_config(
        recipe,
        folder,
        here,
        messages=rows.messages,
        validating=rows.validation is not None,
        kernel=kernel,
    )
    distributed.join(here, arguments)
    own_template = tokenizer.chat_template
    variant = None
    if arguments.assistant_only_loss and rows.messages and own_template:
        variant = template.training_variant(tokenizer, rows)
    if variant is not None:
        tokenizer.chat_template = variant

    set_seed(arguments.seed)  # rows of new tokens start at random
    started = time.monotonic()
    loaded = model.load_model(recipe, where, kernel, len(tokenizer), here.fsdp)
    load_seconds = time.monotonic() - started
    started = time.monotonic()
    stop = StopInTime(folder, here)
    patience = Timeouts(recipe.training.get("ddp_timeout"))
    trainer = RunTrainer(
        folder,
        here,
        Saving(
            recipe.checkpoints.keep,
            recipe.checkpoints.asynchronous,
            stalled=stop.walltime.stalled,
        ),
        model=loaded,
        args=arguments,
        train_dataset=rows.train,
        eval_dataset=rows.validation,
        processing_class=tokenizer,
        peft_config=model.lora_config(recipe, loaded, new_tokens, here.fsdp),
        callbacks=[stop, patience],
        patience=patience,
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(TensorBoardCallback):
        trainer.add_callback(Curves)
    model.complete_head(trainer.model)
    if variant is not None:  # what is saved is the model's own
        tokenizer.chat_template = own_template
    _check_samples(recipe, trainer)
    if here.first:
        trainer.add_callback(
            ProgressLog(folder, lambda: int(trainer._total_train_tokens), lambda: trainer.waited)
        )
        _tell_loaded(recipe, folder, here, trainer, load_seconds)
        _tell_data(folder, trainer, time.monotonic() - started)
    return trainer, stop


def has_template(recipe: Recipe, tokenizer: Any) -> bool:
    """Return whether conversations can be written out for this tokenizer."""
    return bool(tokenizer.chat_template or recipe.training.get("chat_template_path"))


def pause(folder: RunFolder, here: distributed.DistContext, trainer: Any) -> None:
    """Mark the end of a start that a later one goes on from: the checkpoint is all there is."""
    if here.first:
        step = trainer.state.global_step
        log_event(folder.events, "end", step=step, seconds=0.0, outcome="stopped", final=None)
        say(f"stopped at step {step}, to go on from checkpoints/step-{step}")


def finish(
    recipe: Recipe, folder: RunFolder, here: distributed.DistContext, trainer: Any, *, outcome: str
) -> None:
    """Save the final weights and mark the end."""
    import torch

    from hpclaunch.train.checkpoint.final_weights import save_final

    started = time.monotonic()
    dtype = getattr(torch, recipe.model.dtype)
    with trainer.patience.saving():
        save_final(folder, here, trainer, dtype)
    if here.first:
        if outcome == "done":  # a request to pause that came with the last step has no object
            folder.stop_request.unlink(missing_ok=True)
        seconds = round(time.monotonic() - started, 3)
        step = trainer.state.global_step
        log_event(
            folder.events,
            "end",
            step=step,
            seconds=seconds,
            outcome=outcome,
            final=str(folder.final.relative_to(folder.root)),
        )
        megabytes = folders.size(folder.final) / 1e6
        say(f"{outcome} at step {step}; final weights in {folder.final} ({megabytes:,.1f} MB)")


def _tell_memory(folder: RunFolder, here: distributed.DistContext) -> None:
    """Mark how much of its GPU the fullest rank took, to be held against what was predicted."""
    peaks = [
        peak for peak in distributed.all_gather_object(here, distributed.peak_memory(here)) if peak
    ]
    if here.first and peaks:
        allocated, reserved = max(peaks)
        log_event(folder.events, "memory", allocated=allocated, reserved=reserved)


def _check_samples(recipe: Recipe, trainer: Any) -> None:
    """Refuse to train on nothing: TRL drops samples that truncation left without a loss."""
    if len(trainer.train_dataset) == 0:
        raise UserError(
            f"no sample of {recipe.data.name} has a token to learn from within "
            f"max_length {trainer.args.max_length}",
            "raise training.max_length",
        )


def _tell_loaded(
    recipe: Recipe, folder: RunFolder, here: distributed.DistContext, trainer: Any, seconds: float
) -> None:
    total, trainable = model.count(trainer.model)
    log_event(
        folder.events,
        "load",
        seconds=round(seconds, 3),
        parameters=total,
        trainable=trainable,
    )
    kernel = trainer.model.config._attn_implementation
    ranks = "1 rank" if here.size == 1 else f"{here.size} ranks"
    spread = f"FSDP {here.fsdp}" if here.fsdp else "no sharding"
    say(f"{recipe.model.name}: {total:,} parameters, {recipe.model.dtype}, {kernel} attention")
    say(
        f"{recipe.method.kind}: {trainable:,} trainable ({100 * trainable / total:.2f}%), "
        f"{ranks} ({here.device}, {spread}), loaded in {duration(seconds)}"
    )


def _tell_data(folder: RunFolder, trainer: Any, seconds: float) -> None:
    samples = len(trainer.train_dataset)
    tokens = sum(len(row) for row in trainer.train_dataset["input_ids"])
    log_event(folder.events, "data", samples=samples, tokens=tokens, seconds=round(seconds, 3))
    say(f"data: {samples:,} samples, {tokens:,} tokens")
