"""The job that a run folder's state belongs to: the last one known, or one submitted by hand."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import structs

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.slurm.jobs import JobState, job_states, own_jobs

_OF_FOLDER = "hpclaunch="


def current(folder: RunFolder, record: Record) -> tuple[Record, JobState | None]:
    """Return the record with the job that waits or runs, else the last one; and Slurm's word on it.

    `sbatch RUN/job.sbatch` by hand tells nobody its number: the script does once it runs, the queue
    names the script before.
    """
    job = job_states([record.job_id]).get(record.job_id) if record.job_id else None
    if record.mode != "sbatch" or (job is not None and not job.ended):
        return record, job
    newer = job_of_script(folder.script)
    if newer is None or newer == record.job_id:
        return record, job
    found = job_states([newer]).get(newer)
    return (structs.replace(record, job_id=newer), found) if found else (record, job)


def job_of_script(script: Path) -> str | None:
    """Return the newest of this user's jobs that waits or runs with a script, if there is one."""
    own = [job for job, (_, path) in own_jobs().items() if same_script(path, script)]
    return max(own, key=lambda job: [int(part) for part in job.split("_")], default=None)


def same_script(path: str, script: Path) -> bool:
    """Return whether the path that Slurm names is a folder's script, by whichever of its paths."""
    return path == str(script) or os.path.realpath(path) == os.path.realpath(script)


def allocation_comment(folder: RunFolder, comment: str = "") -> str:
    """Return the comment of the allocation of an attached run, which has no script in Slurm.

    `comment`: the user's own, in front.
    """
    return f"{comment} {_OF_FOLDER}{folder.root}".strip()


def is_allocation_of(comment: str, folder: RunFolder) -> bool:
    """Return whether a job's comment says that the run in this folder has requested it."""
    _, mark, root = comment.rpartition(_OF_FOLDER)
    return bool(mark) and same_script(root, folder.root)
