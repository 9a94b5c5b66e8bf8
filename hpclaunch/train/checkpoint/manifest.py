"""A checkpoint's manifest: every file with its size and SHA-256.

A file system that lost a write, a full quota, an interrupted copy: none of them shows before
somebody resumes, weeks later. The manifest shows it. The run folder keeps each manifest's own
digest, so that a copy of a checkpoint that comes from elsewhere is held against what this run
wrote, and not against what lies beside it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hpclaunch.run.folder import write_atomic
from hpclaunch.run.regular_file import open_regular, read_regular
from hpclaunch.train.checkpoint import contents

NAME = "manifest.json"
TRAINER_STATE = "trainer_state.json"
FORMAT = 2
MAX_BYTES = 1 << 26
"""Of a manifest: a thousand ranks' files take some 1 MB."""
MAX_STATE_BYTES = 1 << 26
"""Of a trainer_state.json that is looked at: one of 200,000 logged steps."""

CONVERT = "python -P -m hpclaunch.train.checkpoint.convert"
"""What makes a checkpoint of an earlier version one of numbers and text."""

WEIGHT_FILES = ("pytorch_model_fsdp_0/", "model", "adapter_model", "pytorch_model")
"""How the names of files that hold weights begin: under FSDP, and on a single process."""

_RANK_FILE = re.compile(r"(?:^|/)(?:__(\d+)_\d+\.safetensors|rng_state_(\d+)\.json)$")


@dataclass(frozen=True)
class FileEntry:
    """One file of a checkpoint."""

    bytes: int
    sha256: str
    """In hexadecimal digits."""


def read_back(
    folder: Path, rank: int, ranks: int, known: Mapping[str, FileEntry] | None = None
) -> dict[str, FileEntry]:
    """Return the files that this rank wrote, and on rank 0 those that belong to no rank.

    What is `known` was hashed while it was written; the rest is read back.
    """
    known = known or {}
    return {
        name: known[name] if name in known else checksum(folder / name)
        for name in contents.names(folder)
        if name != NAME and (_owner(name) or 0) % ranks == rank
    }


def _owner(name: str) -> int | None:
    """Return the rank that wrote a file, by its name; None for what belongs to no rank."""
    match = _RANK_FILE.search(name)
    return int(match.group(1) or match.group(2)) if match else None


def files_of_node(entries: Mapping[str, FileEntry], ranks: int, node: int, nodes: int) -> list[str]:
    """Return the files that a node copies, of a checkpoint that `ranks` ranks wrote.

    A rank's files are copied by its node, which may still hold them in memory; the rest is divided
    by size. Every node computes the same division, and every file is copied by exactly one.
    """
    names = []
    node_bytes = [0] * nodes
    unowned = []
    for name, entry in sorted(entries.items()):
        owner = _owner(name)
        if owner is None:
            unowned.append((entry.bytes, name))
            continue
        target = min(owner * nodes // max(ranks, 1), nodes - 1)
        node_bytes[target] += entry.bytes
        names += [name] if target == node else []
    for size, name in sorted(unowned, reverse=True):
        target = node_bytes.index(min(node_bytes))
        node_bytes[target] += size
        names += [name] if target == node else []
    return sorted(names)


def checksum(path: Path) -> FileEntry:
    """Return a file's size and digest. Raises OSError; a link is not followed."""
    with open_regular(path) as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return FileEntry(stream.tell(), digest.hexdigest())


def write(folder: Path, entries: Mapping[str, FileEntry], **metadata: Any) -> None:
    """Write the manifest of a checkpoint; `metadata`: its step, ranks, versions and loss."""
    write_atomic(folder / NAME, to_text(entries, **metadata))


def to_text(entries: Mapping[str, FileEntry], **metadata: Any) -> str:
    """Return the text of a manifest."""
    files = {
        name: {"bytes": entry.bytes, "sha256": entry.sha256} for name, entry in entries.items()
    }
    document = {"format": FORMAT, **metadata, "files": dict(sorted(files.items()))}
    return json.dumps(document, indent=1) + "\n"


def read(folder: Path) -> tuple[dict[str, Any], dict[str, FileEntry]] | None:
    """Return a checkpoint's metadata and files; None where its manifest is missing or damaged."""
    try:
        return parse(read_regular(folder / NAME, MAX_BYTES).decode())
    except (OSError, ValueError):
        return None


def parse(text: str) -> tuple[dict[str, Any], dict[str, FileEntry]] | None:
    """Return metadata and files of a manifest's text; None where it is none."""
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            return None
        files = document.pop("files")
        entries = {
            name: FileEntry(int(at["bytes"]), str(at["sha256"])) for name, at in files.items()
        }
        if not all(_stays_inside(name) for name in entries):  # it may have come from elsewhere
            return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return document, entries


def _stays_inside(name: str) -> bool:
    """Return whether a file's name stays within the checkpoint."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def find_damage(folder: Path, rank: int = 0, ranks: int = 1) -> str | None:
    """Return what is wrong with a checkpoint as far as this rank checks it, None if nothing is.

    Every rank compares all sizes, and the digests of its share of the files. No file but those on
    the list may be there: libraries open some because they exist.
    """
    if any(folder.rglob("*.distcp")) or (folder / "optimizer.pt").exists():
        return f"it holds pickles, which are not loaded; to convert it: {CONVERT} {folder}"
    parsed = read(folder)
    if parsed is None:
        return f"{NAME} is missing or damaged"
    entries = parsed[1]
    problems = itertools.chain(
        _wrong_names(folder, entries),
        _wrong_sizes(folder, entries),
        _wrong_digests(folder, dict(list(entries.items())[rank::ranks])),
        _wrong_state(folder / TRAINER_STATE),
    )
    return next(problems, None)


def _wrong_names(folder: Path, entries: Mapping[str, FileEntry]) -> Iterator[str]:
    for name in sorted(entries):
        if not contents.may_hold(name):
            yield f"{name} is no file of a checkpoint, which holds numbers and text alone"
    for name in contents.names(folder):
        if name not in entries and name != NAME:
            yield f"{name} is not named by {NAME}"


def _wrong_sizes(folder: Path, entries: Mapping[str, FileEntry]) -> Iterator[str]:
    for name, entry in entries.items():
        try:
            status = (folder / name).lstat()
        except OSError:
            yield f"{name} is missing"
            continue
        if not stat.S_ISREG(status.st_mode):
            yield f"{name} is no plain file"
        elif status.st_size != entry.bytes:
            yield f"{name} has {status.st_size:,} bytes instead of {entry.bytes:,}"


def _wrong_digests(folder: Path, entries: Mapping[str, FileEntry]) -> Iterator[str]:
    for name, entry in entries.items():
        try:
            if checksum(folder / name) != entry:
                yield f"{name} is not what was written: its SHA-256 differs"
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror or error}"


def _wrong_state(path: Path) -> Iterator[str]:
    """Look at what Transformers reads without limits, and takes for what it wrote itself."""
    try:
        if path.stat().st_size > MAX_STATE_BYTES:
            return
        document = json.loads(read_regular(path, MAX_STATE_BYTES))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError):
        document = None
    step = document.get("global_step") if isinstance(document, dict) else None
    if type(step) is not int or step < 0 or not isinstance(document.get("log_history"), list):
        yield f"{path.name} is damaged"


def weight_bytes(entries: Mapping[str, FileEntry]) -> int:
    """Return the bytes of the files that hold weights."""
    return sum(entry.bytes for name, entry in entries.items() if name.startswith(WEIGHT_FILES))


def merge(shares: Iterable[Mapping[str, FileEntry]]) -> dict[str, FileEntry]:
    """Return the files of all ranks in one dict."""
    return {name: entry for share in shares for name, entry in share.items()}
