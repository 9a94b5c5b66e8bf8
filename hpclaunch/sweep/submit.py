"""Write a sweep's folders and submit it as a job array; submit those that failed once more."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hpclaunch.dataset.check import check_data
from hpclaunch.diagnose.state import State
from hpclaunch.errors import JobFailed, UserError
from hpclaunch.frozen import frozen
from hpclaunch.launch.check import CheckData, check
from hpclaunch.launch.resume import redraft
from hpclaunch.launch.write_folder import rewrite_folder, write_folder
from hpclaunch.render.array import TASKS, array_script
from hpclaunch.render.job import Job
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.group import ARRAY_SCRIPT, SWEEP_FILE, new_group_folder, write_group
from hpclaunch.run.lock import alone
from hpclaunch.run.owner import require_own
from hpclaunch.run.record import Record, now, read_record, write_record
from hpclaunch.slurm import batch, commands
from hpclaunch.slurm.array import task_id
from hpclaunch.slurm.rewritten import changed_by_site
from hpclaunch.slurm.submission import submit_and_record
from hpclaunch.sweep.draft import SweepDraft, check_sweep, once
from hpclaunch.sweep.grid import points
from hpclaunch.sweep.record import Sweep, SweepRun, run_folders
from hpclaunch.sweep.table import Row


@frozen
class SubmittedArray:
    """A job array in the queue."""

    job_id: str
    estimate: str = ""
    """Slurm's estimate of the start, in its own words; '' where it made none."""
    changed: str = ""
    """What Slurm holds otherwise than the script requests; '' for nothing, or without an answer."""


ENDED_EARLY: tuple[State, ...] = ("failed", "cancelled", "timed out", "stopped", "written")
"""States of the runs that --resubmit submits."""


def write_sweep(sweep: SweepDraft, command: Sequence[str]) -> list[tuple[RunFolder, Record]]:
    """Write the sweep's folder and those of its runs; all or none. Raises UserError."""
    written: list[tuple[RunFolder, Record]] = []
    try:
        with new_group_folder(sweep.folder) as folder:
            # First, so that what a killed command leaves is known to be of this sweep.
            write_group(folder, SWEEP_FILE, _record(sweep, command))
            (folder / TASKS).mkdir()
            for task, job in enumerate(sweep.jobs):
                made = write_folder(job)
                written.append((made.folder, made.record))
                link = folder / TASKS / str(task)
                link.symlink_to(Path("..", "..", made.folder.root.name))
            if sweep.script:
                write_atomic(folder / ARRAY_SCRIPT, sweep.script, mode=0o777)
    except (OSError, UserError) as error:
        for run, _ in written:
            shutil.rmtree(run.root, ignore_errors=True)
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{sweep.folder} cannot be written: {error.strerror}",
            "free some space, or choose another --runs-dir",
        ) from None
    return written


def remove(group: Path, runs: Sequence[RunFolder]) -> None:
    """Remove what this process wrote of a sweep that was not started."""
    for folder in runs:
        shutil.rmtree(folder.root, ignore_errors=True)
    shutil.rmtree(group, ignore_errors=True)


def _record(sweep: SweepDraft, command: Sequence[str]) -> Sweep:
    return Sweep(
        name=sweep.folder.name,
        created=now(),
        command=list(command),
        parallel=sweep.parallel,
        parameters={each.key: list(each.values) for each in sweep.parameters},
        runs=[
            SweepRun(name=job.plan.launch.name, values=dict(point.values))
            for job, point in zip(sweep.jobs, points(sweep.parameters), strict=True)
        ],
    )


def submit_sweep(
    sweep: SweepDraft, command: Sequence[str], data: CheckData = check_data
) -> SubmittedArray:
    """Check, write and submit a sweep; one that is refused leaves nothing. Raises UserError."""
    commands.require()
    check_sweep(sweep, data)
    cwd = sweep.jobs[0].plan.launch.cwd
    estimate = batch.test_only(sweep.script, cwd).message
    written = write_sweep(sweep, command)
    try:
        array = submit_and_record(
            sweep.folder / ARRAY_SCRIPT, cwd, lambda job: _write_ids(job, dict(enumerate(written)))
        )
    except JobFailed:
        raise  # Slurm may have the array: its folders stay
    except UserError:
        remove(sweep.folder, [folder for folder, _ in written])
        raise
    return SubmittedArray(array, estimate, changed_by_site(sweep.script, array))


def _write_ids(array: str, tasks: Mapping[int, tuple[RunFolder, Record]]) -> None:
    """Write into each run which task of the array it is. Raises OSError."""
    for task, (folder, record) in tasks.items():
        job_id = task_id(array, task)
        write_record(folder, msgspec.structs.replace(record, job_id=job_id))
        if folder.job_file.exists():
            write_atomic(folder.job_file, f"{job_id}\n")


def ended_early(rows: Sequence[Row]) -> list[int]:
    """Return the tasks whose runs ended before their end, or never began."""
    return [task for task, row in enumerate(rows) if row.state in ENDED_EARLY]


def redraft_runs(
    folder: Path, sweep: Sweep, tasks: Sequence[int], changes: Mapping[str, Any], **others: Any
) -> dict[int, tuple[Job, Record]]:
    """Return the rest of these runs, from their newest checkpoints, with their records.

    `changes` and `others` are as in `launch.resume.redraft`. Raises UserError.
    """
    runs = run_folders(folder, sweep)
    drafted = {}
    for task in tasks:
        require_own(runs[task], "resubmit")
        record = read_record(runs[task])
        drafted[task] = (redraft(runs[task], record, changes=changes, **others), record)
    return drafted


def resubmit(
    folder: Path,
    sweep: Sweep,
    drafted: Mapping[int, tuple[Job, Record]],
    data: CheckData = check_data,
) -> SubmittedArray:
    """Submit these runs as an array again. Raises UserError."""
    commands.require()
    looked_at = once(data)
    for job, _ in drafted.values():
        check(job, looked_at)
    jobs = {task: job for task, (job, _) in drafted.items()}
    script = array_script(jobs, folder, sweep.parallel)
    cwd = next(iter(jobs.values())).plan.launch.cwd
    rewritten = {}
    for task, (job, record) in drafted.items():
        with alone(RunFolder(job.plan.launch.folder)):
            made = rewrite_folder(job, record)
            rewritten[task] = (made.folder, made.record)
    write_atomic(folder / ARRAY_SCRIPT, script, mode=0o777)
    array = submit_and_record(folder / ARRAY_SCRIPT, cwd, lambda job: _write_ids(job, rewritten))
    return SubmittedArray(array, changed=changed_by_site(script, array))
