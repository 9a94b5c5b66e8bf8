"""What a checkpoint consists of: every file with its size and checksum, written with it.

A file system that lost a write, a quota met half-way, a copy that broke off: none of them shows
before somebody resumes, weeks later. The manifest shows it, at the save and at the resume.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME = "manifest.json"
FORMAT = 1
CHUNK = 1 << 22
"""Bytes read at a time."""

MODEL_PARTS = ("pytorch_model_fsdp_0/", "model", "adapter_model", "pytorch_model")
"""How the names of files that hold weights begin: under FSDP, and on a single process."""

_OF_RANK = re.compile(r"(?:^|/)(?:__(\d+)_\d+\.distcp|rng_state_(\d+)\.pth)$")


@dataclass(frozen=True)
class Part:
    """One file of a checkpoint."""

    bytes: int
    crc32: int


def parts_of(folder: Path, rank: int, ranks: int) -> dict[str, Part]:
    """Read back the files that this rank wrote; what belongs to no rank is the first one's.

    Each rank sums its own, so that a checkpoint of hundreds of gigabytes is read by all nodes.
    """
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        name: measure(folder / name)
        for name in names
        if name != NAME and _owner(name) % ranks == rank
    }


def _owner(name: str) -> int:
    """Give the rank that wrote a file, by its name."""
    match = _OF_RANK.search(name)
    return int(match.group(1) or match.group(2)) if match else 0


def measure(path: Path) -> Part:
    """Give a file's size and checksum. Raises OSError."""
    size = total = 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            total = zlib.crc32(chunk, total)
            size += len(chunk)
    return Part(size, total)


def write(folder: Path, parts: Mapping[str, Part], **facts: Any) -> None:
    """Write the manifest of a checkpoint; `facts` are its step, ranks and versions."""
    files = {name: {"bytes": part.bytes, "crc32": part.crc32} for name, part in parts.items()}
    document = {"format": FORMAT, **facts, "files": dict(sorted(files.items()))}
    (folder / NAME).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Part]] | None:
    """Give a checkpoint's facts and files; None where its manifest is missing or damaged."""
    try:
        document = json.loads((folder / NAME).read_text(encoding="utf-8"))
        files = document.pop("files")
        parts = {name: Part(int(at["bytes"]), int(at["crc32"])) for name, at in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return document, parts


def damage(folder: Path, rank: int = 0, ranks: int = 1) -> str | None:
    """Say what is wrong with a checkpoint, as far as this rank's share of the files shows it.

    Every rank looks at every size and sums its share of the contents. None: all is well.
    """
    found = read(folder)
    if found is None:
        return f"{NAME} is missing or damaged"
    for name, part in found[1].items():
        try:
            size = (folder / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if size != part.bytes:
            return f"{name} has {size:,} bytes instead of {part.bytes:,}"
    for index, (name, part) in enumerate(found[1].items()):
        if index % ranks != rank:
            continue
        try:
            if measure(folder / name) != part:
                return f"{name} is not what was written: its checksum differs"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def weight_bytes(parts: Mapping[str, Part]) -> int:
    """Give the bytes of the files that hold weights."""
    return sum(part.bytes for name, part in parts.items() if name.startswith(MODEL_PARTS))


def merged(shares: Iterable[Mapping[str, Part]]) -> dict[str, Part]:
    """Put the ranks' shares together."""
    return {name: part for share in shares for name, part in share.items()}
