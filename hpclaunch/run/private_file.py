"""Files that hold a secret: the user's own, and readable by nobody else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hpclaunch.errors import UserError

MAX_BYTES = 4096


def read_private(path: Path) -> str:
    """Return the text of a secret's file, without white space around it.

    Raises OSError where it cannot be read, and UserError where it is not this user's plain file, or
    others may read it. What it holds is in no message.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
            raise UserError(f"{path} is not a file of yours", "remove it")
        if status.st_mode & 0o077:
            raise UserError(f"others may read {path}", f"chmod 600 {path}, or remove it")
        return stream.read(MAX_BYTES).decode("utf-8", "replace").strip()
