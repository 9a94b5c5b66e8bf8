"""One training from start to end, as every rank runs it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from hpclaunch.recipe.load import load
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.train import build, phases, run_log
from hpclaunch.train.checkpoint.resume import find_resume_checkpoint
from hpclaunch.train.clocks import log_clock_offsets
from hpclaunch.train.distributed import (
    DistContext,
    broadcast_number,
    context_from_env,
    destroy_process_group,
    init_process_group,
)
from hpclaunch.train.evaluations import finish_submissions, start_best, start_evaluation
from hpclaunch.train.progress_bars import report_progress_bars
from hpclaunch.train.quiet import quieten_libraries
from hpclaunch.train.upload.remote_checkpoints import RemoteCheckpoints
from hpclaunch.train.upload.uploader import Uploader, upload_deadline


def run(folder: RunFolder) -> None:
    """Train what the folder's recipe says and write the final weights. Raises UserError."""
    context = context_from_env()
    quieten_libraries(context.is_main_process)
    if context.is_main_process:
        report_progress_bars()
    recipe = load(str(folder.recipe))
    started = time.monotonic()
    run_log.log_start(folder, context)
    if context.is_main_process:
        phases.start(folder, trains=True)

    trainer, callbacks = build_trainer(recipe, folder, context)
    remote = RemoteCheckpoints(folder, context, recipe)
    phases.begin("looking for a checkpoint to go on from")
    checkpoint = find_resume_checkpoint(folder, context, remote)
    uploader = Uploader(folder, context, recipe.checkpoints.sync_to)

    def on_checkpoint_saved(seconds: float) -> None:
        callbacks.stop.walltime.checkpoint_saved(seconds)
        uploader.notify()
        if context.is_main_process:
            start_evaluation(recipe, folder)

    trainer.checkpoints = replace(
        trainer.checkpoints,
        in_use=uploader.checkpoint_in_use,
        on_checkpoint_saved=on_checkpoint_saved,
    )
    log_clock_offsets(folder, context)

    from_where = f", and loading {checkpoint.name}" if checkpoint else ""
    phases.begin(f"getting ready to train{from_where}")
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    phases.begin("ending the training")
    trainer.finalize_async_save()
    run_log.log_peak_memory(folder, context, callbacks.memory)

    # A paused run resumes from its checkpoint in a later attempt: its weights are not final.
    stop = callbacks.stop
    if stop.paused:
        run_log.log_paused(folder, context, trainer)
    else:
        best = None if trainer.best is None else trainer.best.load(remote)
        saving = time.monotonic()
        build.save_final(recipe, folder, context, trainer)
        outcome = "stopped" if stop.stopped else "done"
        run_log.log_finished(
            folder, context, trainer, outcome, time.monotonic() - saving, best=best
        )

    phases.begin("ending the ranks")
    deadline = broadcast_number(
        context, int(upload_deadline(stop.paused, stop.walltime.end, stop.reason))
    )
    destroy_process_group()
    phases.begin("uploading the last copies")
    uploader.finish(deadline, final=not stop.paused)
    finish_submissions(paused=stop.paused)
    if context.is_main_process and not stop.paused:
        start_best(recipe, folder)
    run_log.log_ended(context, time.monotonic() - started)


def build_trainer(
    recipe: Recipe, folder: RunFolder, context: DistContext
) -> tuple[Any, build.Callbacks]:
    """Return the trainer, with model and data loaded, and its callbacks. Raises UserError."""
    phases.begin(f"reading {recipe.data.title}")
    inputs = build.load_inputs(recipe, folder, context)
    phases.begin("waiting for the other ranks")
    init_process_group(context, inputs.arguments)
    started = time.monotonic()
    phases.begin(f"loading {recipe.model.name}")
    model = build.load_model(recipe, inputs, context)
    loaded = time.monotonic()
    phases.begin(f"preparing {recipe.data.title}")
    trainer, callbacks = build.create_trainer(recipe, inputs, model, folder, context)
    run_log.log_loaded(recipe, folder, context, trainer, loaded - started)
    left_out = inputs.rows.columns_left_out
    run_log.log_data(
        folder,
        context,
        trainer,
        left_out,
        callbacks.truncation,
        time.monotonic() - loaded,
        callbacks.sources,
    )
    return trainer, callbacks
