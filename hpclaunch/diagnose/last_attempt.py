"""Why the attempt before this one ended, of a run that is, or will be, at work again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpclaunch.diagnose.cause import Cause
from hpclaunch.diagnose.causes import first_cause
from hpclaunch.diagnose.log import tidy
from hpclaunch.diagnose.run_evidence import gather
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record
from hpclaunch.secrets import mask


def last_failure(folder: RunFolder, record: Record, code: int | None = None) -> Cause:
    """Return the cause, from the folder alone: the job goes on, so Slurm knows of no end."""
    return first_cause(gather(folder, record, "failed", code=code))


def end_recorded(events: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the last attempt wrote an event of its end."""
    for event in reversed(events):
        if event["event"] in {"failure", "end"}:
            return True
        if event["event"] == "start":
            return False
    return True  # it never came to training: no end is missing


def last_end(folder: RunFolder, record: Record, ended: bool) -> str:
    """Return how the newest attempt that has ended did, in one line; '' where there is none.

    `ended`: the last attempt is over. One that lost its node wrote no event: its log is read.
    """
    events = read_events(folder.events)
    if ended and not end_recorded(events):
        return last_failure(folder, record).line
    for event in reversed(events):
        if event["event"] in {"failure", "stop"} and isinstance(event.get("why"), str):
            return mask(tidy(event["why"]))
    return ""
