"""Whose a run folder is: another user's is read, and nothing that it names is run or ended."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder


def require_own(folder: RunFolder, action: str) -> None:
    """Refuse to act on a folder of another user, or with a record of another's. Raises UserError.

    `action`: what is asked for, as in `resume`. Resuming runs the program and the Python that a
    record names: whoever wrote it could have anything run.
    """
    fix = f"take a copy of your own: hpclaunch adopt {quote(str(folder.root))}"
    _require_own((folder.root, folder.record), action, fix)


def require_own_files(folder: Path, file: str, action: str) -> None:
    """Refuse to act on another user's sweep or pipeline. Raises UserError.

    `file`: what describes it. A pipeline names programs of stages that have not run yet.
    """
    fix = "take its runs one by one: hpclaunch adopt FOLDER"
    _require_own((folder, folder / file), action, fix)


def require_own_file(path: Path) -> None:
    """Refuse a file that would run as this user and that another has put there. Raises UserError.

    In a folder that a group may write to, any of its members can.
    """
    _require_own((path,), "run", "remove it: what belongs there is written anew")


def _require_own(paths: tuple[Path, ...], action: str, fix: str) -> None:
    for path in paths:
        try:
            owner = path.stat().st_uid
        except OSError:
            continue  # what reads it says why
        if owner != os.geteuid():
            raise UserError(f"{path} belongs to {_name(owner)}: it is not yours to {action}", fix)


def is_own(folder: RunFolder) -> bool:
    """Return whether a folder is this user's."""
    try:
        return folder.root.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _name(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
