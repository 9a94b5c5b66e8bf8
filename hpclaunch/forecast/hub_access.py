"""Will the nodes be able to read the model? Asked before a job waits in a queue for nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from hpclaunch.chat.hub_cache import cache_folder, hub_home
from hpclaunch.errors import UserError
from hpclaunch.recipe.mixture import parts_of
from hpclaunch.recipe.paths import is_here, is_local
from hpclaunch.recipe.schema import Data, Model, Recipe

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
            f"run here first: hpclaunch fetch {name}",
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


def check_offline(recipe: Recipe, environment: Mapping[str, str]) -> None:
    """Refuse a recipe whose model or data a node without internet would not find.

    Raises UserError with the one command that fetches all of it.
    """
    missing = []
    model = recipe.model.name
    if not (is_local(model) or model.startswith("builtin:") or in_cache(model, environment)):
        missing.append((f"model {model}", model))
    for name in hub_datasets(recipe.data):
        if not dataset_in_cache(name, environment):
            missing.append((f"dataset {name}", f"datasets/{name}"))
    if missing:
        what = " and ".join(text for text, _ in missing)
        raise UserError(
            f"{what} {'are' if len(missing) > 1 else 'is'} not in the cache "
            f"({hub_home(environment)}), and this site's nodes have no internet",
            f"run here first: hpclaunch fetch {' '.join(word for _, word in missing)}",
        )


def hub_datasets(data: Data) -> Iterator[str]:
    """Return the names of the hub's datasets that a recipe reads."""
    for name in (*(part.name for part, _ in parts_of(data)), data.validation):
        if name is not None and not is_here(name):
            yield name


def dataset_in_cache(name: str, environment: Mapping[str, str]) -> bool:
    """Return whether the cache of `datasets` has rows of a dataset: offline it looks only there."""
    base = environment.get("HF_DATASETS_CACHE") or hub_home(environment) / "datasets"
    wanted = _plain(name.replace("/", "___"))
    try:
        return any(
            _plain(folder.name) == wanted and any(folder.glob("*/*/*/*.arrow"))
            for folder in Path(base).expanduser().iterdir()
        )
    except OSError:
        return False


def _plain(name: str) -> str:
    """Return a dataset's folder without what the library changes: CamelCase to snake_case."""
    return name.replace("_", "").lower()


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
    """Return whether the cache holds all weights of this model (some snapshot's safetensors)."""
    snapshots = cache_folder(environment) / f"models--{name.replace('/', '--')}" / "snapshots"
    try:
        return any(
            _is_whole(folder) for folder in snapshots.iterdir() if any(folder.glob("*.safetensors"))
        )
    except OSError:
        return False


def _is_whole(snapshot: Path) -> bool:
    """Return whether all files of weights are there that the index lists, where there is one."""
    try:
        index = json.loads((snapshot / "model.safetensors.index.json").read_text("utf-8"))
        return all((snapshot / file).exists() for file in set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True
