"""What a job inherits from the shell it is submitted from: no secrets, no other job's variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hpclaunch.errors import UserError
from hpclaunch.secrets import is_secret, secret_argument, secret_in

_SLURM = re.compile(r"^(SLURM|SLURMD|SBATCH|SALLOC|SRUN|PMI|PMIX|PMI2)_")
_SLURM_KEPT = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"}
# The shell's own, and what lets sbatch itself in (the script takes it out of the job).
_NOT_SECRET = {"SLURM_JWT", "PWD", "OLDPWD"}

_LAUNCHER = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}


def for_submission(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to submit with.

    Variables of an enclosing job go: Slurm would take them for options and stop with
    "mutually exclusive". Tokens go: Slurm would keep them with the job, and a node reads the
    token from the file the user's tools keep. Stale launcher state (RANK and such) goes too.
    """
    return {
        name: value
        for name, value in without_launcher_state(environment).items()
        if not (_SLURM.match(name) and name not in _SLURM_KEPT) and not looks_secret(name, value)
    }


def withheld(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that hold a secret, which no job inherits, sorted."""
    return sorted(name for name, value in environment.items() if looks_secret(name, value))


def looks_secret(name: str, value: str) -> bool:
    """Return whether a variable holds a secret, by its name or by the shape of its value."""
    return name not in _NOT_SECRET and is_secret(name, value)


def without_launcher_state(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without what another launcher left (RANK and such).

    accelerate's own are among them: left over from an enclosing run they win over the config file.
    """
    return {
        name: value
        for name, value in environment.items()
        if name not in _LAUNCHER and not name.startswith(("ACCELERATE_", "FSDP_"))
    }


def refuse_secrets(words: Iterable[str]) -> None:
    """Refuse a command line with a secret in it. Raises UserError.

    It would stand in the script, the record and the process list of every node.
    """
    _refuse(secret_argument(words), "the command")


def refuse_secrets_in(text: str, place: str) -> None:
    """Refuse a text, such as a recipe or a script, with a secret in it. Raises UserError."""
    _refuse(secret_in(text), place)


def refuse_secret_variables(variables: Mapping[str, str], place: str) -> None:
    """Refuse variables with a secret that a file sets for a job. Raises UserError."""
    _refuse(next(iter(withheld(variables)), None), place)


def _refuse(secret: str | None, place: str) -> None:
    if secret is not None:
        raise UserError(
            f"a secret ({secret}) stands in {place}",
            "keep it in a file that only you can read, and let the job read it there "
            "('hf auth login' and 'wandb login' make such files)",
        )
