"""Disks that are full, or not where they should be."""

from __future__ import annotations

import re

from hpclaunch.diagnose.cause import Cause, Clue
from hpclaunch.diagnose.rules import advice
from hpclaunch.diagnose.rules.program import traceback
from hpclaunch.diagnose.run_evidence import RunEvidence

_PATH = re.compile(r"['\"](/[^'\"]{1,300})['\"]")
LARGE = "what is large there: du -sh --apparent-size {folder}/* | sort -h"


def quota(evidence: RunEvidence) -> Cause | None:
    """The user's or the project's share of a disk is used up."""
    line = evidence.root_cause_line("quota")
    if line is None:
        return None
    rank, host = evidence.rank_and_host(line)
    match = _PATH.search(line.text)
    what = f" (writing {match.group(1)})" if match else ""
    steps = (
        LARGE.format(folder=evidence.folder.root),
        "keep fewer checkpoints: checkpoints.keep=1",
        "or write elsewhere: --runs-dir FOLDER; the hub's cache moves with HF_HOME",
        advice.resume(evidence),
    )
    headline = f"your quota on the disk is used up{what}"
    return Cause(headline, steps, _frames(evidence, line), rank, host)


def full(evidence: RunEvidence) -> Cause | None:
    """A disk is full."""
    line = evidence.root_cause_line("disk_full") or evidence.root_cause_line("torn_write")
    if line is None:
        return None
    rank, host = evidence.rank_and_host(line)
    match = _PATH.search(line.text)
    what = f" (writing {match.group(1)})" if match else ""
    sure = bool(evidence.root_cause_line("disk_full"))
    torn = "a file could not be written whole: most likely the disk or a quota is full"
    headline = f"a disk is full{what}" if sure else torn
    steps = (
        f"how full: df -h {evidence.folder.root}; and /tmp and /dev/shm on the node",
        LARGE.format(folder=evidence.folder.root),
        "keep fewer checkpoints: checkpoints.keep=1",
        advice.resume(evidence),
    )
    return Cause(headline, steps, _frames(evidence, line), rank, host)


def _frames(evidence: RunEvidence, line: Clue) -> tuple[Clue, ...]:
    """Return the line with the traceback that led to it: it shows what was being written."""
    frames = traceback(evidence.culprit) if evidence.culprit and evidence.explained else ()
    return frames if line.text in [frame.text for frame in frames] else (line, *frames)


def broken(evidence: RunEvidence) -> Cause | None:
    """A file system went away under the job, or cannot be written to."""
    line = evidence.root_cause_line("stale") or evidence.root_cause_line("read_only")
    if line is None:
        return None
    rank, host = evidence.rank_and_host(line)
    steps = ("see that the folder can be written to from the node", advice.resume(evidence))
    return Cause(f"a file system failed: {line.text}", steps, (line,), rank, host)


def not_shared(evidence: RunEvidence) -> Cause | None:
    """The run folder is not there on a node."""
    line = evidence.root_cause_line("not_shared")
    if line is None:
        return None
    steps = ("use a folder that all nodes see: --runs-dir FOLDER, or HPCLAUNCH_RUNS_DIR",)
    text = line.text.removeprefix("hpclaunch: ").partition(": --runs-dir")[0]
    return Cause(f"the run folder is not on shared storage: {text}", steps, (line,))
