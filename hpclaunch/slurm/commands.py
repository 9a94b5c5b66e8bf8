"""Slurm's commands: submit, ask, cancel. Text in, typed values out; Slurm's own words in errors."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpclaunch.errors import JobFailed, UserError
from hpclaunch.slurm.environment import for_submission

ASK_TIMEOUT = 30.0
"""Seconds to wait for squeue and its like: a busy controller answers late, a dead one never."""

SLOW_ANSWER_S = 5.0
"""Seconds after which a Slurm that does not answer is not asked in a second way."""

CONFIGURATIONS = (
    Path("/run/slurm/conf/slurm.conf"),  # where slurmd caches it on clusters without local files
    Path("/etc/slurm/slurm.conf"),
    Path("/etc/slurm-llnl/slurm.conf"),
)
"""Where slurm.conf lies, unless SLURM_CONF says otherwise."""

_SILENT = re.compile(
    "contact slurm controller|establish a configuration|Connection refused", re.IGNORECASE
)
_CLUSTER_NAME = re.compile(r"^\s*ClusterName\s*=\s*([^\s#]+)", re.MULTILINE | re.IGNORECASE)

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


@dataclass(frozen=True)
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


def available() -> bool:
    """Return whether Slurm's commands are here."""
    return shutil.which("sbatch") is not None


def require() -> None:
    """Refuse where Slurm is missing. Raises UserError."""
    if not available():
        raise UserError(
            "Slurm is not here: sbatch is not on PATH",
            "run on a login node, or use 'hpclaunch local' on this machine",
        )


def ask(*argv: str) -> str:
    """Run one of Slurm's asking commands; '' where it fails or does not answer in time."""
    return _query(*argv)[1]


def _query(*argv: str) -> tuple[bool, str]:
    """Run an asking command; gives whether Slurm answered, and its answer.

    That it knows no such job is an answer too.
    """
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            env=plain(os.environ),
            timeout=ASK_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False, ""
    if done.returncode == 0:
        return True, done.stdout
    return "invalid job id" in done.stderr.lower(), ""


def plain(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that change what the commands print or ask."""
    changing = ("SQUEUE_", "SCANCEL_", "SINFO_", "SACCT_", "SCONTROL_", "SLURM_TIME_FORMAT")
    return {name: value for name, value in environment.items() if not name.startswith(changing)}


def cluster_name(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return Slurm's name for this cluster, if there is a Slurm that says.

    Its configuration file is read where it lies open: that is quicker than asking the controller.
    """
    if environment.get("SLURM_CLUSTER_NAME"):
        return environment["SLURM_CLUSTER_NAME"]
    own = environment.get("SLURM_CONF")
    for file in [Path(own)] if own else CONFIGURATIONS:
        with contextlib.suppress(OSError):
            match = _CLUSTER_NAME.search(file.read_text(encoding="utf-8", errors="replace"))
            if match:
                return match.group(1)
    if not available():
        return None
    match = _CLUSTER_NAME.search(ask("scontrol", "show", "config"))
    return match.group(1) if match else None


def test_only(script: str, cwd: Path) -> str:
    """Have Slurm try a script without submitting it; gives its words: when it starts, or why not.

    Its no is not the last word: a job that could not start now (nodes down or reserved) may wait.
    """
    done = sbatch(["--test-only"], cwd, script)
    if done.returncode != 0:
        if _SILENT.search(done.stderr):
            return "its controller does not answer, so the script was not tried"
        return f"could not start now: {words(done.stderr)}"
    # The job number that Slurm tries it under is used up by the trial.
    return re.sub(r"^Job \d+ to start at", "expected to start at", words(done.stderr))


def submit(script: Path, cwd: Path) -> str:
    """Submit a script; gives the job id. Raises UserError with Slurm's own words."""
    done = sbatch(["--parsable", str(script)], cwd, None)
    if done.returncode != 0:
        raise UserError(f"Slurm refuses this job: {words(done.stderr)}", "nothing was submitted")
    return done.stdout.strip().partition(";")[0]


def sbatch(
    arguments: Sequence[str], cwd: Path, text: str | None
) -> subprocess.CompletedProcess[str]:
    """Run sbatch with a clean environment."""
    try:
        return subprocess.run(
            ["sbatch", *arguments],
            input=text,
            capture_output=True,
            text=True,
            cwd=cwd,
            env=for_submission(os.environ),
            timeout=120,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise JobFailed("sbatch did not answer within two minutes; ask 'squeue --me'") from None


def words(stderr: str) -> str:
    """Return what Slurm said, on one line, without the prefixes of its programs."""
    lines = [re.sub(r"^(sbatch|salloc|srun): (error: )?", "", line) for line in stderr.splitlines()]
    return "; ".join(line.strip() for line in lines if line.strip()) or "no reason given"


def job_states(job_ids: Sequence[str]) -> dict[str, JobState]:
    """Return what Slurm knows of jobs: the queue first, then accounts, then the controller.

    A job that no one remembers is absent from the answer; where Slurm does not answer at all, its
    state is NO_ANSWER.
    """
    if not job_ids or not available():
        return {}
    found: dict[str, JobState] = {}
    began = time.monotonic()
    answered, rows = _query("squeue", "--noheader", "--states=all", "--jobs", ",".join(job_ids),
               "--format=%i|%T|%r|%N|%L")  # fmt: skip
    for row in rows.splitlines():
        fields = row.split("|")
        if len(fields) == 5 and fields[0] in job_ids:
            job, state, reason, nodes, left = fields
            reason = "" if reason == "None" else reason
            found[job] = JobState(state, None, reason, nodes, left)
    # Each further question to a controller that is gone would be another long wait.
    hurried = not answered and time.monotonic() - began > SLOW_ANSWER_S
    for job in job_ids:
        if job not in found or found[job].ended:
            ended = _from_controller(job) if answered else None
            ended = ended or (None if hurried else _from_accounts(job))
            if ended:
                found[job] = ended
            elif job not in found and not answered:
                found[job] = JobState(NO_ANSWER)
    return found


def job_fields(job: str) -> dict[str, str]:
    """Return what `scontrol show job` says, empty for a job it has forgotten."""
    text = ask("scontrol", "--oneliner", "show", "job", job)
    fields = dict(part.split("=", 1) for part in text.split() if "=" in part)
    return fields if fields.get("JobId") == job else {}


def _from_controller(job: str) -> JobState | None:
    """Ask the controller, which remembers an ended job for some minutes."""
    fields = job_fields(job)
    if not fields:
        return None
    state = fields.get("JobState", "UNKNOWN")
    reason = fields.get("Reason", "None")
    code = _exit_code(fields.get("ExitCode", "")) if state in ENDED else None
    return JobState(state, code, "" if reason == "None" else reason, fields.get("NodeList", ""))


def _from_accounts(job: str) -> JobState | None:
    """Ask the accounting database, where the cluster keeps one."""
    if shutil.which("sacct") is None:
        return None
    text = ask("sacct", "--noheader", "--parsable2", "--allocations", "--jobs", job,
               "--format=State,ExitCode,NodeList")  # fmt: skip
    row = text.strip().splitlines()[-1:] or [""]
    fields = row[0].split("|")
    if len(fields) != 3 or not fields[0]:
        return None
    # 'CANCELLED by 1000' names the user; the state is the first word.
    state = fields[0].split()[0]
    return JobState(state, _exit_code(fields[1]), "", fields[2])


def _exit_code(text: str) -> int | None:
    """Read Slurm's `code:signal`."""
    match = re.match(r"^(\d+):(\d+)$", text)
    if not match:
        return None
    code, signal = int(match.group(1)), int(match.group(2))
    return 128 + signal if signal else code


def cancel(job: str) -> None:
    """Cancel a job. Raises UserError with Slurm's words."""
    try:
        done = subprocess.run(
            ["scancel", job],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=plain(os.environ),
            timeout=ASK_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise JobFailed(f"Slurm does not answer; job {job} may not be cancelled") from None
    if done.returncode != 0:
        raise UserError(f"Slurm did not cancel job {job}: {words(done.stderr)}")
