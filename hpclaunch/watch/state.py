"""Where the run stands, asked beside the screen: Slurm may take long to answer, or never."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from typing import Any

from hpclaunch.diagnose.state import Status, run_state
from hpclaunch.errors import UserError
from hpclaunch.launch.follow import ASK_EVERY
from hpclaunch.launch.process import alive
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record, read_record

ENDED = {"done", "stopped", "failed", "cancelled", "timed out"}
"""States after which nothing more comes by itself."""
FAILED = {"failed", "cancelled", "timed out"}
_QUICK_S = 3.0
"""Seconds between two questions once something has happened: Slurm takes time to end a job."""
_HAPPENED_S = 60.0
_PLAIN = {"running", "done", "stopped"}
"""First words of `why` that say nothing which the state does not say."""


@dataclass(frozen=True)
class Told:
    """The answer."""

    status: Status
    why: str = ""
    """The first line of `hpclaunch why` where something is wrong, or the run waits."""

    @property
    def ended(self) -> bool:
        """The run is over, or was never submitted."""
        return self.status.state in ENDED or self.status.state == "written"


def ask(folder: RunFolder, record: Record, marks: list[dict[str, Any]]) -> Told:
    """Ask now; takes as long as Slurm takes to answer."""
    from hpclaunch.diagnose.causes import first_cause, gather_evidence
    from hpclaunch.diagnose.evidence import RunEvidence
    from hpclaunch.diagnose.last_attempt import last_end

    found = run_state(folder, record, marks)
    if found.state in FAILED:
        cause = first_cause(gather_evidence(folder, record, found))
        return Told(found, cause.line)
    if found.active and found.progress.restarts:
        found = replace(found, before=last_end(folder, record, found.state == "queued"))
    if found.state == "unknown":
        return Told(found, f"not known: {found.reason}")
    # Of a run that has not failed the rules look at nothing else: no log is read.
    known = RunEvidence(
        folder, record, found.state, found.slurm or "", found.reason, found.exit_code,
        found.progress, tuple(marks),
    )  # fmt: skip
    cause = first_cause(known)
    return Told(found, "" if cause.kind in _PLAIN else cause.line)


class StateWatch:
    """Asks every half minute, and at once where the run folder shows that something happened."""

    def __init__(self, folder: RunFolder, record: Record) -> None:
        self._folder, self._record = folder, record
        self._told: Told | None = None
        self._asked = self._happened = float("-inf")
        self._signs = self._look_for_signs()
        self._thread: threading.Thread | None = None

    @property
    def told(self) -> Told | None:
        """The last answer; None before the first."""
        return self._told

    def refresh(self, marks: list[dict[str, Any]], now: float) -> None:
        """Ask in the background where it is time to; `now` in seconds of a monotonic clock."""
        signs = self._look_for_signs()
        if signs != self._signs:
            self._signs, self._happened = signs, now
            self._asked = float("-inf")
        recent = now - self._happened < _HAPPENED_S
        busy = self._thread is not None and self._thread.is_alive()
        if not busy and now - self._asked >= (_QUICK_S if recent else ASK_EVERY):
            self._asked = now
            self._thread = threading.Thread(target=self._ask, args=(marks,), daemon=True)
            self._thread.start()

    def wait(self, seconds: float | None) -> None:
        """Wait so long for the answer to the question that is being asked."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _ask(self, marks: list[dict[str, Any]]) -> None:
        with contextlib.suppress(UserError):  # where it is gone, the job stays known
            self._record = read_record(self._folder)
        try:
            self._told = ask(self._folder, self._record, marks)
        except Exception as error:  # whatever a log holds: who watches sees it, and the rest
            told, text = self._told, f"the state cannot be told: {type(error).__name__}: {error}"
            self._told = replace(told, why=text) if told else None

    def _look_for_signs(self) -> tuple[object, ...]:
        folder = self._folder
        marks = (folder.exit_code_file, folder.job_file, folder.attempt_file, folder.cancelled_file)
        times: list[object] = []
        for path in marks:
            try:
                times.append(path.stat().st_mtime_ns)
            except OSError:
                times.append(None)
        return (*times, self._record.pid is not None and alive(self._record))
