"""Which start of a job a run folder belongs to: an older one, cut off, may still live."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hpclaunch.run.folder import RunFolder


def taken_over(folder: RunFolder, variables: Mapping[str, str] = os.environ) -> bool:
    """Return whether a later start than this process's own is at work in the folder.

    Where Slurm loses a node, it starts the job anew; what ran on that node may live on and still
    see the folder. It must not write there. False where either start is not known.
    """
    own, now = variables.get("HPCLAUNCH_START", ""), start_of(folder)
    return bool(own and now) and own != now


def start_of(folder: RunFolder) -> str:
    """The newest start that has begun in the folder, as JOB.RESTARTS; '' if none is known."""
    try:
        return folder.attempt_file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
