"""One node's record as it lies on the disk: packed blocks, then the journal.

A reader that comes while the sidecar packs sees a true state: the journal is opened first, and says
how many bytes of the packed file go before it; those never change.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from monitors.records import GpuTable, Record, Start
from monitors.storage import filenames
from monitors.storage.formats.blocks import HEAD
from monitors.storage.formats.journal import Head, head_of
from monitors.storage.formats.samples import parsed, record_of
from monitors.storage.formats.unpacked import Block, opened, ticks_of

_MOST_LINE = 1 << 24
_MOST_PAYLOAD = 1 << 26
_BEGIN = b'{"kind":'


class NodeStore:
    """A node's record. Once it was gone through, `problems` tells what is missing or damaged."""

    def __init__(self, directory: Path, node: str) -> None:
        self._journal = filenames.path_of(directory, node, filenames.SAMPLES)
        self._blocks = filenames.path_of(directory, node, filenames.BLOCKS)
        self._found: list[str] = []
        self._senseless: Counter[str] = Counter()
        self._damaged = self._lost = 0
        self._cut: str | None = None
        """Where the line before this one is that ends in the middle, if it is one."""
        self._last: float | None = None
        self.files: list[str] = []
        """Names of the files that could be read."""

    @property
    def problems(self) -> list[str]:
        """What is missing, damaged or could not be read, so far."""
        told = [*self._found]
        if self._damaged:
            blocks = "1 block is" if self._damaged == 1 else f"{self._damaged} blocks are"
            lost = f"{self._lost:,} samples" if self._lost else "what it held"
            told.append(f"{self._blocks.name}: {blocks} damaged, {lost} lost")
        for name, count in self._senseless.items():
            lines = "1 line makes" if count == 1 else f"{count} lines make"
            told.append(f"{name}: {lines} no sense and cannot be counted")
        return told

    def records(self) -> Iterator[Record]:
        """All records in their order, blocks unpacked. Raises nothing for what files hold."""
        for piece in self.pieces():
            if isinstance(piece, Block):
                yield from self.unpacked(piece)
            else:
                yield piece

    def unpacked(self, block: Block) -> Iterator[Record]:
        """The ticks of a block."""
        for raw in ticks_of(block):
            record = self._understood(raw, self._blocks.name)
            if record is not None:
                yield record

    def pieces(self) -> Iterator[Record | Block]:
        """Records and whole blocks in their order. Raises nothing for what files hold or lack."""
        for piece in self._pieces():
            self._settle(piece)
            yield piece
        self._settle(None)

    def _pieces(self) -> Iterator[Record | Block]:
        journal = self._opened(self._journal)
        if journal is None:
            yield from self._packed(None)
            return
        with journal:
            try:
                head = head_of(journal.readline(_MOST_LINE))
                yield from self._packed(head, beside=True)
                yield from self._newest(journal, head)
            except OSError as error:
                self._found.append(f"{self._journal.name} cannot be read: {error.strerror}")

    def _packed(self, head: Head | None, beside: bool = False) -> Iterator[Record | Block]:
        """The packed file, as far as it counts."""
        if head is not None and not head.packed:
            return
        if not self._blocks.exists() and head is None:
            return  # earlier versions wrote a journal alone
        name = self._blocks.name
        file = self._opened(self._blocks)
        if file is None:
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            end = size if head is None else min(size, head.packed)
            if head is not None and size < head.packed:
                self._found.append(f"{name} is cut short: what came next is lost")
            try:
                for piece in self._taken(file, end):
                    if beside and head is None:
                        self._note_last(piece)
                    yield piece
            except OSError as error:
                self._found.append(f"{name} cannot be read: {error.strerror}")

    def _taken(self, file: IO[bytes], end: int) -> Iterator[Record | Block]:
        torn = False
        while (at := file.tell()) < end and (line := file.readline(_MOST_LINE)):
            if line.startswith(HEAD):
                block, size = _block(line, file, end)
                if block is not None:
                    yield block
                else:
                    self._damaged += 1
                    self._lost += size
                    file.seek(at + len(line))
                torn = block is None
            elif not torn or line.startswith(_BEGIN):  # the rest of what is damaged is noise
                torn = False
                record = self._read(line[: end - at], self._blocks.name)
                if record is not None:
                    yield record

    def _newest(self, journal: IO[bytes], head: Head | None) -> Iterator[Record]:
        kept = 0
        if head is None:
            journal.seek(0)
        elif self._blocks.name in self.files:
            kept = head.kept
        size = os.fstat(journal.fileno()).st_size
        at = -1
        while journal.tell() < size and (line := journal.readline(_MOST_LINE)):
            at += 1
            record = self._read(line, self._journal.name) if at >= kept else None
            if record is None:
                continue
            # Without its first line the journal does not tell what of it is packed already.
            if self._last is not None and not isinstance(record, GpuTable):
                if record.wall <= self._last:
                    continue
                self._last = None
            yield record

    def _note_last(self, piece: Record | Block) -> None:
        records = [*self.unpacked(piece)] if isinstance(piece, Block) else [piece]
        walls = [record.wall for record in records if not isinstance(record, GpuTable)]
        self._last = walls[-1] if walls else self._last

    def _read(self, line: bytes, name: str) -> Record | None:
        if not line.strip():
            return None
        try:
            raw = parsed(line.decode(errors="replace"))
        except (ValueError, RecursionError):
            self._settle(None)
            if not line.startswith(_BEGIN[: len(line.rstrip(b"\n"))]):
                self._senseless[name] += 1
            elif line.endswith(b"\n"):
                self._cut = name
            return None
        return self._understood(raw, name)

    def _settle(self, after: Record | Block | None) -> None:
        """A line cut off before a start is what a kill left of it; any other is damage.

        Linux writes page by page: a kill in the midst of a write leaves what came before a page's
        end. That line was never told to anybody, and the gap that follows is in the report anyway.
        """
        if self._cut is not None and not isinstance(after, Start):
            self._senseless[self._cut] += 1
        self._cut = None

    def _understood(self, raw: Any, name: str) -> Record | None:
        try:
            return record_of(raw)
        except (ValueError, KeyError):
            self._senseless[name] += 1
            return None

    def _opened(self, path: Path) -> IO[bytes] | None:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            self._found.append(f"{path.name} is missing")
        except OSError as error:
            self._found.append(f"{path.name} cannot be read: {error.strerror}")
        else:
            self.files.append(path.name)
            return file
        return None


def _block(line: bytes, file: IO[bytes], end: int) -> tuple[Block | None, int]:
    """The block after its line, and how many ticks it has or had, where the line tells."""
    ticks = 0
    try:
        head = parsed(line.decode(errors="replace"))
        size, ticks = int(head["bytes"]), int(head["ticks"])
        if not 0 <= size <= min(_MOST_PAYLOAD, end - file.tell() - 1):
            raise ValueError("cut off")
        payload = file.read(size + 1)
        if payload[size:] != b"\n":
            raise ValueError("no end")
        return opened(line, payload[:size]), ticks
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None, ticks if 0 <= ticks < 1 << 20 else 0
