"""`python -m hpclaunch.stages.each_checkpoint RUN step-N`: submits an evaluation from within a job.

Called by the first rank for each new checkpoint, beside the training. The evaluation is a job of
its own that depends on nothing: the checkpoint is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpclaunch.diagnose.state import run_state
from hpclaunch.errors import UserError
from hpclaunch.launch.request import Request
from hpclaunch.launch.start import submit
from hpclaunch.plan.resources import Resources
from hpclaunch.recipe.best import best_task
from hpclaunch.recipe.load import load
from hpclaunch.recipe.reporting import Evaluate
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record, read_record
from hpclaunch.run.stage_settings import Eval
from hpclaunch.run.waiting import MOST, end_waiting, is_stale, keep_waiting, waiting
from hpclaunch.site.sbatch_options import kept_by
from hpclaunch.stages.draft import StageRequest, check_stage, draft_stage, free_name
from hpclaunch.stages.source import resolve

_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
"""Set for the ranks, not for their evaluation."""


def main(arguments: list[str]) -> int:
    """Submit the evaluation of a checkpoint; return the exit code."""
    if len(arguments) != 2:
        print("usage: python -m hpclaunch.stages.each_checkpoint RUN step-N", file=sys.stderr)
        return 2
    folder, checkpoint = RunFolder(Path(arguments[0]).absolute()), arguments[1]
    forget_offline()
    try:
        record = read_record(folder)
        wanted = request_of(folder, record, checkpoint)
        name = submit_one(folder, wanted, checkpoint)
    except UserError as error:
        end_waiting(folder, checkpoint)
        log_event(folder.events, "evaluation failed", checkpoint=checkpoint, why=str(error))
        print(f"hpclaunch: {checkpoint} is not evaluated: {error}", file=sys.stderr)
        return 1
    print(f"hpclaunch: {checkpoint} is evaluated by run {name}", file=sys.stderr)
    return 0


def forget_offline() -> None:
    """Drop variables of the ranks that hold for nothing else."""
    for name in _OFFLINE:
        os.environ.pop(name, None)


def request_of(folder: RunFolder, record: Record, checkpoint: str) -> StageRequest:
    """Return the evaluation of a checkpoint as the run's recipe asks for it. Raises UserError."""
    recipe = load(str(folder.recipe))
    evaluate = recipe.evaluate
    return StageRequest(
        Eval(tasks=tuple(evaluate.tasks), tasks_dir=evaluate.tasks_dir, limit=evaluate.limit),
        (resolve(str(folder.root), checkpoint=checkpoint),),
        job_after(folder, record, f"eval-{checkpoint}", resources_of(record, evaluate)),
    )


def job_after(folder: RunFolder, record: Record, what: str, resources: Resources) -> Request:
    """Return the request of a job that follows a run, beside it and in its environment."""
    return Request(
        mode="sbatch",
        resources=resources,
        site=record.site,
        name=free_name(folder.root.parent, f"{folder.root.name}-{what}"),
        runs_dir=folder.root.parent,
        venv=Path(record.python) if record.python else None,
        modules=tuple(record.modules),
        command=tuple(record.command),
    )


def resources_of(record: Record, evaluate: Evaluate) -> Resources:
    """Return what the evaluation's job asks for: one node, of the kind that the training has."""
    names = ("gpu", *kept_by("evaluation"))
    kept: dict[str, Any] = {name: record.resources.get(name) or None for name in names}
    time = evaluate.time or record.resources.get("time")
    resources = replace(Resources(**kept), nodes=1, time=time)
    if record.device == "cpu":
        return replace(resources, cpu_processes=1, gpu=None)
    return replace(resources, gpus=evaluate.gpus)


def submit_one(
    folder: RunFolder,
    wanted: StageRequest,
    checkpoint: str,
    variables: Mapping[str, str] = os.environ,
) -> str:
    """Submit it unless as many wait already; return the name of its run. Raises UserError.

    Where a score chooses the best checkpoint, each is evaluated, however many wait.
    """
    others = still_waiting(folder) - {checkpoint}
    if len(others) >= MOST and best_task(load(str(folder.recipe))) is None:
        raise UserError(
            f"{MOST} evaluations of this run have not ended yet", "it is the next one's turn"
        )
    job = draft_stage(wanted, variables)
    check_stage(job, wanted, variables)
    submitted = submit(job)
    name = submitted.folder.root.name
    keep_waiting(folder, checkpoint, name)
    log_event(
        folder.events,
        "evaluation",
        checkpoint=checkpoint,
        run=name,
        job=submitted.record.job_id,
    )
    return name


def still_waiting(folder: RunFolder) -> set[str]:
    """Return the checkpoints whose evaluation waits or runs; the others are let go."""
    found = set()
    for checkpoint, name in waiting(folder).items():
        if _has_ended(folder, checkpoint, name):
            end_waiting(folder, checkpoint)
        else:
            found.add(checkpoint)
    return found


def _has_ended(folder: RunFolder, checkpoint: str, name: str) -> bool:
    if not name:
        return is_stale(folder, checkpoint)
    if "/" in name or name in {"", ".", ".."}:
        return True
    evaluation = RunFolder(folder.root.parent / name)
    try:
        return run_state(evaluation, read_record(evaluation)).state not in {
            "queued",
            "running",
            "unknown",
        }
    except UserError:
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
