"""Submit a script, try one without submitting it, and cancel a job."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hpclaunch.errors import JobFailed, UserError
from hpclaunch.frozen import frozen
from hpclaunch.slurm.commands import ASK_TIMEOUT, NO_CONTROLLER, plain, problem, words
from hpclaunch.slurm.environment import for_submission

_JOB_ID = re.compile(r"(?:Submitted batch job )?([0-9]+)(?:;\S*)?")
"""A line of `sbatch --parsable`; the greeting of a site's wrapper may stand around it."""

_UNSURE = re.compile(r"timed out|zero bytes were transmitted|unable to confirm", re.IGNORECASE)
"""What sbatch prints where the controller may have taken the job, and its answer was lost."""

_MAY_WAIT = re.compile(
    r"\bDOWN\b|DRAIN|\bbusy\b|\breserved\b|temporarily|is in the future|dependency", re.IGNORECASE
)
"""Why `sbatch --test-only` refuses a job that would only have to wait."""


@frozen
class Trial:
    """What Slurm says of a script that it was asked to try, and not to run."""

    verdict: Literal["starts", "waits", "refused", "not tried"]
    """waits: it could not start now. refused: nor later. not tried: Slurm does not answer."""
    message: str
    """In a sentence, with Slurm's own words."""


def test_only(script: str, cwd: Path) -> Trial:
    """Have Slurm try a script without submitting it. Raises JobFailed where sbatch hangs."""
    done = sbatch(["--test-only"], cwd, script)
    message = words(done.stderr)
    if done.returncode == 0:
        # The job number that Slurm tries it under is used up by the trial.
        return Trial("starts", re.sub(r"^Job \d+ to start at", "expected to start at", message))
    if NO_CONTROLLER.search(done.stderr):
        return Trial("not tried", "Slurm's controller does not answer, so the script was not tried")
    verdict: Literal["waits", "refused"] = "waits" if _MAY_WAIT.search(message) else "refused"
    return Trial(verdict, f"could not start now: {message}")


def submit(script: Path, cwd: Path) -> str:
    """Submit a script; returns the job id.

    Raises UserError with Slurm's own words, JobFailed where it is not known which job it became.
    """
    done = sbatch(["--parsable", str(script)], cwd, None)
    if done.returncode != 0:
        if _UNSURE.search(done.stderr):
            raise JobFailed(
                f"Slurm did not say whether it took {script}: {words(done.stderr)}; look with "
                "'squeue --me' before you submit it again"
            )
        if NO_CONTROLLER.search(done.stderr):
            raise UserError(
                f"nothing was submitted: {problem(done.stderr)}",
                "submit from a login node, or use 'hpclaunch local' on this machine",
            )
        raise UserError(f"Slurm refuses this job: {words(done.stderr)}", "nothing was submitted")
    for line in reversed(done.stdout.splitlines()):
        if match := _JOB_ID.fullmatch(line.strip()):
            return match.group(1)
    raise JobFailed(
        f"sbatch took {script.name} and named no job number; look for it with 'squeue --me'"
    )


def sbatch(
    arguments: Sequence[str], cwd: Path, text: str | None
) -> subprocess.CompletedProcess[str]:
    """Run sbatch with a clean environment, and out of reach of the terminal's Ctrl-C.

    The caller decides what an interruption means: it may come after Slurm has taken the job.
    """
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
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise JobFailed("sbatch did not answer within two minutes; ask 'squeue --me'") from None


def cancel(job: str) -> None:
    """Cancel a job. Raises UserError with Slurm's words, JobFailed where it does not answer."""
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
    except OSError as error:
        raise JobFailed(f"scancel: {error.strerror}; job {job} is not cancelled") from None
    if done.returncode != 0:
        raise UserError(f"Slurm did not cancel job {job}: {problem(done.stderr)}")
