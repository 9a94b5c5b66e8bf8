"""What the sidecars last saw of each node's memory, and what they noted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpclaunch.frozen import frozen
from hpclaunch.run.regular_file import open_regular

TAIL = 2**16
"""Bytes read from the end of a node's samples: the last minutes."""
SUFFIX = ".samples.jsonl"
PACKED = ".samples.blocks"
_BLOCK = re.compile(rb'\{"kind":"block",.*"bytes":(\d{1,9}),')
_KIND = re.compile(rb'\{"kind": ?"(note|start)"')
_LINE = 2**20
"""No line of a sidecar is longer."""
_JOURNAL = 2**24
"""Bytes of a journal that are searched; it is packed long before it is that large."""
_MOST_NOTES = 1000
NODES = 256


@frozen
class NodeMemory:
    """Memory of one node in the last minutes that were sampled; None is not known."""

    node: str
    file: Path
    used_mib: float | None = None
    """Highest of the whole job on this node, in MiB, without the file cache."""
    limit_mib: float | None = None
    """What the job may use on this node, in MiB; the machine's memory where there is no limit."""
    notes: tuple[str, ...] = ()
    """What the sidecar noted since it was last started, of the devices and of processes killed."""

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
    for record in _records(file):
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
    return NodeMemory(name, file, max(used, default=None), limit, _notes(file))


def _notes(file: Path) -> tuple[str, ...]:
    """Return the notes of the present start, however long ago, each once.

    The lines between the packed blocks tell them, and the journal; the blocks are passed over.
    """
    packed = file.with_name(file.name.removesuffix(SUFFIX) + PACKED)
    found: dict[str, float] = {}
    begun = 0.0
    for line in (*_between_blocks(packed), *_in_journal(file)):
        value = _object(line)
        wall, text = _number(value.get("wall")) or 0.0, value.get("text")
        if value.get("kind") == "start":
            begun = wall
        elif isinstance(text, str) and len(found) < _MOST_NOTES:
            found[text] = wall
    return tuple(text for text, wall in found.items() if wall >= begun)


def _between_blocks(file: Path) -> Iterator[bytes]:
    """Return the heads and notes of a packed file; what is packed is passed over."""
    try:
        with open_regular(file) as stream:
            while line := stream.readline(_LINE):
                if len(line) == _LINE and not line.endswith(b"\n"):
                    return  # none of ours
                block = _BLOCK.match(line)
                if block:
                    stream.seek(int(block.group(1)) + 1, 1)
                elif _KIND.match(line):
                    yield line
    except (OSError, ValueError, OverflowError):
        return


def _in_journal(file: Path) -> Iterator[bytes]:
    try:
        with open_regular(file) as stream:
            yield from _heads_and_notes(stream.read(_JOURNAL))
    except OSError:
        return


def _heads_and_notes(text: bytes) -> Iterator[bytes]:
    """Pick the lines without looking at every one: a journal has thousands of others."""
    at = sorted(found for word in (b'"note"', b'"start"') for found in _places(text, word))
    for place in at:
        begin = text.rfind(b"\n", 0, place) + 1
        line = text[begin : text.find(b"\n", place) + 1 or len(text)]
        if _KIND.match(line):
            yield line


def _places(text: bytes, word: bytes) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _records(file: Path) -> Iterator[dict[str, Any]]:
    try:
        with open_regular(file) as stream:
            stream.seek(max(0, stream.seek(0, 2) - TAIL))
            text = stream.read()
    except OSError:
        return
    for line in text.split(b"\n"):
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
