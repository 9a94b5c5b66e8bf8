"""The process of an attached run: is it still there, and is it still the same one?"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.processes import started
from hpclaunch.run.record import Record, boot_id

FOLDER_VARIABLE = "HPCLAUNCH_ATTACHED_TO"
"""Variable of an attached run's process: the folder that it works for."""


def here(record: Record) -> bool:
    """Return whether the run was started on this machine."""
    return record.host == socket.gethostname()


def alive(record: Record) -> bool:
    """Return whether the process that runs an attached run still runs on this machine.

    It is the very one: its number, when it began, and the boot it began in.
    """
    if record.pid is None or record.pid_started is None or not here(record):
        return False
    if record.boot_id and record.boot_id != boot_id():
        return False
    return started(record.pid) == record.pid_started


def works_for(folder: RunFolder, record: Record) -> bool:
    """Return whether that process is this user's and was started for this folder.

    Its environment shows it, which only its owner may read; a record alone proves nothing.
    """
    if not alive(record):
        return False
    try:
        variables = Path(f"/proc/{record.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{FOLDER_VARIABLE}={folder.root}".encode() in variables


def variables_for(folder: RunFolder) -> dict[str, str]:
    """Return the variables by which `works_for` knows a process."""
    return {FOLDER_VARIABLE: str(folder.root)}


def runs_script(folder: RunFolder, job: str) -> bool:
    """Return whether a process of this user on this machine runs the folder's script in a job.

    salloc runs it where it was typed. The process's own environment names the job.
    """
    named = f"SLURM_JOB_ID={job}".encode()
    script = str(folder.script).encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != os.getuid():
                continue
            if (process / "cmdline").read_bytes().split(b"\0")[1:2] != [script]:
                continue
            if named in (process / "environ").read_bytes().split(b"\0"):
                return True
        except OSError:
            continue  # it has ended
    return False
