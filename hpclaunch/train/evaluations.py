"""Evaluations of checkpoints while training goes on (`evaluate.every: checkpoint`)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

from hpclaunch.recipe.best import best_task
from hpclaunch.recipe.schema import Recipe
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.regular_file import create_regular
from hpclaunch.run.waiting import keep_waiting
from hpclaunch.train.checkpoint import folders
from hpclaunch.train.failure import one_line
from hpclaunch.train.progress_log import log_line

SUBMIT = "hpclaunch.stages.each_checkpoint"
"""What submits an evaluation: a process of its own, for a Slurm that is slow must not hold up a
rank."""
SUBMIT_BEST = "hpclaunch.stages.submit_best"
"""The same for the stage that takes the best checkpoint."""


_started: list[subprocess.Popen[bytes]] = []
PAUSED_S, ENDED_S = 5.0, 60.0
"""How long the job waits at its end for what is being submitted, which would end with it: where it
goes back into the queue, and where it does not."""


def finish_submissions(*, paused: bool) -> None:
    """Wait for the submissions that this process has started, for some seconds at most."""
    deadline = time.monotonic() + (PAUSED_S if paused else ENDED_S)
    for process in _started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))


def start_best(recipe: Recipe, run: RunFolder) -> None:
    """Submit what takes the checkpoint with the best score, once the training has ended.

    Only the first rank calls it, after all evaluations are submitted. A failure costs that stage,
    never the training.
    """
    if best_task(recipe) is None or "SLURM_JOB_ID" not in os.environ:
        return
    try:
        _start(run, SUBMIT_BEST)
    except OSError as error:
        log_line(f"the best checkpoint is not taken: {one_line(error)}")
    finish_submissions(paused=False)


def _start(run: RunFolder, module: str, *arguments: str) -> None:
    """Start what submits a job. Raises OSError."""
    path = run.logs / "evaluations.log"
    with os.fdopen(create_regular(path, os.O_WRONLY | os.O_APPEND), "a") as log:
        _started.append(
            subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(run.root), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )


def start_evaluation(recipe: Recipe, run: RunFolder) -> None:
    """Have the newest checkpoint evaluated by a job of its own. Only the first rank calls it.

    A failure costs the evaluation, never the training.
    """
    newest = folders.newest(run)
    if recipe.evaluate.every is None or newest is None or "SLURM_JOB_ID" not in os.environ:
        return
    try:
        keep_waiting(run, newest.name)
        _start(run, SUBMIT, newest.name)
    except OSError as error:
        log_line(f"{newest.name} is not evaluated: {one_line(error)}")
