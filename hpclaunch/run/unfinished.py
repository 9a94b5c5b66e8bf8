"""A run folder while it is written: beside its place, under a name that no run has."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lock import alone

MARK = ".unfinished-"
"""Between the run's name and a random number, in the folder's name: `.tiny-1.unfinished-3f2a`."""
MIN_AGE_S = 60.0
"""Seconds before an unfinished folder that no command holds is taken for one that was left: a
command that has made it may not hold it yet."""


@contextmanager
def unfinished_folder(place: Path) -> Iterator[RunFolder]:
    """Make an empty folder beside `place`, and remove it where what is done with it fails.

    The block renames it into place. Raises OSError where it cannot be made.
    """
    folder = RunFolder(place.with_name(f".{place.name[:200]}{MARK}{secrets.token_hex(4)}"))
    folder.root.mkdir()
    try:
        with alone(folder):
            yield folder
    except BaseException:
        shutil.rmtree(folder.root, ignore_errors=True)
        raise


def remove_unfinished(runs_dir: Path) -> None:
    """Remove folders that killed commands of this user left half written. Failing is no failure."""
    with suppress(OSError):
        for path in list(runs_dir.glob(f".*{MARK}*")):
            with suppress(OSError, UserError):
                status = path.lstat()
                old = time.time() - status.st_mtime > MIN_AGE_S
                if not (old and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()):
                    continue
                with alone(RunFolder(path)):  # a command that still writes it holds it
                    shutil.rmtree(path, ignore_errors=True)
