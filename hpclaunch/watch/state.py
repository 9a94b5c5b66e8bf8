"""The state of the run, queried in a thread: Slurm may take long to answer, or never."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import Any

from hpclaunch.diagnose.state import Status, run_state
from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.launch.follow import SLURM_INTERVAL_S
from hpclaunch.launch.local_process import alive
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record, read_record

ENDED = {"done", "stopped", "failed", "cancelled", "timed out"}
"""States after which nothing more comes by itself."""
FAILED = {"failed", "cancelled", "timed out"}
_QUICK_S = 3.0
"""Seconds between two queries once something has changed: Slurm takes time to end a job."""
_CHANGED_S = 60.0
_PLAIN = {"running", "suspended", "done", "stopped"}
"""Kinds of causes that add nothing to the state."""


@frozen
class StateAnswer:
    """The state of the run, and why it is not as it should be."""

    status: Status
    why: str = ""
    """The first line of `hpclaunch why` where something is wrong, or the run waits."""
    resumed_at: float | None = None
    """When Slurm let a suspended job go on, in Unix seconds; None if it never was suspended."""

    @property
    def ended(self) -> bool:
        """The run is over, or was never submitted."""
        return self.status.state in ENDED or self.status.state == "written"


def query(folder: RunFolder, record: Record, events: list[dict[str, Any]]) -> StateAnswer:
    """Return the state now; takes as long as Slurm takes to answer."""
    from hpclaunch.diagnose.causes import first_cause, gather_evidence
    from hpclaunch.diagnose.last_attempt import last_end
    from hpclaunch.diagnose.run_evidence import RunEvidence

    found = run_state(folder, record, events)
    if found.state in FAILED:
        cause = first_cause(gather_evidence(folder, record, found))
        return StateAnswer(found, cause.line)
    if found.active and found.progress.restarts:
        found = replace(found, before=last_end(folder, record, found.state == "queued"))
    if found.state == "unknown":
        return StateAnswer(found, f"unknown: {found.reason}")
    resumed_at = _resumed_at(folder, record, found, events)
    # For a run that has not failed the rules need nothing else: no log is read.
    known = RunEvidence(
        folder, record, found.state, found.slurm or "", found.reason, found.exit_code,
        found.progress, tuple(events),
    )  # fmt: skip
    cause = first_cause(known)
    return StateAnswer(found, "" if cause.kind in _PLAIN else cause.line, resumed_at)


def _resumed_at(
    folder: RunFolder, record: Record, found: Status, events: list[dict[str, Any]]
) -> float | None:
    """Return when Slurm let the job go on, asked only where it seems to hang."""
    from hpclaunch.diagnose.running import resumed, running_activity

    if record.mode == "local" or found.state != "running":
        return None
    now = running_activity(folder, record, found, events)
    return resumed(record) if now is not None and now.hang else None


class StateWatch:
    """Queries every half minute, and at once where the run folder shows a change."""

    def __init__(self, folder: RunFolder, record: Record) -> None:
        self._folder, self._record = folder, record
        self._answer: StateAnswer | None = None
        self._queried = self._changed = float("-inf")
        self._last_times = self._modified_times()
        self._thread: threading.Thread | None = None

    @property
    def answer(self) -> StateAnswer | None:
        """The last answer; None before the first."""
        return self._answer

    def refresh(self, events: list[dict[str, Any]], now: float) -> None:
        """Start a query in the background where it is time to; `now` in monotonic seconds."""
        times = self._modified_times()
        if times != self._last_times:
            self._last_times, self._changed = times, now
            self._queried = float("-inf")
        recent = now - self._changed < _CHANGED_S
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and now - self._queried >= (_QUICK_S if recent else SLURM_INTERVAL_S):
            self._queried = now
            self._thread = threading.Thread(target=self._query, args=(events,), daemon=True)
            self._thread.start()

    def wait(self, seconds: float | None) -> None:
        """Wait so many seconds for the query that is under way; None: until it has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _query(self, events: list[dict[str, Any]]) -> None:
        with contextlib.suppress(UserError):  # where it is gone, the job stays known
            self._record = read_record(self._folder)
        try:
            self._answer = query(self._folder, self._record, events)
        except Exception as error:  # whatever a log holds: the rest of the screen stays
            last, text = self._answer, f"the state is unknown: {type(error).__name__}: {error}"
            self._answer = replace(last, why=text) if last else None

    def _modified_times(self) -> tuple[object, ...]:
        """Return what differs once the job has begun, ended or been cancelled."""
        folder = self._folder
        paths = (folder.exit_code_file, folder.job_file, folder.attempt_file, folder.cancelled_file)
        times: list[object] = []
        for path in paths:
            try:
                times.append(path.stat().st_mtime_ns)
            except OSError:
                times.append(None)
        return (*times, self._record.pid is not None and alive(self._record))
