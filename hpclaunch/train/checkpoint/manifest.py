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
from pathlib import Path, PurePosixPath
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
        if name != NAME and (_owner(name) or 0) % ranks == rank
    }


def _owner(name: str) -> int | None:
    """Return the rank that wrote a file, by its name; None for what belongs to no rank."""
    match = _OF_RANK.search(name)
    return int(match.group(1) or match.group(2)) if match else None


def share(parts: Mapping[str, Part], ranks: int, node: int, nodes: int) -> list[str]:
    """Return the files that a node is to copy, of a checkpoint that so many ranks wrote.

    What a rank wrote falls to its node, which may still hold it in memory; the rest is dealt out
    by size. Every node comes to the same answer without asking, and every file falls to one.
    """
    mine = []
    load = [0] * nodes
    rest = []
    for name, part in sorted(parts.items()):
        owner = _owner(name)
        if owner is None:
            rest.append((part.bytes, name))
            continue
        place = min(owner * nodes // max(ranks, 1), nodes - 1)
        load[place] += part.bytes
        mine += [name] if place == node else []
    for size, name in sorted(rest, reverse=True):
        place = load.index(min(load))
        load[place] += size
        mine += [name] if place == node else []
    return sorted(mine)


def measure(path: Path) -> Part:
    """Return a file's size and checksum. Raises OSError."""
    size = total = 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            total = zlib.crc32(chunk, total)
            size += len(chunk)
    return Part(size, total)


def write(folder: Path, parts: Mapping[str, Part], **facts: Any) -> None:
    """Write the manifest of a checkpoint; `facts` are its step, ranks and versions."""
    (folder / NAME).write_text(text_of(parts, **facts), encoding="utf-8")


def text_of(parts: Mapping[str, Part], **facts: Any) -> str:
    """Return the text of a manifest."""
    files = {name: {"bytes": part.bytes, "crc32": part.crc32} for name, part in parts.items()}
    document = {"format": FORMAT, **facts, "files": dict(sorted(files.items()))}
    return json.dumps(document, indent=1) + "\n"


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Part]] | None:
    """Return a checkpoint's facts and files; None where its manifest is missing or damaged."""
    try:
        return parse((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def parse(text: str) -> tuple[dict[str, Any], dict[str, Part]] | None:
    """Return facts and files of a manifest's text; None where it is none."""
    try:
        document = json.loads(text)
        files = document.pop("files")
        parts = {name: Part(int(at["bytes"]), int(at["crc32"])) for name, at in files.items()}
        if not all(_inside(name) for name in parts):  # it may have come from elsewhere
            return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return document, parts


def _inside(name: str) -> bool:
    """Return whether a file's name stays within the checkpoint."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


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
    """Return the bytes of the files that hold weights."""
    return sum(part.bytes for name, part in parts.items() if name.startswith(MODEL_PARTS))


def merged(shares: Iterable[Mapping[str, Part]]) -> dict[str, Part]:
    """Put the ranks' shares together."""
    return {name: part for share in shares for name, part in share.items()}
