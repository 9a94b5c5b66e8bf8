"""Ask a run to save after the step at work and to end in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.run.events import read_events
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.record import Record, whoami
from hpclaunch.run.stop_timing import INTERRUPTED


def request_stop(folder: RunFolder, record: Record) -> None:
    """Ask a run at work to save its state and its weights after this step, and to end.

    The file is seen wherever the run folder is. Raises UserError for a program of the user's own,
    which does not look for it, and where the folder cannot be written.
    """
    if record.program:
        raise UserError(
            f"run {record.name} is a program of your own, which nobody can ask to save",
            f"end it without: hpclaunch cancel {quote(record.name)}",
        )
    user, host = whoami()
    _write(folder, f"hpclaunch stop by {user} on {host}")


def interrupt(folder: RunFolder, record: Record) -> bool:
    """Ask a run to save a checkpoint after this step and to end, as fast as it can.

    Returns False where nothing would be saved: before the first step, and by a program of the
    user's own.
    """
    if record.program or not has_stepped(read_events(folder.events)):
        return False
    try:
        _write(folder, INTERRUPTED)
    except UserError:
        return False
    return True


def has_stepped(events: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the newest attempt has finished a step, and has not ended."""
    for event in reversed(events):
        if event["event"] in {"start", "end"}:
            return False
        if event["event"] == "step":
            return True
    return False


def _write(folder: RunFolder, reason: str) -> None:
    try:
        write_atomic(folder.stop_request, f"{reason}\n")
    except OSError as error:
        raise UserError(f"{folder.stop_request} cannot be written: {error.strerror}") from None
