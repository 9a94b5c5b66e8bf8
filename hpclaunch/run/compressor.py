"""Where llm-compressor is installed: an environment of its own, beside the job's.

It needs an older Transformers than the training. PyTorch and what else fits is the job's own.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from hpclaunch.errors import UserError

REQUIREMENT = "llmcompressor==0.14.*"
COMPLETE = "complete"
"""File in the environment that is written last."""


def environment_of(prefix: Path, variables: Mapping[str, str] = os.environ) -> Path:
    """Return the environment that belongs to the Python environment `prefix`; it may not be there.

    In the cache folder, whose place the shell's variables may change.
    """
    base = Path(variables.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    mark = hashlib.sha256(f"{prefix.resolve()} {REQUIREMENT}".encode()).hexdigest()[:12]
    return base / "hpclaunch" / "environments" / f"llmcompressor-{mark}"


def is_complete(environment: Path) -> bool:
    """Return whether an environment is there and was made to its end.

    Raises UserError where others could have put it there, or may change it: its programs run as
    the user. A cache folder may be one that a group shares.
    """
    if not (environment / COMPLETE).is_file():
        return False
    for folder in (environment, *environment.parents[:2]):
        found = folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UserError(
                f"{folder} is not yours alone, and programs from {environment} would run as you",
                f"remove it, or: chmod go-w {quote(str(folder))}",
            )
    return True
