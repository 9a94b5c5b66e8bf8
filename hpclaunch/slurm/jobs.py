"""What Slurm knows of jobs: the queue, the controller's memory, the accounts."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence

from hpclaunch.frozen import frozen
from hpclaunch.slurm.commands import SLOW_ANSWER_S, ask, available, query

ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}


NO_ANSWER = "NO_ANSWER"
"""Stands for a state that Slurm did not tell: it was busy, or could not be reached."""


@frozen
class JobState:
    """Slurm's word on a job."""

    state: str
    """As Slurm names it: PENDING, RUNNING, COMPLETED, TIMEOUT, ..."""
    exit_code: int | None = None
    """None while it runs, or where Slurm does not say. 128 + N for a signal N."""
    reason: str = ""
    """Why it waits, or why it failed."""
    nodes: str = ""
    time_left: str = ""

    @property
    def silent(self) -> bool:
        """True where Slurm did not answer: the job may be in any state."""
        return self.state == NO_ANSWER

    @property
    def ended(self) -> bool:
        """True once nothing of it will run again."""
        return self.state in ENDED


TASK = re.compile(r"([0-9]+)(?:_([0-9]+))?")
"""A job's number; of a task of a job array, the array's number and its own."""


def job_id(variables: Mapping[str, str]) -> str:
    """Return the job that a process is in, as ARRAY_TASK in a job array; '' outside of any.

    Each task has a number of its own, too, but one of them has the array's: Slurm's commands take
    that for all of its tasks.
    """
    array, task = variables.get("SLURM_ARRAY_JOB_ID"), variables.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else variables.get("SLURM_JOB_ID", "")


def job_states(job_ids: Sequence[str]) -> dict[str, JobState]:
    """Return what Slurm knows of jobs: the queue first, then accounts, then the controller.

    A job that no one remembers is absent from the answer; where Slurm does not answer at all, its
    state is NO_ANSWER.
    """
    if not job_ids or not available():
        return {}
    found: dict[str, JobState] = {}
    began = time.monotonic()
    answer = query("squeue", "--noheader", "--array", "--states=all",
                   "--jobs", ",".join(job_ids), "--format=%i|%T|%r|%N|%L")  # fmt: skip
    answered = answer.answered
    for row in answer.text.splitlines():
        fields = row.split("|")
        if len(fields) == 5 and fields[0] in job_ids:
            job, state, reason, nodes, left = fields
            reason = "" if reason == "None" else reason
            found[job] = JobState(state, None, reason, nodes, left)
    # Each further question to a controller that is gone would be another long wait.
    hurried = not answered and time.monotonic() - began > SLOW_ANSWER_S
    over = [job for job in job_ids if job not in found or found[job].ended]
    if answered:
        controller = {job: ended for job in over if (ended := _from_controller(job))}
        found |= controller
        over = [job for job in over if job not in controller]
    if over and not hurried:
        found |= _from_accounts(over)
    if not answered:
        found |= {job: JobState(NO_ANSWER) for job in over if job not in found}
    return found


def own_jobs() -> dict[str, tuple[JobState, str]]:
    """Return this user's jobs that wait or run, each with the path of its script ('' if none).

    Empty where Slurm is not here or does not answer: `job_states` then says which it is.
    """
    if not available():
        return {}
    found = {}
    text = ask("squeue", "--noheader", "--array", "--me", "--format=%i|%T|%r|%N|%L|%o")
    for row in text.splitlines():
        fields = row.split("|", 5)
        if len(fields) == 6 and TASK.fullmatch(fields[0]):
            job, state, reason, nodes, left, script = fields
            reason = "" if reason == "None" else reason
            found[job] = (JobState(state, None, reason, nodes, left), script)
    return found


def job_comment(job: str) -> str:
    """Return the comment that a job was submitted with; '' where there is none or no answer."""
    return ask("squeue", "--noheader", "--jobs", job, "--format=%k").strip()


def job_fields(job: str, *, any_task: bool = False) -> dict[str, str]:
    """Return what `scontrol show job` says, empty for a job it has forgotten.

    Of two fields of a name the first is Slurm's: comments of the user, as they are, come after.
    `any_task`: of an array, what it says of the task that it lists first.
    """
    text = ask("scontrol", "--oneliner", "show", "job", job)
    parts = [part.partition("=") for part in text.split() if "=" in part]
    fields = {name: value for name, _, value in reversed(parts)}
    array = f"{fields.get('ArrayJobId')}_{fields.get('ArrayTaskId')}"
    known = {fields.get("JobId"), array} | ({fields.get("ArrayJobId")} if any_task else set())
    return fields if job in known else {}


def _from_controller(job: str) -> JobState | None:
    """Ask the controller, which remembers an ended job for some minutes."""
    fields = job_fields(job)
    if not fields:
        return None
    state = fields.get("JobState", "UNKNOWN")
    reason = fields.get("Reason", "None")
    code = _exit_code(fields.get("ExitCode", "")) if state in ENDED else None
    return JobState(state, code, "" if reason == "None" else reason, fields.get("NodeList", ""))


def _from_accounts(jobs: Sequence[str]) -> dict[str, JobState]:
    """Ask the accounting database, where the cluster keeps one."""
    if shutil.which("sacct") is None:
        return {}
    text = ask("sacct", "--noheader", "--parsable2", "--allocations", "--jobs", ",".join(jobs),
               "--format=JobID,State,ExitCode,NodeList")  # fmt: skip
    found = {}
    for row in text.splitlines():
        fields = row.split("|")
        if len(fields) == 4 and fields[0] in jobs and fields[1]:
            # 'CANCELLED by 1000' names the user; the state is the first word.
            state = fields[1].split()[0]
            found[fields[0]] = JobState(state, _exit_code(fields[2]), "", fields[3])
    return found


def _exit_code(text: str) -> int | None:
    """Read Slurm's `code:signal`."""
    match = re.match(r"^(\d+):(\d+)$", text)
    if not match:
        return None
    code, signal = int(match.group(1)), int(match.group(2))
    return 128 + signal if signal else code
