"""End a run before its time, and leave a note that a person did."""

from __future__ import annotations

import os
import signal

from hpclaunch.errors import UserError
from hpclaunch.launch.current_job import current
from hpclaunch.launch.local_process import alive, here
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.record import Record, whoami
from hpclaunch.slurm import batch


def cancel(folder: RunFolder, record: Record) -> None:
    """Cancel the job, or stop the local process. Raises UserError where that cannot be done."""
    record, _ = current(folder, record)
    if record.pid is None and record.job_id is None:
        raise UserError(f"run {record.name} was never started", "there is nothing to cancel")
    if record.pid is not None and not here(record):
        raise UserError(
            f"run {record.name} runs on {record.host}, not here", "cancel it on that machine"
        )
    # A run inside somebody's allocation is ended by its own process: the allocation stays.
    if record.pid is not None:
        if not alive(record):
            raise UserError(f"run {record.name} has ended: its process is gone")
        try:
            os.kill(record.pid, signal.SIGTERM)
        except OSError as error:
            raise UserError(f"process {record.pid} cannot be ended: {error.strerror}") from None
    elif record.job_id is not None:
        batch.cancel(record.job_id)
    note_cancelled(folder, "with hpclaunch cancel")


def note_cancelled(folder: RunFolder, how: str) -> None:
    """Write who cancelled the run: an exit code alone does not tell a person from a fault."""
    user, host = whoami()
    write_atomic(folder.cancelled_file, f"{user} on {host}, {how}\n")
