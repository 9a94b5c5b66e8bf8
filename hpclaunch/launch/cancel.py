"""End a run before its time, and leave a note that a person did."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.launch.current_job import current, is_allocation_of, same_script
from hpclaunch.launch.local_process import alive, here, runs_script, works_for
from hpclaunch.render.array import TASKS
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.group import ARRAY_SCRIPT
from hpclaunch.run.owner import is_own
from hpclaunch.run.record import Record, whoami
from hpclaunch.slurm import batch
from hpclaunch.slurm.jobs import job_comment, own_jobs


def cancel(folder: RunFolder, record: Record) -> None:
    """Cancel the job, or stop the local process. Raises UserError where that cannot be done."""
    record, _ = current(folder, record)
    if record.pid is None and record.job_id is None:
        raise UserError(f"run {record.name} was never started", "there is nothing to cancel")
    if record.pid is not None and not here(record):
        raise UserError(
            f"run {record.name} runs on {record.host}, not here", "cancel it on that machine"
        )
    # A run inside somebody's allocation is ended by its own process: the allocation stays.
    if record.pid is not None:
        if not alive(record):
            raise UserError(f"run {record.name} has ended: its process is gone")
        if not works_for(folder, record):
            raise UserError(
                f"process {record.pid} was not started for {folder.root}: it is left alone"
            )
        try:
            os.kill(record.pid, signal.SIGTERM)
        except OSError as error:
            raise UserError(f"process {record.pid} cannot be ended: {error.strerror}") from None
    elif record.job_id is not None:
        _check_job(folder, record)
        batch.cancel(record.job_id)
    note_cancelled(folder, "with hpclaunch cancel")


def _check_job(folder: RunFolder, record: Record) -> None:
    """Refuse to cancel a job that is not this user's and not of this folder. Raises UserError."""
    state, script = own_jobs().get(record.job_id or "", (None, ""))
    if state is None:
        raise UserError(
            f"job {record.job_id} does not wait or run as a job of yours: it is left alone",
            "if Slurm did not answer, try again later",
        )
    if record.mode != "sbatch":
        # Slurm names no script of an allocation: its comment says whose it is. A site may write
        # another one, and then the process that holds the allocation shows it.
        job = record.job_id or ""
        if not is_allocation_of(job_comment(job), folder) and not runs_script(folder, job):
            raise UserError(
                f"job {job} cannot be seen to be that of {folder.root}: it is left alone",
                f"on {record.host}, where it was started, press Ctrl-C or ask again"
                if record.host and not here(record)
                else f"look at it: scontrol show job {job}",
            )
    elif not any(same_script(script, own) for own in _scripts(folder, record)):
        raise UserError(
            f"job {record.job_id} runs {script or 'no script'}, not this folder's: it is left alone"
        )


def _scripts(folder: RunFolder, record: Record) -> tuple[Path, ...]:
    """Return the scripts that the run's job may have been submitted with."""
    _, _, task = (record.job_id or "").partition("_")
    if not (record.group and task) or Path(record.group).name != record.group:
        return (folder.script,)
    group = folder.root.parent / record.group
    with suppress(OSError):
        if is_own(RunFolder(group)) and (group / TASKS / task).samefile(folder.root):
            return (folder.script, group / ARRAY_SCRIPT)
    return (folder.script,)


def note_cancelled(folder: RunFolder, how: str) -> None:
    """Write who cancelled the run: an exit code alone does not tell a person from a fault."""
    user, host = whoami()
    write_atomic(folder.cancelled_file, f"{user} on {host}, {how}\n")
