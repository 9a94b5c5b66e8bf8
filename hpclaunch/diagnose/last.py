"""Why the start before this one ended, of a run that is, or will be, at work again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.causes import causes
from hpclaunch.diagnose.evidence import gather
from hpclaunch.diagnose.log import tidy
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record


def last_failure(folder: RunFolder, record: Record, code: int | None = None) -> Cause:
    """Return the cause, from what the start left in the folder: its job has no end to ask for."""
    return causes(gather(folder, record, "failed", code=code))[0]


def told(marks: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the last start left a word of how it ended."""
    for mark in reversed(marks):
        if mark["event"] in {"failure", "end"}:
            return True
        if mark["event"] == "start":
            return False
    return True  # it never came to training: there is nothing to tell


def last_end(folder: RunFolder, record: Record, ended: bool) -> str:
    """Return in words how the newest start that has ended did; '' where there is none.

    `ended`: the last start is over. One that lost its node could not tell: its log does.
    """
    marks = read_events(folder.events)
    if ended and not told(marks):
        return last_failure(folder, record).line
    for mark in reversed(marks):
        if mark["event"] in {"failure", "stop"} and isinstance(mark.get("why"), str):
            return tidy(mark["why"])
    return ""
