"""Who may read what a run writes: as the user's umask says, as for any other file of theirs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_LINE = re.compile(r"^Umask:\s*([0-7]+)$", re.MULTILINE)


def umask() -> int:
    """Return this process's umask, without setting it: other threads make files meanwhile."""
    with suppress(OSError):
        found = _LINE.search(Path("/proc/self/status").read_text(encoding="ascii"))
        if found:
            return int(found.group(1), 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def unreadable(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return those of the paths that are there and that this process may not read."""
    found = []
    for path in paths:
        try:
            there = path.exists()
        except OSError:
            there = True  # even to look is forbidden
        if there and not os.access(path, os.R_OK, effective_ids=True):
            found.append(path)
    return tuple(found)


def apply_umask(folder: Path) -> None:
    """Give all files in a folder the permissions that a new file of this process has.

    safetensors writes its files for their owner alone. What can be executed stays so. A file
    system that knows no permissions keeps its own.
    """
    allowed = 0o666 & ~umask()
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                path.chmod(allowed | (path.stat().st_mode & 0o111))
