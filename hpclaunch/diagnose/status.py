"""The status of a run: its state, and the first line of why it failed if it did."""

from __future__ import annotations

from dataclasses import replace

from hpclaunch.diagnose.state import Status, run_state
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record


def status(folder: RunFolder, record: Record) -> Status:
    """Return the state of a run now, and why it failed if it did."""
    found = run_state(folder, record)
    # What reads the logs is imported only where there is something to look for.
    if found.active and found.progress.step is not None:
        from hpclaunch.diagnose.last import last_end

        return replace(found, before=last_end(folder, record, found.state == "queued"))
    if found.state not in {"failed", "cancelled", "timed out"}:
        return found
    from hpclaunch.diagnose.causes import failure

    return replace(found, failure=failure(folder, record, found))
