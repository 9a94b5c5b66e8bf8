"""Folders of weights, without torch: their small JSON files, and what tells them apart."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpclaunch.errors import UserError
from hpclaunch.run.regular_file import read_regular

MAX_BYTES = 1 << 24
"""Of a JSON file: a config has a few kB, an index of shards some MB."""


def read_json(path: Path) -> Mapping[str, Any] | None:
    """Return a small JSON object's file, None where there is none.

    Raises UserError for one that is damaged, too long or no plain file.
    """
    try:
        # The hub's cache has links to its files; who made a folder there is its owner.
        found = json.loads(read_regular(_resolved(path), MAX_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: no JSON object")
    return found


def _resolved(path: Path) -> Path:
    """Return where links lead. Raises OSError where they run in a circle."""
    try:
        return path.resolve()
    except RuntimeError:  # Python says so until 3.12
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def leads_elsewhere(path: Path) -> bool:
    """Return whether a file in a model's folder is a link out of it.

    Links within the folder, and those of the hub's cache to its own blobs, are none. Raises
    OSError.
    """
    if not path.is_symlink():
        return False
    target, folder = _resolved(path), path.parent.resolve()
    cached = folder.parent.name == "snapshots" and target.parent == folder.parents[1] / "blobs"
    return not (target.parent == folder or cached)


def fingerprint(folder: Path) -> str:
    """Return what tells one set of weights from another: of its files names, sizes and times."""
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                stat = path.stat()
                line = f"{path.relative_to(folder)}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
                digest.update(line.encode(errors="surrogateescape"))
    except OSError:
        return ""
    return digest.hexdigest()[:32]
