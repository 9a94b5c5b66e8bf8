"""`python -m hpclaunch.stages.submit_best RUN`: submits the stage `best` from within a job.

Called by the first rank at the end of a training with `checkpoints.best: TASK`. The stage's job
begins once this job and all evaluations that have not ended yet have.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.launch.start import submit
from hpclaunch.plan.resources import Resources
from hpclaunch.recipe.load import load
from hpclaunch.run.best_score import settings_of
from hpclaunch.run.events import log_event
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record, read_record
from hpclaunch.run.waiting import waiting
from hpclaunch.stages.best import best_source
from hpclaunch.stages.draft import StageRequest, check_stage, draft_stage
from hpclaunch.stages.each_checkpoint import (
    forget_offline,
    job_after,
    resources_of,
    still_waiting,
)


def main(arguments: list[str]) -> int:
    """Submit the stage; return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m hpclaunch.stages.submit_best RUN", file=sys.stderr)
        return 2
    folder = RunFolder(Path(arguments[0]).absolute())
    forget_offline()
    try:
        wanted = request_of(folder, read_record(folder), os.environ)
        job = draft_stage(wanted)
        check_stage(job, wanted)
        submitted = submit(job)
    except UserError as error:
        log_event(folder.events, "best failed", why=str(error))
        print(f"hpclaunch: the best checkpoint is not taken: {error}", file=sys.stderr)
        return 1
    name = submitted.folder.root.name
    log_event(folder.events, "best submitted", run=name, job=submitted.record.job_id)
    print(f"hpclaunch: the best checkpoint is taken by run {name}", file=sys.stderr)
    return 0


def request_of(folder: RunFolder, record: Record, variables: Mapping[str, str]) -> StageRequest:
    """Return the stage as the run's recipe asks for it. Raises UserError."""
    recipe = load(str(folder.recipe))
    settings = settings_of(recipe)
    if settings is None:
        raise UserError(f"run {folder.root.name}: checkpoints.best names no task")
    # An allocation that the training runs in goes on for as long as its user likes.
    own = variables.get("SLURM_JOB_ID", "") if record.mode == "sbatch" else ""
    jobs = [own, *evaluation_jobs(folder)]
    ends = ":".join(filter(None, jobs))
    return StageRequest(
        settings,
        (best_source(folder),),
        job_after(
            folder,
            record,
            "best",
            replace(
                _on_cpus(resources_of(record, recipe.evaluate)),
                dependency=f"afterany:{ends}" if ends else None,
            ),
        ),
    )


def evaluation_jobs(folder: RunFolder) -> list[str]:
    """Return the jobs of the run's evaluations that have not ended."""
    pending, names = still_waiting(folder), waiting(folder)
    found = []
    for checkpoint in sorted(pending):
        name = names.get(checkpoint, "")
        if name:
            job = read_record(RunFolder(folder.root.parent / name)).job_id
            found += [job] if job else []
    return found


def _on_cpus(resources: Resources) -> Resources:
    return replace(resources, cpu_processes=1, gpus=None, gpu=None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
