"""run.json: who started the run, when, from which command, where; and which job it became."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.regular_file import read_regular

JOB_ID = re.compile(r"[0-9]+(_[0-9]+)?")
MAX_BYTES = 1 << 22
"""Of run.json: it has some 3 kB, more with a long command."""
FORMAT = 1
"""Raised when a reader of old could misread a new record."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What was predicted of a run when it was written, for samples of full length."""

    tensors: int
    """Bytes of the tensors on a GPU, at most."""
    total: int
    """Bytes of a GPU, with the allocator's and the libraries' own."""
    step_seconds: float | None = None
    token_flops: float | None = None
    """FLOPs of the model's own work for a token, forth and back; what is recomputed not counted."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What run.json holds."""

    format: int = FORMAT
    name: str
    """The folder's name: a copy or a renamed folder has its own, whatever was written."""
    created: float
    """Unix seconds."""
    folder: str = ""
    """Where it was written. In a copy or a moved folder it names another place: the job and the
    process are the other folder's then, and left out here."""
    user: str
    host: str
    """Where the command was typed."""
    command: list[str]
    mode: Literal["sbatch", "srun", "local"]
    hpclaunch: str
    """Version that wrote the folder."""
    recipe: str
    site: str
    cluster: str | None = None
    """Slurm's name of the cluster where the command was typed; None without Slurm."""
    nodes: int
    """Those that train."""
    server_nodes: int = 0
    """Nodes of the job beside them, whose GPUs write completions."""
    processes_per_node: int
    device: Literal["gpu", "cpu"]
    gpu: str | None = None
    group: str = ""
    """Name of the sweep or pipeline that the run belongs to; its folder lies beside this one."""
    program: list[str] = []
    """The user's own program or a stage's; empty for the built-in trainer."""
    stage: str = ""
    """Name of the stage that the run is (`merge`); '' for a training or a program of the user's."""
    job_id: str | None = None
    pid: int | None = None
    """Process that carries an attached run, on `host`."""
    pid_started: int | None = None
    """When that process began, in kernel ticks since boot: numbers are used again."""
    boot_id: str = ""
    """Of the machine's run since its boot, in which that process began."""
    resources: dict[str, Any] = {}
    """What was asked for, by the fields of the plan's Resources; resuming starts from it."""
    python: str = ""
    """The job's Python environment."""
    modules: list[str] = []
    """Environment modules beside the site's."""
    static_scripts: dict[str, str] = {}
    """SHA-256 in hexadecimal of launch.sh and node.sh as they were written, by file name."""
    files: dict[str, str] = {}
    """The same of job.sbatch, without its comment on the command, and of accelerate.yaml."""
    prediction: Prediction | None = None
    """None where nothing is known of the model's size, on CPUs and of an own program."""


class _Written(msgspec.Struct, frozen=True):
    """What every format says: the rest of a newer record may not fit Record at all."""

    format: int = FORMAT
    hpclaunch: str = "of another version"


def whoami() -> tuple[str, str]:
    """Return user and host; an account without a name gives its number."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return user, socket.gethostname()


def now() -> float:
    """Return the time for `created`, in Unix seconds."""
    return round(time.time(), 3)


def write_record(folder: RunFolder, record: Record, place: Path | None = None) -> None:
    """Write run.json, whole or not at all; `place`: where the folder is moved once it is whole."""
    record = msgspec.structs.replace(record, folder=str(place or folder.root))
    text = msgspec.json.format(msgspec.json.encode(record), indent=2).decode()
    write_atomic(folder.record, text + "\n")


def read_record(folder: RunFolder) -> Record:
    """Read run.json. Raises UserError where there is none, or it is damaged or newer.

    The job is the one that is or was last at work in the folder, by whatever way it was submitted.
    """
    try:
        data = read_regular(folder.record, MAX_BYTES)
    except FileNotFoundError:
        raise UserError(f"{folder.root} is no run folder: it has no run.json") from None
    except OSError as error:
        raise UserError(f"{folder.record} cannot be read: {error.strerror or error}") from None
    try:
        written = msgspec.json.decode(data, type=_Written)
        if written.format > FORMAT:
            raise UserError(
                f"{folder.record} was written by hpclaunch {written.hpclaunch}",
                "upgrade hpclaunch",
            )
        record = msgspec.json.decode(data, type=Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{folder.record} is damaged: {error}") from None
    if record.job_id is not None and not JOB_ID.fullmatch(record.job_id):
        raise UserError(f"{folder.record} is damaged: job_id is no number of a job")
    record = msgspec.structs.replace(record, name=folder.root.name)
    if not written_here(folder, record):
        return msgspec.structs.replace(record, job_id=None, pid=None, pid_started=None)
    with contextlib.suppress(OSError):
        job_id = read_regular(folder.job_file, 64).decode("ascii", "replace").strip()
        if JOB_ID.fullmatch(job_id):
            return msgspec.structs.replace(record, job_id=job_id)
    return record


def written_here(folder: RunFolder, record: Record) -> bool:
    """Return whether a record was written for this very folder, by whichever of its paths."""
    if not record.folder:
        return True
    try:
        return Path(record.folder).samefile(folder.root)
    except (OSError, ValueError):
        return False


def boot_id() -> str:
    """Return what tells this boot of this machine from others, '' where the kernel has no word."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
