"""Slurm's commands: are they here, ask them, and which cluster this is."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen

ASK_TIMEOUT = 30.0
"""Seconds to wait for squeue and its like: a busy controller answers late, a dead one never."""

SLOW_ANSWER_S = 5.0
"""Seconds after which a Slurm that does not answer is not asked again."""

RETRY_PAUSE_S = 1.0
"""Seconds before a command that failed is run once more: a busy controller refuses some."""

CONFIGURATIONS = (
    Path("/run/slurm/conf/slurm.conf"),  # where slurmd caches it on clusters without local files
    Path("/etc/slurm/slurm.conf"),
    Path("/etc/slurm-llnl/slurm.conf"),
)
"""Where slurm.conf lies, unless SLURM_CONF says otherwise."""

NO_CONTROLLER = re.compile(
    "contact slurm controller|establish a configuration|Connection refused", re.IGNORECASE
)
"""What Slurm's commands print where their controller does not answer."""

_CLUSTER_NAME = re.compile(r"^\s*ClusterName\s*=\s*([^\s#]+)", re.MULTILINE | re.IGNORECASE)


@frozen
class Answer:
    """What came of running one of Slurm's commands."""

    answered: bool
    """That it knows no such job is an answer too, with an empty text."""
    text: str = ""
    problem: str = ""
    """Slurm's own message where it did not answer."""


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
    """Run a command that only asks; '' where it fails twice or does not answer in time."""
    return query(*argv).text


def query(*argv: str) -> Answer:
    """Run a command that only asks, twice where the first try fails at once."""
    began = time.monotonic()
    answer = _run(*argv)
    if answer.answered or time.monotonic() - began > SLOW_ANSWER_S or not shutil.which(argv[0]):
        return answer
    time.sleep(RETRY_PAUSE_S)
    return _run(*argv)


def _run(*argv: str) -> Answer:
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
    except subprocess.TimeoutExpired:
        return Answer(False, problem=f"no answer in {ASK_TIMEOUT:g} s")
    except OSError as error:
        return Answer(False, problem=f"{argv[0]}: {error.strerror}")
    if done.returncode == 0:
        return Answer(True, done.stdout)
    return Answer("invalid job id" in done.stderr.lower(), problem=problem(done.stderr))


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
    return _cluster_name_by_controller() if available() else None


@cache
def _cluster_name_by_controller() -> str | None:
    match = _CLUSTER_NAME.search(ask("scontrol", "show", "config"))
    return match.group(1) if match else None


def problem(stderr: str) -> str:
    """Return why Slurm did not do what it was asked to: its words, or that it is not there."""
    lines = stderr.splitlines()
    first = next((line for line in lines if NO_CONTROLLER.search(line)), None)
    if first is not None:  # what else it says are its attempts to find one
        return f"no Slurm controller answers this machine ({words(first)})"
    return words(stderr)


def words(stderr: str) -> str:
    """Return what Slurm said, on one line, without the prefixes of its programs."""
    prefix = re.compile(r"^(sbatch|salloc|srun|sinfo|squeue|scontrol|scancel): ((error|fatal): )?")
    lines = [prefix.sub("", line) for line in stderr.splitlines()]
    return "; ".join(line.strip() for line in lines if line.strip()) or "no reason given"
