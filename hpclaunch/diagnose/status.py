"""The status of a run: its state, what it does, and the first line of why it failed if it did."""

from __future__ import annotations

from dataclasses import replace

from hpclaunch.diagnose.state import Status, run_state
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record


def with_activity(folder: RunFolder, record: Record, now: Status) -> Status:
    """Return the state of a run with what it does, where it runs. May query Slurm once more."""
    if now.state != "running":
        return now
    from hpclaunch.diagnose.running import resumed, running_activity

    found = running_activity(folder, record, now)
    if found is not None and found.hang and record.mode != "local":
        # Of a job that was suspended, the time in which it stood still is no hang.
        resumed_at = resumed(record)
        if resumed_at is not None:
            found = running_activity(folder, record, now, resumed_at=resumed_at)
    return replace(now, activity=found)


def status(folder: RunFolder, record: Record) -> Status:
    """Return the state of a run now, what it does, and why it failed if it did."""
    now = with_activity(folder, record, run_state(folder, record))
    # What reads the logs is imported only where there is something to look for.
    if now.active and now.progress.step is not None:
        from hpclaunch.diagnose.last_attempt import last_end

        return replace(now, before=last_end(folder, record, now.state == "queued"))
    if now.state not in {"failed", "cancelled", "timed out"}:
        return now
    from hpclaunch.diagnose.causes import failure

    return replace(now, failure=failure(folder, record, now))
