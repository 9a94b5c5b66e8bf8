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

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.lock import alone, is_held
from hpclaunch.run.owner import is_own
from hpclaunch.run.record import read_record
from hpclaunch.run.regular_file import read_regular

LISTS_RUNS = "sweep.json"
"""What describes a sweep and names its runs, in its folder."""
MAX_BYTES = 1 << 24
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
    """Remove folders that killed commands of this user left half written, a sweep's with its runs.

    Failing is no failure.
    """
    with suppress(OSError):
        for path in list(runs_dir.glob(f".*{MARK}*")):
            with suppress(OSError, UserError):
                status = path.lstat()
                old = time.time() - status.st_mtime > MIN_AGE_S
                if not (old and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()):
                    continue
                if is_held(RunFolder(path)):
                    continue
                with alone(RunFolder(path)):  # a command that still writes it holds it
                    _remove_runs_of(path)
                    shutil.rmtree(path, ignore_errors=True)


def _remove_runs_of(unfinished: Path) -> None:
    """Remove the runs of a sweep that was left half written: none of them was started."""
    group = unfinished.name[1:].partition(MARK)[0]
    try:
        document = msgspec.json.decode(read_regular(unfinished / LISTS_RUNS, MAX_BYTES), type=_Runs)
    except (OSError, ValueError, RecursionError):
        return
    for run in document.runs:
        folder = RunFolder(unfinished.parent / run.name)
        if "/" in run.name or not is_own(folder) or folder.root.is_symlink():
            continue
        with suppress(UserError, OSError):
            record = read_record(folder)
            started = record.job_id or record.pid or folder.log() or folder.events.exists()
            if record.group == group and not started:
                with alone(folder):
                    shutil.rmtree(folder.root, ignore_errors=True)


class _Run(msgspec.Struct, frozen=True):
    """The part of a sweep's run that is read here."""

    name: str


class _Runs(msgspec.Struct, frozen=True):
    """The part of a sweep's description that is read here."""

    runs: list[_Run]
