"""What a job inherits from the shell it is submitted from: no secrets, no other job's variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hpclaunch.errors import UserError

_SLURM = re.compile(r"^(SLURM|SLURMD|SBATCH|SALLOC|SRUN|PMI|PMIX|PMI2)_")
_SLURM_KEPT = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT"}
_SECRET = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|SSHPASS|CONNECTION_STRING|(^|_)(KEY|PAT|PASS|PWD)$"
    r"|API_?KEY|ACCESS_KEY",
    re.IGNORECASE,
)
# Paths of files, flags, and the shell's own; SLURM_JWT is what sbatch itself may need to be let in
# (the script takes it out of the job).
_NOT_SECRET = {
    "TOKENIZERS_PARALLELISM", "HF_TOKEN_PATH", "SLURM_JWT", "PWD", "OLDPWD",
    "AWS_SHARED_CREDENTIALS_FILE", "GOOGLE_APPLICATION_CREDENTIALS",
}  # fmt: skip
_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
"""A password inside an address, as proxies have them."""

_LAUNCHER = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
_TOKEN_SHAPES = re.compile(r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|ghp_[A-Za-z0-9]{30,})\b")


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


def looks_secret(name: str, value: str) -> bool:
    """Return whether a variable holds a secret, by its name or by the shape of its value."""
    if name in _NOT_SECRET:
        return False
    return any(
        (_SECRET.search(name), _TOKEN_SHAPES.search(value), _IN_URL.search(value)),
    )


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
    """Refuse words of the command line that look like an access token. Raises UserError.

    They would stand in the script, the record and the process list of every node.
    """
    for word in words:
        match = _TOKEN_SHAPES.search(word)
        if match:
            raise UserError(
                f"an access token ('{match.group()[:5]}...') stands in the command",
                "save it once with 'hf auth login'; jobs read it from there",
            )
