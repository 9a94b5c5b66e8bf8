"""What a person changed in a run folder's files: kept where a run goes on, or set aside."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from hpclaunch.errors import UserError
from hpclaunch.frozen import frozen
from hpclaunch.render.job import Job
from hpclaunch.render.static_scripts import checksums as static_checksums
from hpclaunch.run.folder import RunFolder, write_atomic
from hpclaunch.run.owner import require_own_file
from hpclaunch.run.record import Record
from hpclaunch.run.regular_file import read_regular

MAX_BYTES = 1 << 22
"""Of a file that a person may have edited."""
SCRIPT, ACCELERATE = "job.sbatch", "accelerate.yaml"

# A resumed run was started by another command, which is no difference.
_COMMAND = re.compile(r"^# Written by hpclaunch .*\n", re.MULTILINE)


@frozen
class Edits:
    """Files of a run folder that are not as hpclaunch wrote them, by their names."""

    kept: Mapping[str, str]
    """Their texts, which stay: nothing else about the job differs."""
    set_aside: tuple[str, ...]
    """Those that are written anew: the job differs from the one that was edited."""

    def message(self) -> str | None:
        """Return in a sentence what becomes of them, None where nothing was edited."""
        if self.kept:
            return f"edited by hand and kept as it is: {', '.join(self.kept)}"
        if self.set_aside:
            return (
                f"edited by hand, and written anew for what was changed: "
                f"{', '.join(self.set_aside)}; yours are kept beside it as NAME.edited"
            )
        return None


def checksums(job: Job) -> dict[str, str]:
    """Return the SHA-256 in hexadecimal of each file that a person may edit, by its name.

    That of job.sbatch leaves the comment on the command out.
    """
    files = {SCRIPT: _sha256(job.script), ACCELERATE: _sha256(job.accelerate)}
    return files | static_checksums(job.static_scripts)


def find_edits(folder: RunFolder, before: Record, job: Job) -> Edits:
    """Return what was edited in the folder of a run that goes on as `job`.

    Raises UserError for a file that cannot be read, or that another user put there. Of a run that
    an earlier version wrote, it is not known whether its files were edited: they count as written.
    What a killed resume had written before its record is not an edit either.
    """
    pending = _pending(folder)
    written = {**before.static_scripts, **before.files}
    edited: dict[str, str] = {}
    for name, sha256 in written.items():
        try:
            text = read_regular(folder.root / name, MAX_BYTES).decode()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise UserError(f"{folder.root / name} cannot be read: {error}") from None
        if _sha256(text) not in {sha256, pending.get(name)}:
            require_own_file(folder.root / name)
            edited[name] = text
    same = before.files and checksums(job) == written
    return Edits(edited, ()) if same else Edits({}, tuple(edited))


def note_pending(folder: RunFolder, job: Job) -> None:
    """Keep the checksums of what is about to be written over a run's files. Raises OSError."""
    write_atomic(folder.pending_checksums, json.dumps(checksums(job)) + "\n")


def _pending(folder: RunFolder) -> dict[str, str]:
    """Return the checksums that a killed command left, none where there are none."""
    try:
        text = read_regular(folder.pending_checksums, MAX_BYTES)
        return msgspec.json.decode(text, type=dict[str, str])
    except (OSError, ValueError, RecursionError):
        return {}


def with_edits(job: Job, edits: Edits) -> Job:
    """Return the job with the texts that were edited and are kept."""
    static = {name: edits.kept.get(name, text) for name, text in job.static_scripts.items()}
    return replace(
        job,
        script=edits.kept.get(SCRIPT, job.script),
        accelerate=edits.kept.get(ACCELERATE, job.accelerate),
        static_scripts=static,
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(_COMMAND.sub("", text).encode()).hexdigest()
