"""Which attempt of a job owns a run folder: an older one, cut off, may still live."""

from __future__ import annotations

import os
from collections.abc import Mapping

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.regular_file import read_small_text


def taken_over(folder: RunFolder, variables: Mapping[str, str] = os.environ) -> bool:
    """Return whether a later attempt than this process's own uses the folder.

    Where Slurm loses a node, it requeues the job; what ran on that node may live on and still see
    the folder. It must not write there. False where either attempt is unknown.
    """
    own, now = variables.get("HPCLAUNCH_START", ""), current_attempt(folder)
    return bool(own and now) and own != now


def current_attempt(folder: RunFolder) -> str:
    """Return the newest attempt in the folder, as JOB.RESTARTS; '' if none is known."""
    try:
        return read_small_text(folder.attempt_file).strip()
    except OSError:
        return ""
