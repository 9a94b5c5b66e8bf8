"""Folders `checkpoints/step-N`: there when complete, and only the newest few."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from hpclaunch.run.folder import RunFolder

_STEP = re.compile(r"^step-(\d+)$")
ASIDE = ".partial"
"""Where a checkpoint is written before it is renamed into place."""


def step_of(path: Path) -> int:
    """Return N of a folder `step-N`, -1 for any other name."""
    match = _STEP.match(path.name)
    return int(match.group(1)) if match else -1


def complete(run: RunFolder) -> list[Path]:
    """Return the checkpoints there are, oldest first."""
    if not run.checkpoints.is_dir():
        return []
    found = [path for path in run.checkpoints.iterdir() if path.is_dir() and step_of(path) >= 0]
    return sorted(found, key=step_of)


def newest(run: RunFolder) -> Path | None:
    """Return the newest complete checkpoint, if any."""
    return next(reversed(complete(run)), None)


def aside(run: RunFolder) -> Path:
    """Return the folder that a checkpoint is written into."""
    return run.checkpoints / ASIDE


def clear_aside(run: RunFolder) -> None:
    """Remove what an interrupted save left behind."""
    shutil.rmtree(aside(run), ignore_errors=True)


def begin(run: RunFolder) -> None:
    """Make an empty folder to write a checkpoint into. Raises OSError."""
    clear_aside(run)
    aside(run).mkdir(parents=True)


def promote(run: RunFolder, step: int, keep: int, held: str | None = None) -> Path:
    """Rename the checkpoint of `step` into place, then remove all but the newest `keep`.

    The one named `held` is being copied elsewhere, and stays until the next.
    """
    written = aside(run) / f"checkpoint-{step}"
    target = run.checkpoints / f"step-{step}"
    if target.exists():  # the step was resumed from and is saved again
        replaced = aside(run) / f"replaced-{step}"
        target.rename(replaced)
    written.rename(target)
    clear_aside(run)
    for old in complete(run)[:-keep]:
        if old.name == held:
            continue
        doomed = run.checkpoints / f".old-{old.name}"
        old.rename(doomed)  # first out of sight, so that half a removal is no checkpoint
        shutil.rmtree(doomed, ignore_errors=True)
    return target


def put_into_place(run: RunFolder, folder: Path, name: str) -> None:
    """Rename a whole checkpoint that came from elsewhere, in place of a damaged one if need be."""
    target = run.checkpoints / name
    if target.exists():
        doomed = run.checkpoints / f".old-{name}"
        target.rename(doomed)
        folder.rename(target)
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        folder.rename(target)


def size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
