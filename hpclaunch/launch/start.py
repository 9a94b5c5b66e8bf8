"""Start a drafted job: into the queue, attached to this terminal, or on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable

import msgspec

from hpclaunch.dataset.check import check_data
from hpclaunch.errors import JobFailed, UserError
from hpclaunch.frozen import frozen
from hpclaunch.launch.attached import (
    STOPPED,
    Attached,
    inside_allocation,
    later,
    local_job,
    run_attached,
)
from hpclaunch.launch.cancel import note_cancelled
from hpclaunch.launch.check import CheckData, check, check_here
from hpclaunch.launch.current_job import allocation_comment
from hpclaunch.launch.hand_edits import find_edits, with_edits
from hpclaunch.launch.local_process import variables_for
from hpclaunch.launch.stop import interrupt
from hpclaunch.launch.write_folder import rewrite_folder, write_folder
from hpclaunch.render.job import Job
from hpclaunch.run.events import newest, read_events
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.lines import Line
from hpclaunch.run.lock import lock
from hpclaunch.run.processes import started as process_started
from hpclaunch.run.record import Record, boot_id, write_record
from hpclaunch.slurm import batch, commands
from hpclaunch.slurm.allocation import current_allocation
from hpclaunch.slurm.environment import for_submission, without_launcher_state
from hpclaunch.slurm.rewritten import changed_by_site
from hpclaunch.slurm.submission import submit_and_record


@frozen
class Submitted:
    """A job in the queue."""

    folder: RunFolder
    record: Record
    estimate: str
    """Slurm's estimate of the start, in its own words; '' where it made none."""
    changed: str = ""
    """What Slurm holds otherwise than the script requests; '' for nothing, or without an answer."""


def write(job: Job, data: CheckData = check_data) -> RunFolder:
    """Check the job and write its run folder, without submitting it. Raises UserError.

    Whether the hub gives out the model is left open: the token may be on another machine.
    """
    check_here(job, data)
    return write_folder(job).folder


def submit(job: Job, before: Record | None = None, *, data: CheckData = check_data) -> Submitted:
    """Check the job, write its run folder and submit it; a refused job leaves no folder.

    `before` is the record of a run that goes on in the folder it has. Raises UserError, with
    Slurm's own words where it is Slurm that refuses.
    """
    _require_job(job, "submit")
    commands.require()
    check(job, data)
    launch = job.plan.launch
    tried = job if before is None else kept_edits(job, before)
    estimate = batch.test_only(tried.script, launch.cwd).message
    job, folder, record = rewrite_folder(job, before) if before else write_folder(job)

    def note(job_id: str) -> None:
        write_record(folder, msgspec.structs.replace(record, job_id=job_id))
        if folder.job_file.exists():  # the job before this one, in a run that goes on
            write_atomic(folder.job_file, f"{job_id}\n")

    try:
        job_id = submit_and_record(folder.script, launch.cwd, note)
    except JobFailed:
        raise  # Slurm may have the job: its folder stays
    except UserError as error:
        if before is None:
            shutil.rmtree(folder.root, ignore_errors=True)
        requested = " ".join(
            str(option) for option in job.plan.options if option.flag != "--job-name"
        )
        raise UserError(error.message, f"{error.fix}; requested: {requested}") from None
    record = msgspec.structs.replace(record, job_id=job_id)
    return Submitted(folder, record, estimate, changed_by_site(tried.script, job_id))


def _require_job(job: object, function: str) -> None:
    """Refuse anything else, which only a Python program can give. Raises UserError."""
    if not isinstance(job, Job):
        raise UserError(f"{function}({job!r:.40}): expected what draft(...) returns")


def kept_edits(job: Job, before: Record) -> Job:
    """Return the job of a run that goes on with the texts that a person edited in its folder."""
    return with_edits(job, find_edits(RunFolder(job.plan.launch.folder), before, job))


Started = Callable[[RunFolder, Record], Callable[[Line], None]]
"""Called with the folder before the first line; returns the function that shows each line."""


def execute(
    job: Job,
    started: Started = lambda _folder, _record: lambda _line: None,
    before: Record | None = None,
    *,
    data: CheckData = check_data,
) -> int:
    """Run the job attached (modes srun and local); returns its exit code, or STOPPED.

    Returns once it has ended. `before` and errors are as in `submit`.
    """
    _require_job(job, "execute")
    local = job.plan.launch.mode == "local"
    inside = None if local else current_allocation()
    if not local:
        commands.require()
    check(job, data)
    if before:
        lock(RunFolder(job.plan.launch.folder))  # before anything is written
    job, folder, record = rewrite_folder(job, before) if before else write_folder(job)
    if local or inside:
        record = _owned_by(record, os.getpid())
        record = msgspec.structs.replace(record, job_id=inside.job_id if inside else None)
    lock(folder)
    write_record(folder, record)
    show = started(folder, record)
    saving: list[bool] = []

    def save() -> bool:
        saving.append(interrupt(folder, record))
        return saving[-1]

    def on_start(pid: int) -> None:
        # The script's own process: it is at work, and can be ended, whatever becomes of this one.
        write_record(folder, _owned_by(record, pid))

    if local:
        variables = without_launcher_state(os.environ) | variables_for(folder)
        attached = local_job(folder, variables)
        code = run_attached(attached, show, on_start=on_start, save=save)
    elif inside:
        variables = inside_allocation(without_launcher_state(os.environ))
        variables |= variables_for(folder)
        if job.plan.device == "gpu":
            # However the allocation was asked for, by job, by node or by task: a step gets all.
            variables["SLURM_GPUS_PER_NODE"] = str(job.plan.processes_per_node)
        log = folder.logs / "job-srun.out"
        attached = Attached(["bash", str(folder.script)], variables, log, later=later(folder))
        code = run_attached(attached, show, on_start=on_start, save=save)
    else:
        code = _in_fresh_allocation(job, folder, record, show, save, keep=before is not None)
    if code == 0 and any(saving) and not _is_done(folder):
        return STOPPED  # in order: not cancelled
    if code == STOPPED and folder.root.is_dir() and not folder.cancelled_file.exists():
        note_cancelled(folder, "at its terminal (Ctrl-C, or it was closed)")
    # `hpclaunch cancel` in another terminal ends the script itself.
    return STOPPED if code and folder.cancelled_file.exists() else code


def _is_done(folder: RunFolder) -> bool:
    """Return whether the training came to its end, and was not stopped before it."""
    end = newest(read_events(folder.events), "end") or {}
    return end.get("outcome") == "done"


def _owned_by(record: Record, pid: int) -> Record:
    """Return the record of a run that is attached to a process of this machine."""
    started = process_started(pid)
    return msgspec.structs.replace(record, pid=pid, pid_started=started, boot_id=boot_id())


def _in_fresh_allocation(
    job: Job,
    folder: RunFolder,
    record: Record,
    show: Callable[[Line], None],
    save: Callable[[], bool],
    *,
    keep: bool,
) -> int:
    """Have salloc run the script: the same file that sbatch would take.

    Without an allocation nothing has happened: the folder goes, unless it is to be kept.
    """
    granted: list[str] = []
    salloc_output: list[str] = []

    def on_job(job_id: str) -> None:
        if granted:  # the job's own output may say so, too
            return
        granted.append(job_id)
        write_record(folder, msgspec.structs.replace(record, job_id=job_id))
        if changed := changed_by_site(job.script, job_id):
            show(Line(f"hpclaunch: {changed}"))

    def watch(line: Line) -> None:
        if not granted:
            salloc_output.append(line.text)
        show(line)

    options = job.plan.options
    own = next((each.value or "" for each in options if each.flag == "--comment"), "")
    comment = f"--comment={allocation_comment(folder, own)}"
    argv = [*allocation_command(job), comment, "bash", str(folder.script)]
    log = folder.logs / "job-srun.out"
    attached = Attached(argv, for_submission(os.environ), log, later=later(folder))
    code = run_attached(attached, watch, on_job, save=save)
    if code == STOPPED and granted:
        # A killed salloc leaves its allocation behind; cancelling one that has ended does no harm.
        with contextlib.suppress(UserError):
            batch.cancel(granted[0])
    if code != 0 and not granted:
        if not keep:
            shutil.rmtree(folder.root, ignore_errors=True)
        if code == STOPPED:
            return code
        raise UserError(
            f"Slurm gave no allocation: {commands.problem(chr(10).join(salloc_output))}"
        )
    return code


def allocation_command(job: Job) -> list[str]:
    """Return the salloc command for the job's options."""
    return ["salloc", *(str(option) for option in job.plan.options)]
