"""Will the nodes be able to read the model? Asked before a job waits in a queue for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hpclaunch.chat.hub_cache import cache_folder, hub_home
from hpclaunch.errors import UserError
from hpclaunch.recipe.load import is_local
from hpclaunch.recipe.schema import Model

GATED_OWNERS = ("meta-llama/", "google/gemma", "mistralai/")
"""Whose models the hub hands out to named persons only."""


def check_access(model: Model, internet: bool, environment: Mapping[str, str], job: bool) -> None:
    """Refuse a gated model without a token, and any model that an offline node does not hold.

    `job`: it will run as a Slurm job, which gets no token from this shell's variables: Slurm would
    keep it with the job, readable by others. Raises UserError.
    """
    name = model.name
    if name.startswith("builtin:") or is_local(name) or in_cache(name, environment):
        return
    if not internet:
        raise UserError(
            f"model {name} is not in the cache ({cache_folder(environment)}), and this site's "
            "nodes have no internet",
            f"run here first: hf download {name} --exclude 'original/*'",
        )
    if not (model.gated or name.startswith(GATED_OWNERS)) or _token_file(environment).is_file():
        return
    in_shell = bool(environment.get("HF_TOKEN"))
    if in_shell and not job:
        return
    why = "HF_TOKEN is set in this shell only, and jobs do not get it" if in_shell else "no token"
    raise UserError(
        f"model {name} is gated, and there is no access to it: {why}",
        f"ask for access at https://huggingface.co/{name}, then save a token: hf auth login",
    )


def token(environment: Mapping[str, str]) -> str | None:
    """Return the hub's read token of this user, None where there is none."""
    try:
        kept = _token_file(environment).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        kept = ""
    return environment.get("HF_TOKEN") or kept or None


def _token_file(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HF_TOKEN_PATH") or hub_home(environment) / "token").expanduser()


def in_cache(name: str, environment: Mapping[str, str]) -> bool:
    """Return whether the cache holds weights of this model (any snapshot with safetensors)."""
    snapshots = cache_folder(environment) / f"models--{name.replace('/', '--')}" / "snapshots"
    try:
        return any(snapshots.glob("*/*.safetensors"))
    except OSError:
        return False
