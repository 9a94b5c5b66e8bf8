"""Why a run is where it is: its state, its cause, and what was seen beside it."""

from __future__ import annotations

from msgspec import structs

from hpclaunch.diagnose.cause import Diagnosis
from hpclaunch.diagnose.causes import diagnose, gather_evidence
from hpclaunch.diagnose.state import run_state
from hpclaunch.diagnose.status import with_activity
from hpclaunch.run.folder import RunFolder
from hpclaunch.run.record import Record


def why(folder: RunFolder, record: Record) -> Diagnosis:
    """Return why a run is where it is."""
    now = with_activity(folder, record, run_state(folder, record))
    # The job may be another than the record's: one that was submitted by hand.
    record = structs.replace(record, job_id=now.job_id)
    return diagnose(gather_evidence(folder, record, now))
