"""A checkpoint's manifest: every file with its size and checksum.

A file system that lost a write, a full quota, an interrupted copy: none of them shows before
somebody resumes, weeks later. The manifest shows it when saving and when resuming.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

NAME = "manifest.json"
FORMAT = 1
CHUNK_BYTES = 1 << 22
"""Bytes read at a time."""

WEIGHT_FILES = ("pytorch_model_fsdp_0/", "model", "adapter_model", "pytorch_model")
"""How the names of files that hold weights begin: under FSDP, and on a single process."""

_RANK_FILE = re.compile(r"(?:^|/)(?:__(\d+)_\d+\.distcp|rng_state_(\d+)\.pth)$")


@dataclass(frozen=True)
class FileEntry:
    """One file of a checkpoint."""

    bytes: int
    crc32: int


def read_back(folder: Path, rank: int, ranks: int) -> dict[str, FileEntry]:
    """Read back the files that this rank wrote, and on rank 0 those that belong to no rank.

    Each rank computes the checksums of its own: all nodes share the reading of a large checkpoint.
    """
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        name: checksum(folder / name)
        for name in names
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
    """Return a file's size and checksum. Raises OSError."""
    size = total = 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            total = zlib.crc32(chunk, total)
            size += len(chunk)
    return FileEntry(size, total)


def write(folder: Path, entries: Mapping[str, FileEntry], **metadata: Any) -> None:
    """Write the manifest of a checkpoint; `metadata`: its step, ranks and versions."""
    (folder / NAME).write_text(to_text(entries, **metadata), encoding="utf-8")


def to_text(entries: Mapping[str, FileEntry], **metadata: Any) -> str:
    """Return the text of a manifest."""
    files = {name: {"bytes": entry.bytes, "crc32": entry.crc32} for name, entry in entries.items()}
    document = {"format": FORMAT, **metadata, "files": dict(sorted(files.items()))}
    return json.dumps(document, indent=1) + "\n"


def read(folder: Path) -> tuple[dict[str, Any], dict[str, FileEntry]] | None:
    """Return a checkpoint's metadata and files; None where its manifest is missing or damaged."""
    try:
        return parse((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def parse(text: str) -> tuple[dict[str, Any], dict[str, FileEntry]] | None:
    """Return metadata and files of a manifest's text; None where it is none."""
    try:
        document = json.loads(text)
        files = document.pop("files")
        entries = {
            name: FileEntry(int(at["bytes"]), int(at["crc32"])) for name, at in files.items()
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

    Every rank compares all sizes, and the checksums of its share of the files.
    """
    parsed = read(folder)
    if parsed is None:
        return f"{NAME} is missing or damaged"
    for name, entry in parsed[1].items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if size != entry.bytes:
            return f"{name} has {size:,} bytes instead of {entry.bytes:,}"
    for index, (name, entry) in enumerate(parsed[1].items()):
        if index % ranks != rank:
            continue
        try:
            if checksum(folder / name) != entry:
                return f"{name} is not what was written: its checksum differs"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def weight_bytes(entries: Mapping[str, FileEntry]) -> int:
    """Return the bytes of the files that hold weights."""
    return sum(entry.bytes for name, entry in entries.items() if name.startswith(WEIGHT_FILES))


def merge(shares: Iterable[Mapping[str, FileEntry]]) -> dict[str, FileEntry]:
    """Return the files of all ranks in one dict."""
    return {name: entry for share in shares for name, entry in share.items()}
