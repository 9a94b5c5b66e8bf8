"""Compaction: the lines of a journal become blocks at the end of the block file."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitors.storage.formats.block_writer import BlockBuilder, fits
from monitors.storage.formats.journal_header import parse_header

MOST_BYTES = 3 << 19
"""Most bytes of lines that go into one block: what bounds the memory of a compaction."""
KEPT_BYTES = 1 << 16
"""Bytes of the newest ticks' lines that stay in the journal: `why` and `watch` read only these."""
LEAST_TICKS = 8
"""Fewer ticks are smaller as lines."""
_KEPT_NOTES = 20


@dataclass
class _Kept:
    """The lines that stay in the journal, with their numbers, so that they stay in order."""

    heads: list[tuple[int, bytes]] = field(default_factory=list)
    notes: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=_KEPT_NOTES))
    ticks: deque[tuple[int, bytes]] = field(default_factory=deque)
    size: int = 0

    def add(self, at: int, line: bytes, kind: str | None) -> None:
        match kind:
            case "start":
                self.heads = [(at, line)]
            case "gpus":
                self.heads = [*self.heads[:1], (at, line)]
            case "end":
                self.heads.append((at, line))
            case "note":
                self.notes.append((at, line))
            case "tick":
                self.ticks.append((at, line))
                self.size += len(line)
                while self.size > KEPT_BYTES:
                    self.size -= len(self.ticks.popleft()[1])

    def lines(self) -> list[bytes]:
        return [line for _, line in sorted([*self.heads, *self.notes, *self.ticks])]


def append_blocks(journal: Path, size: int, blocks: int, begin: int) -> tuple[int, list[bytes]]:
    """Append what is in the first `size` bytes of a journal to the open file `blocks`.

    It is written from byte `begin` on. Returns the size of that file then, in bytes, and the lines
    that the journal keeps. Raises OSError, with nothing changed before `begin`.
    """
    kept = _Kept()
    end = begin
    if begin and os.pread(blocks, 1, begin - 1) != b"\n":
        end += _write(blocks, b"\n", end)
    with journal.open("rb") as file:
        for piece in _pieces(_lines(file, size), kept):
            end += _write(blocks, piece, end)
    os.fsync(blocks)
    return end, kept.lines()


def _write(file: int, data: bytes, at: int) -> int:
    if os.pwrite(file, data, at) < len(data):
        raise OSError("the disk is full")
    return len(data)


def _lines(file: Iterable[bytes], size: int) -> Iterator[tuple[bytes, bool]]:
    """Lines up to a number of bytes, and whether each is one of those kept before."""
    kept = 0
    for at, line in enumerate(file):
        size -= len(line)
        if size < 0:
            return
        head = parse_header(line) if at == 0 else None
        if head is not None:
            kept = head.repeated_lines + 1
        else:
            yield line, at < kept


def _pieces(lines: Iterable[tuple[bytes, bool]], kept: _Kept) -> Iterator[bytes]:
    """Yield what to write, in order: blocks, and the lines that no block can hold."""
    columns, held = BlockBuilder(), list[bytes]()
    size = 0

    def packed() -> bytes:
        block = columns.pack() if columns.count >= LEAST_TICKS else None
        return b"".join(held) if block is None else block

    for at, (line, known) in enumerate(lines):
        raw = _parsed(line)
        kept.add(at, line, raw.get("kind") if raw is not None else None)
        if known:
            continue
        tick = raw if raw is not None and raw.get("kind") == "tick" and fits(raw) else None
        if tick is not None and size < MOST_BYTES and columns.add(tick):
            held.append(line)
            size += len(line)
            continue
        if held:
            yield packed()
            columns, held, size = BlockBuilder(), [], 0
        if tick is not None and columns.add(tick):
            held, size = [line], len(line)
        else:
            yield line
    if held:
        yield packed()


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
