"""Folders `checkpoints/step-N`: there when complete, and only the newest few."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.permissions import apply_umask
from hpclaunch.run.removal import remove

_STEP = re.compile(r"^step-(\d+)$")
PARTIAL = ".partial"
"""Where a checkpoint is written before it is renamed into place."""


def step_of(path: Path) -> int:
    """Return N of a folder `step-N`, -1 for any other name."""
    match = _STEP.match(path.name)
    return int(match.group(1)) if match else -1


def complete(run: RunFolder) -> list[Path]:
    """Return the checkpoints there are, oldest first."""
    if not run.checkpoints.is_dir():
        return []
    steps = [path for path in run.checkpoints.iterdir() if path.is_dir() and step_of(path) >= 0]
    return sorted(steps, key=step_of)


def newest(run: RunFolder) -> Path | None:
    """Return the newest complete checkpoint, if any."""
    return next(reversed(complete(run)), None)


def partial_folder(run: RunFolder) -> Path:
    """Return the folder that a checkpoint is written into."""
    return run.checkpoints / PARTIAL


def remove_partial(run: RunFolder) -> None:
    """Remove what an interrupted save left behind."""
    remove(partial_folder(run))


def create_partial(run: RunFolder) -> None:
    """Make an empty folder to write a checkpoint into. Raises OSError."""
    remove_partial(run)
    partial_folder(run).mkdir(parents=True)


def move_into_place(run: RunFolder, step: int) -> Path:
    """Rename the checkpoint of `step` into place; return its folder. Raises OSError."""
    written = partial_folder(run) / f"checkpoint-{step}"
    target = run.checkpoints / f"step-{step}"
    apply_umask(written)
    if target.exists():  # the step was resumed from and is saved again
        replaced = partial_folder(run) / f"replaced-{step}"
        target.rename(replaced)
    written.rename(target)
    remove_partial(run)
    return target


def remove_old(run: RunFolder, keep: int, needed: Collection[str | None] = ()) -> None:
    """Remove all but the newest `keep` checkpoints, and those whose names are `needed`."""
    for old in complete(run)[:-keep]:
        if old.name in needed:
            continue
        obsolete = run.checkpoints / f".old-{old.name}"
        old.rename(obsolete)  # first out of sight, so that half a removal is no checkpoint
        remove(obsolete)


def replace(run: RunFolder, folder: Path, name: str) -> None:
    """Rename a downloaded checkpoint into place; it replaces a damaged one of the same name."""
    target = run.checkpoints / name
    if target.exists():
        obsolete = run.checkpoints / f".old-{name}"
        target.rename(obsolete)
        folder.rename(target)
        remove(obsolete)
    else:
        folder.rename(target)


def total_bytes(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
