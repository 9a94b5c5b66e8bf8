"""What the samplers last saw of each node's memory, and what they noted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAIL = 2**16
"""Bytes read from the end of a node's samples: the last minutes."""
NOTES_TAIL = 2**22
"""Bytes looked through for notes: more than a node has that is not packed yet."""
_NOTE = re.compile(rb'^\{"kind":"note",.*$', re.MULTILINE)
SUFFIX = ".samples.jsonl"
NODES = 256


@dataclass(frozen=True)
class NodeMemory:
    """Memory of one node in the last minutes that were sampled; None is not known."""

    node: str
    file: Path
    used_mib: float | None = None
    """Highest of the whole job on this node, in MiB, without the file cache."""
    limit_mib: float | None = None
    """What the job may use on this node, in MiB; the machine's memory where there is no limit."""
    notes: tuple[str, ...] = ()
    """What the sampler noted of the devices."""

    @property
    def share(self) -> float | None:
        """Highest use as a share of the limit, from 0 to 1."""
        if self.used_mib is None or not self.limit_mib:
            return None
        return self.used_mib / self.limit_mib


def node_memories(folder: Path) -> tuple[NodeMemory, ...]:
    """Read the end of each node's samples."""
    try:
        files = sorted(folder.glob(f"*{SUFFIX}"))[:NODES]
    except OSError:
        return ()
    return tuple(_node(file) for file in files)


def _node(file: Path) -> NodeMemory:
    used: list[float] = []
    limit: float | None = None
    notes: list[str] = []
    for record in _records(file):
        if record.get("kind") == "note" and isinstance(record.get("text"), str):
            notes.append(record["text"])
        host = record.get("host")
        if record.get("kind") != "tick" or not isinstance(host, dict):
            continue
        value = _number(host.get("cgroup_mem_mib"))
        bound = _number(host.get("cgroup_limit_mib"))
        total = _number(host.get("mem_total_mib"))
        if value is None or bound is None:
            value, bound = _number(host.get("mem_used_mib")), total
        used += [value] if value is not None else []
        limit = bound if bound is not None else limit
    name = file.name.removesuffix(SUFFIX)
    return NodeMemory(name, file, max(used, default=None), limit, tuple(notes))


def _records(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - NOTES_TAIL))
            text = stream.read()
    except OSError:
        return
    begin = max(0, len(text) - TAIL)
    # What a GPU reported may lie minutes before the end.
    for line in (*_NOTE.findall(text[:begin]), *text[begin:].split(b"\n")):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):  # a torn line, at either end of what was read
            continue
        if isinstance(value, dict):
            yield value


def _number(value: Any) -> float | None:
    """Take a number that an amount of memory can be."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e12 else None
