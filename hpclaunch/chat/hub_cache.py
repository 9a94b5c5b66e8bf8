"""The hub's cache on this machine: where the files of a model lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def hub_home(environment: Mapping[str, str]) -> Path:
    """Return the folder of the hub's library."""
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(environment.get("HF_HOME") or f"{base}/huggingface").expanduser()


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder in which the hub's library keeps models."""
    return Path(environment.get("HF_HUB_CACHE") or hub_home(environment) / "hub").expanduser()


def snapshot(name: str, revision: str | None, environment: Mapping[str, str]) -> Path | None:
    """Return the folder of a model's files at a revision, None where the cache has none."""
    folder = cache_folder(environment) / f"models--{name.replace('/', '--')}"
    wanted = revision or "main"
    try:
        commit = (folder / "refs" / wanted).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = wanted
    try:
        found = folder / "snapshots" / commit
        return found if found.is_dir() else None
    except (OSError, ValueError):
        return None
