"""The state of a run: what its folder says, what Slurm says, and which of the two is newer."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from hpclaunch.diagnose.activity import Activity
from hpclaunch.diagnose.failure import Failure
from hpclaunch.diagnose.faulty_nodes import kept, left_out
from hpclaunch.diagnose.progress import Progress, progress
from hpclaunch.frozen import frozen
from hpclaunch.launch.current_job import current
from hpclaunch.launch.local_process import alive, here
from hpclaunch.run.attempt import current_attempt
from hpclaunch.run.events import read_counted_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.permissions import unreadable
from hpclaunch.run.record import Record, written_here
from hpclaunch.run.regular_file import read_small_text
from hpclaunch.slurm import commands
from hpclaunch.slurm.jobs import JobState
from hpclaunch.units import duration

State = Literal[
    "written", "queued", "running", "done", "stopped", "failed", "cancelled", "timed out", "unknown"
]

_RUNNING = {
    "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING",
}  # fmt: skip
_QUEUED = {
    "PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT",
    "RESIZING", "EXPEDITING",
}  # fmt: skip
"""EXPEDITING: from 25.11 on, of a job that is requeued before all others."""
_ENDS: dict[str, State] = {
    "CANCELLED": "cancelled",
    "TIMEOUT": "timed out",
    "DEADLINE": "timed out",
}


FORGOTTEN_S = 600.0
"""Seconds without a sign of life after which a job that Slurm does not know is over."""


@frozen
class Status:
    """What is known of a run."""

    name: str
    folder: Path
    job_id: str | None
    state: State
    slurm: str | None
    """Slurm's name of the job's state; None where it knows nothing of it."""
    reason: str
    """Why it waits, or what the state was taken from; '' where that is plain."""
    exit_code: int | None
    nodes: str
    """The job's nodes as Slurm lists them."""
    time_left: str
    """Before the time limit, as Slurm writes it."""
    server: str
    """The one of these nodes that writes completions and trains nothing; '' where there is none."""
    progress: Progress
    failure: Failure | None
    """Of a run that failed or was ended: the first line of `hpclaunch why`."""
    final: Path | None
    """Where the finished weights are."""
    before: str = ""
    """Of a run that waits or runs again: how its last attempt ended, in one line."""
    left_out: tuple[str, ...] = ()
    """Nodes that failed twice, and are given to this job no more."""
    kept: tuple[str, ...] = ()
    """Nodes that failed twice, which the job cannot do without."""
    activity: Activity | None = None
    """What it does now, and whether it may hang; None unless it runs."""
    unreadable: tuple[Path, ...] = ()
    """Files of the run that are there and may not be read: what they hold is missing here."""
    damaged_events: int = 0
    """Lines of events.jsonl that cannot be read: what they say is missing here."""

    @property
    def active(self) -> bool:
        """True while it waits or runs."""
        return self.state in {"queued", "running"}

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the last step at this step time; None where no steps come."""
        if self.activity is not None and not self.activity.steps_come:
            return None
        return self.progress.seconds_left


def run_state(
    folder: RunFolder,
    record: Record,
    events: list[dict[str, Any]] | None = None,
    job_now: tuple[Record, JobState | None] | None = None,
) -> Status:
    """Return the state of a run now, without its cause.

    `events`: its events, if read already. `job_now`: what `current` returns, if Slurm was asked
    already.
    """
    record, job = job_now or current(folder, record)
    damaged = 0
    if events is None:
        events, damaged = read_counted_events(folder.events)
    code = _read_exit_code(folder) if _is_of_now(folder, record, job) else None
    done = progress(events)
    state, reason = _state(folder, record, job, code, done)
    closed = unreadable((folder.exit_code_file, folder.events, folder.logs, folder.metrics))
    if folder.exit_code_file in closed and state not in {"queued", "running"}:
        state, reason = "unknown", f"{folder.exit_code_file} may not be read"
    if code is None and job is not None and state not in {"queued", "running"}:
        code = job.exit_code
    return Status(
        name=record.name,
        folder=folder.root,
        job_id=record.job_id,
        state=state,
        slurm=job.state if job and not job.silent else None,
        reason=reason,
        exit_code=code,
        nodes=(job.nodes if job else "") or ",".join(folder.node_names()),
        time_left=job.time_left if job and state == "running" else "",
        server=next(reversed(folder.server_node_names()), ""),
        progress=done,
        failure=None,
        final=folder.final if folder.final.is_dir() else None,
        left_out=left_out(events, record.job_id or ""),
        kept=kept(events, record.job_id or ""),
        unreadable=closed,
        damaged_events=damaged,
    )


def _state(
    folder: RunFolder, record: Record, job: JobState | None, code: int | None, done: Progress
) -> tuple[State, str]:
    """Return state and reason from the script's exit code, Slurm's answer and the process."""
    if job is not None and job.state in _QUEUED:
        return "queued", job.reason
    # A code of 0 stands, whatever became of the allocation afterwards.
    if code != 0 and job is not None and job.state in _ENDS:
        return _ENDS[job.state], job.reason
    if code is not None:
        cancelled = code != 0 and folder.cancelled_file.exists()
        return ("cancelled", "") if cancelled else _by_exit_code(code, job, done)
    if job is not None and record.mode != "local":
        return _by_slurm(job)
    return _without_slurm(folder, record)


def _by_exit_code(code: int, job: JobState | None, done: Progress) -> tuple[State, str]:
    """Return the state of a script that has ended by itself."""
    if code == 0:
        return ("stopped" if done.outcome == "stopped" else "done"), ""
    telling = job is not None and job.ended and job.state != "FAILED"
    return "failed", job.state.lower().replace("_", " ") if job and telling else ""


def _by_slurm(job: JobState) -> tuple[State, str]:
    """Return the state where the script left no exit code: it runs, or was killed with its job."""
    if job.silent:
        return "unknown", "Slurm does not answer"
    if not job.ended:
        return "running", "" if job.state in _RUNNING else job.state.lower()
    return ("done" if job.state == "COMPLETED" else "failed"), job.state.lower().replace("_", " ")


def _without_slurm(folder: RunFolder, record: Record) -> tuple[State, str]:
    """Return the state where there is neither an exit code nor an answer of Slurm's."""
    if record.pid is not None and not here(record):
        return "unknown", f"it was started on {record.host}: look there"
    if record.pid is not None and alive(record):
        return "running", ""
    if folder.exit_code_file.exists():
        return "unknown", f"{folder.exit_code_file} is damaged: it holds no exit code"
    if record.pid is not None:
        return "failed", "killed: it left no exit code"
    if record.job_id is None:
        by_hand = record.mode == "sbatch" and written_here(folder, record)
        return "written", (
            f"not submitted; by hand: sbatch {quote(str(folder.script))}"
            if by_hand
            else f"not started here: hpclaunch resume {quote(str(folder.root))}"
        )
    return _of_unknown_job(folder, record)


def _of_unknown_job(folder: RunFolder, record: Record) -> tuple[State, str]:
    """Return the state of a job that there is nobody to ask about, or that Slurm does not know."""
    if not commands.available():
        return "unknown", f"there is no Slurm on this machine to ask about job {record.job_id}"
    return _forgotten(folder, record)


def _forgotten(folder: RunFolder, record: Record) -> tuple[State, str]:
    """Return the state of a job that Slurm does not know: it forgets ended ones in minutes."""
    why = f"Slurm does not know job {record.job_id}, and the script left no exit code"
    if folder.cancelled_file.exists():
        return "cancelled", why
    silent = time.time() - _last_sign(folder)
    # Another cluster's Slurm, asked about a job at work here, would say the same.
    if silent < FORGOTTEN_S:
        return "unknown", why
    return "failed", f"{why}; no sign of life for {duration(silent)}"


def _last_sign(folder: RunFolder) -> float:
    """Return when something was last written for a run, in Unix seconds."""
    times = []
    for path in (folder.record, folder.events, folder.logs, folder.metrics):
        for each in (path, *(path.iterdir() if path.is_dir() else ())):
            with suppress(OSError):
                times.append(each.stat().st_mtime)
    return max(times, default=0.0)


def _is_of_now(folder: RunFolder, record: Record, job: JobState | None) -> bool:
    """Return whether the exit code in the folder is this job's, and not an earlier one's.

    A script that has ended may leave a job that runs on: a batch job for a moment, an allocation
    that a shell holds for hours.
    """
    if job is None or job.state not in _QUEUED | _RUNNING:
        return True
    if record.mode != "sbatch":
        return True
    return job.state in _RUNNING and current_attempt(folder).startswith(f"{record.job_id}.")


def _read_exit_code(folder: RunFolder) -> int | None:
    """Read the exit code the script left."""
    try:
        return int(read_small_text(folder.exit_code_file, 64).strip())
    except (OSError, ValueError):
        return None
