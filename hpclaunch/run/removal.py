"""Remove what is in the way, whatever it is, and nothing that a link leads to."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, a file, or a link itself; where it can be.

    `shutil.rmtree` leaves a link to a folder in place, and what is written next goes through it.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
