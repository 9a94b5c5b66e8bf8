"""Copies of the user's reward functions in the run folder, with their checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.regular_file import read_regular

SUMS = "SHA256SUMS"
"""As `sha256sum -c` reads it."""
MOST_BYTES = 4 << 20
"""A file of reward functions is smaller."""


def write_copies(folder: RunFolder, files: dict[str, bytes]) -> None:
    """Write files by their names, and their checksums. Raises OSError."""
    folder.rewards.mkdir(exist_ok=True)
    for name, content in files.items():
        write_atomic(folder.rewards / name, content.decode("utf-8"))
    sums = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    write_atomic(folder.rewards / SUMS, "".join(sums))


def checked_copy(folder: RunFolder, name: str) -> Path:
    """Return a copy's path. Raises UserError where it is not what was written."""
    path = folder.rewards / name
    try:
        content = read_regular(path, MOST_BYTES)
        lines = read_regular(folder.rewards / SUMS, MOST_BYTES).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"the run's copy of the reward functions cannot be read: {path}: {reason}",
            "write it anew: hpclaunch resume",
        ) from None
    if f"{hashlib.sha256(content).hexdigest()}  {name}" not in lines:
        raise UserError(
            f"{path} is not the file of reward functions that this run was written with",
            "change your own file, then: hpclaunch resume",
        )
    return path
