"""What the main process logs of a run, beside its steps: events, and lines on the console."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from hpclaunch.chat.truncation import Truncation
from hpclaunch.dataset.names import listed
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import model
from hpclaunch.train.checkpoint import folders
from hpclaunch.train.checkpoint.best import Evaluated
from hpclaunch.train.columns import count_tokens
from hpclaunch.train.distributed import DistContext, all_gather_object
from hpclaunch.train.peak_memory import PeakMemory
from hpclaunch.train.progress_log import log_line
from hpclaunch.units import duration

REPORTED_VERSIONS = ("torch", "transformers", "trl", "accelerate", "peft")
"""Libraries whose versions the report names."""


def log_start(folder: RunFolder, context: DistContext) -> None:
    """Log that an attempt begins."""
    if context.is_main_process:
        reported = (*REPORTED_VERSIONS, *(["deepspeed"] if context.zero_stage else []))
        log_event(
            folder.events,
            "start",
            world=context.world_size,
            device=context.device,
            hpclaunch=metadata.version("hpclaunch"),
            versions={name: metadata.version(name) for name in reported},
            attempt=os.environ.get("HPCLAUNCH_START", ""),
        )


def log_loaded(
    recipe: Recipe, folder: RunFolder, context: DistContext, trainer: Any, seconds: float
) -> None:
    """Log the model, the method and the layout, and how many seconds loading took."""
    if not context.is_main_process:
        return
    total, trainable = model.count_parameters(trainer.model)
    log_event(
        folder.events,
        "load",
        seconds=round(seconds, 3),
        parameters=total,
        trainable=trainable,
    )
    attention = trainer.model.config._attn_implementation
    ranks = "1 rank" if context.world_size == 1 else f"{context.world_size} ranks"
    name, dtype = recipe.model.name, recipe.model.dtype
    log_line(f"{name}: {total:,} parameters, {dtype}, {attention} attention")
    log_line(
        f"{recipe.method.kind}: {trainable:,} trainable ({100 * trainable / total:.2f}%), "
        f"{ranks} ({context.device}, {context.sharding}), loaded in {duration(seconds)}"
    )


def log_data(
    folder: RunFolder,
    context: DistContext,
    trainer: Any,
    columns_left_out: Sequence[str],
    lost: Truncation,
    seconds: float,
    sources: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Log the samples and tokens of an epoch, the columns that are not used, what max_length cuts
    and how many seconds preparing the samples took."""
    if not context.is_main_process:
        return
    dataset = trainer.train_dataset
    rows = len(dataset)
    tokens = count_tokens(dataset)
    packed = "seq_lengths" in dataset.column_names
    samples = sum(len(lengths) for lengths in dataset["seq_lengths"]) if packed else rows
    log_event(
        folder.events,
        "data",
        samples=samples,
        rows=rows,
        tokens=tokens,
        seconds=round(seconds, 3),
        lost=lost.lost,
        cut=lost.cut,
        needed_length=lost.needed_length or None,
        columns_left_out=list(columns_left_out),
        sources=list(sources),
    )
    into = f" packed into {rows:,} rows of up to {trainer.args.max_length:,}" if packed else ""
    left_out = f"; columns left out: {listed(columns_left_out, 20)}" if columns_left_out else ""
    log_line(f"data: {samples:,} samples, {tokens:,} tokens{into}{left_out}")
    for source in sources:
        if len(sources) > 1 or source["validation"] or source["weight"] != 1:
            log_line(f"data: {_use(source, sum(each['samples'] for each in sources))}")
    line = lost.line()
    if line is not None:
        log_line(f"data: {line}")


def _use(source: Mapping[str, Any], samples: int) -> str:
    """Return in words what is used of a dataset. `samples`: of all in an epoch."""
    share = 100 * source["samples"] / max(1, samples)
    held_out = f", {source['validation']:,} held out" if source["validation"] else ""
    return (
        f"{source['name']}: {source['rows']:,} rows x {source['weight']:g}: "
        f"{source['samples']:,} samples ({share:.0f}%){held_out}"
    )


def log_peak_memory(folder: RunFolder, context: DistContext, memory: PeakMemory) -> None:
    """Log the peaks of the fullest GPU, of loading and of training. Collective."""
    peaks = [peak for peak in all_gather_object(context, memory.peaks()) if peak]
    if context.is_main_process and peaks:
        fullest = max(peaks, key=lambda peak: (peak.allocated, peak.reserved))
        log_event(
            folder.events,
            "memory",
            allocated=fullest.allocated,
            reserved=fullest.reserved,
            loading_allocated=max(peak.loading_allocated for peak in peaks),
        )


def log_paused(folder: RunFolder, context: DistContext, trainer: Any) -> None:
    """Log the end of an attempt that a later one resumes."""
    if context.is_main_process:
        step = trainer.state.global_step
        log_event(folder.events, "end", step=step, seconds=0.0, outcome="stopped", final=None)
        log_line(f"stopped at step {step}, to go on from checkpoints/step-{step}")


def log_finished(
    folder: RunFolder,
    context: DistContext,
    trainer: Any,
    outcome: str,
    seconds: float,
    *,
    best: Evaluated | None = None,
) -> None:
    """Log the end of the training: its outcome, and the seconds that saving the weights took.

    `best`: the final weights are of this step, with the lowest evaluation loss.
    """
    if not context.is_main_process:
        return
    if outcome == "done":  # a request to pause that came with the last step has no object
        folder.stop_request.unlink(missing_ok=True)
    step = trainer.state.global_step
    log_event(
        folder.events,
        "end",
        step=step,
        seconds=round(seconds, 3),
        outcome=outcome,
        final=str(folder.final.relative_to(folder.root)),
        **({} if best is None else {"final_step": best.step, "eval_loss": best.loss}),
    )
    if best is not None:
        log_line(f"final weights: of step {best.step}, the lowest eval loss ({best.loss:.4f})")
    megabytes = folders.total_bytes(folder.final) / 1e6
    log_line(f"{outcome} at step {step}; final weights in {folder.final} ({megabytes:,.1f} MB)")


def log_ended(context: DistContext, seconds: float) -> None:
    """Log how long the attempt took."""
    if context.is_main_process:
        log_line(f"ended after {duration(seconds)}")
