"""The newest ticks of every node of a folder, cheaply: only the ends of the files are read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from monitors.records import End, GpuInfo, GpuTable, Note, Record, Start, Tick
from monitors.regular_file import open_regular
from monitors.storage import filenames
from monitors.storage.formats.json_lines import SamplesReader

_PIECE = 1 << 16
_MOST = 1 << 22
"""Bytes searched from the end for the `start`; then the file's first lines are read."""
_MOST_NOTES = 20


@dataclass(frozen=True, slots=True)
class Newest:
    """What one node last wrote. A value is None or empty where the file does not hold it."""

    node: str
    start: Start | None = None
    """The head of the recording that the tick belongs to."""
    gpus: tuple[GpuInfo, ...] = ()
    """The GPUs as last listed, by the start or, where the driver was late, after it."""
    tick: Tick | None = None
    """The last whole tick; its `wall` is in Unix seconds on the node's clock."""
    before: Tick | None = None
    """The tick before it in the same recording: counters less its own are those of an interval."""
    end: End | None = None
    """Set where the recording ended in order; None while it runs, or after a kill."""
    notes: tuple[Note, ...] = ()
    """The last notes that stand at the end of the file, in their order."""


def newest(folder: Path) -> tuple[Newest, ...]:
    """Return what each node of `folder` last wrote, in natural order of the nodes.

    Reads some 64 KiB a node. Never raises for what the files hold or lack: a folder that
    cannot be read has no nodes, and a file that cannot be read no tick.
    """
    try:
        nodes = filenames.nodes_in(folder)
    except OSError:
        return ()
    return tuple(newest_of(folder, node) for node in nodes)


def newest_of(folder: Path, node: str) -> Newest:
    """Return what one node last wrote."""
    start: Start | None = None
    gpus: tuple[GpuInfo, ...] = ()
    ticks: list[Tick] = []
    end: End | None = None
    notes: list[Note] = []
    for record in ending(filenames.path_of(folder, node, filenames.SAMPLES)).records():
        match record:
            case Start():
                start, gpus, end = record, record.gpus, None
                ticks.clear()
            case GpuTable():
                gpus = record.gpus
            case Tick():
                ticks = [*ticks[-1:], record]
            case Note():
                notes = [*notes[1 - _MOST_NOTES :], record]
            case End():
                end = record
    before = ticks[-2] if len(ticks) > 1 else None
    return Newest(node, start, gpus, ticks[-1] if ticks else None, before, end, tuple(notes))


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What distinguishes a file from one that later takes its name, and perhaps its inode."""

    inode: int
    first: bytes
    """Its first line, at most half a KiB: each journal's header says how much is in blocks."""


def identity_of(file: BinaryIO) -> FileIdentity:
    """Return the identity of an open file, whose position changes.

    Raises OSError where it cannot be read.
    """
    file.seek(0)
    return FileIdentity(os.fstat(file.fileno()).st_ino, file.readline(512))


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a samples file, as far back as it takes to understand it."""

    lines: tuple[bytes, ...] = ()
    """The heads of the last recording, and the whole lines at the end of the file."""
    file: FileIdentity | None = None
    """Which file it was, whatever lies under its name later."""
    size: int = 0
    """Bytes of the file up to the end of the last of these lines."""

    def records(self) -> Iterator[Record]:
        """Yield the records of the lines."""
        yield from SamplesReader(line.decode(errors="replace") for line in self.lines)


def ending(path: Path, least: int = _PIECE) -> Ending:
    """Read the last `least` bytes of a file, and what it takes to understand them.

    Never raises; what cannot be read has no lines.
    """
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            begin = max(0, size - least)
            file.seek(begin)
            tail = file.read()
            end = begin + len(tail)
            if begin:
                tail = tail.partition(b"\n")[2]
            heads: list[bytes] = []
            searched = begin
            # Only a start lists the GPUs, and where the tail holds one it is all that is needed.
            while not any(map(_is_start, tail.split(b"\n") + heads)) and searched:
                searched = max(0, searched - _PIECE) if size - searched < _MOST else 0
                file.seek(searched)
                piece = file.read(2 * _PIECE)  # overlapping, for lines across the border
                heads = [line for line in piece.split(b"\n") if _is_head(line)] + heads
            identity = identity_of(file)
    except OSError:
        return Ending()
    *whole, torn = tail.split(b"\n")
    lines = [line + b"\n" for line in [*dict.fromkeys(heads), *whole]]
    return Ending(tuple(lines), identity, end - len(torn))


def _is_start(line: bytes) -> bool:
    return _kind(line) == "start"


def _is_head(line: bytes) -> bool:
    return _kind(line) in ("start", "gpus")


def _kind(line: bytes) -> str | None:
    # Ticks are nearly all there is, and far longer than heads: not to be parsed.
    if not line.startswith((b'{"kind":"start"', b'{"kind":"gpus"')):
        return None
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return str(found.get("kind"))
