"""Disks that are full, or not where they should be."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.evidence import Evidence
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.rules.program import traceback

_PATH = re.compile(r"['\"](/[^'\"]{1,300})['\"]")
LARGE = "what is large there: du -sh --apparent-size {folder}/* | sort -h"


def quota(e: Evidence) -> Cause | None:
    """The user's or the project's share of a disk is used up."""
    line = e.said("quota")
    if line is None:
        return None
    rank, host = e.where(line)
    match = _PATH.search(line.text)
    what = f" (writing {match.group(1)})" if match else ""
    steps = (
        LARGE.format(folder=e.folder.root),
        "keep fewer checkpoints: checkpoints.keep=1",
        "or write elsewhere: --runs-dir FOLDER; the hub's cache moves with HF_HOME",
        advice.resume(e),
    )
    headline = f"your quota on the disk is used up{what}"
    return Cause("quota", headline, steps, _frames(e, line), rank, host)


def full(e: Evidence) -> Cause | None:
    """A disk is full."""
    line = e.said("disk_full") or e.said("torn_write")
    if line is None:
        return None
    rank, host = e.where(line)
    match = _PATH.search(line.text)
    what = f" (writing {match.group(1)})" if match else ""
    sure = bool(e.said("disk_full"))
    torn = "a file could not be written whole: most likely the disk or a quota is full"
    headline = f"a disk is full{what}" if sure else torn
    steps = (
        f"how full: df -h {e.folder.root}; and /tmp and /dev/shm on the node",
        LARGE.format(folder=e.folder.root),
        "keep fewer checkpoints: checkpoints.keep=1",
        advice.resume(e),
    )
    return Cause("disk-full", headline, steps, _frames(e, line), rank, host)


def _frames(e: Evidence, line: Clue) -> tuple[Clue, ...]:
    """Return the line with the traceback that led to it: it shows what was being written."""
    frames = traceback(e.culprit) if e.culprit and e.explained else ()
    return frames if line.text in [frame.text for frame in frames] else (line, *frames)


def broken(e: Evidence) -> Cause | None:
    """A file system went away under the job, or cannot be written to."""
    line = e.said("stale") or e.said("read_only")
    if line is None:
        return None
    rank, host = e.where(line)
    steps = ("see that the folder can be written to from the node", advice.resume(e))
    return Cause("file-system", f"a file system failed: {line.text}", steps, (line,), rank, host)


def not_shared(e: Evidence) -> Cause | None:
    """The run folder is not there on a node."""
    line = e.said("not_shared")
    if line is None:
        return None
    steps = ("use a folder that all nodes see: --runs-dir FOLDER, or HPCLAUNCH_RUNS_DIR",)
    text = line.text.removeprefix("hpclaunch: ").partition(": --runs-dir")[0]
    return Cause("not-shared", f"the run folder is not on shared storage: {text}", steps, (line,))
