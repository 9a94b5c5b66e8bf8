"""What this run wrote: the digest of every checkpoint's manifest, kept in the run folder.

A manifest beside a copy proves nothing: who changed the copy can change it, too. The manifest holds
the digests of all files, and its own stands here, where only the run writes.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from hpclaunch.run.folder import RunFolder
from hpclaunch.run.regular_file import create_regular, read_regular

MAX_BYTES = 1 << 26


def record(run: RunFolder, step: int, manifest: Path) -> None:
    """Keep the digest of the manifest of a checkpoint that is about to be in place.

    Raises OSError.
    """
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    line = json.dumps({"step": step, "sha256": digest}) + "\n"
    descriptor = create_regular(run.checkpoint_digests, os.O_WRONLY | os.O_APPEND)
    with os.fdopen(descriptor, "a", encoding="utf-8") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def find_difference(run: RunFolder, step: int, text: str) -> tuple[bool, str | None]:
    """Hold a manifest against what this run wrote.

    Return whether anything is known of that step, and what is wrong (None if nothing is). A step
    that was saved twice has two digests: either will do.
    """
    known = _known(run).get(step, set())
    if not known:
        return False, None
    if hashlib.sha256(text.encode()).hexdigest() in known:
        return True, None
    return True, f"it is not what this run wrote, by {run.checkpoint_digests.name}"


def _known(run: RunFolder) -> dict[int, set[str]]:
    """Return the digests by step; lines that are none are passed over."""
    digests: dict[int, set[str]] = {}
    try:
        content = read_regular(run.checkpoint_digests, MAX_BYTES)
    except OSError:
        return {}
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            digests.setdefault(int(entry["step"]), set()).add(str(entry["sha256"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return digests
