"""The status of a run: its state, and the first line of why it failed if it did."""

from __future__ import annotations

from dataclasses import replace

from hpclaunch.diagnose.state import Status, run_state
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record


def status(folder: RunFolder, record: Record) -> Status:
    """Return the state of a run now, and why it failed if it did."""
    now = run_state(folder, record)
    # What reads the logs is imported only where there is something to look for.
    if now.active and now.progress.step is not None:
        from hpclaunch.diagnose.last_attempt import last_end

        return replace(now, before=last_end(folder, record, now.state == "queued"))
    if now.state not in {"failed", "cancelled", "timed out"}:
        return now
    from hpclaunch.diagnose.causes import failure

    return replace(now, failure=failure(folder, record, now))
