"""One node's record on the disk, read in the order of time: the block file, then the journal.

A reader sees a consistent state at any moment, also while the recorder compacts: the journal is
opened first, and its header says how many bytes of the block file come before it; these never
change.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from monitors.records import GpuTable, Record, Start
from monitors.regular_file import open_regular
from monitors.storage import filenames
from monitors.storage.formats.block_reader import Block, decode_block, ticks_of
from monitors.storage.formats.block_writer import HEAD
from monitors.storage.formats.journal_header import JournalHeader, parse_header
from monitors.storage.formats.json_lines import parsed, record_of

_MOST_LINE = 1 << 24
_MOST_PAYLOAD = 1 << 26
_BEGIN = b'{"kind":'


class NodeStore:
    """A node's record. After a pass over it `problems` lists what is missing or damaged."""

    def __init__(self, directory: Path, node: str) -> None:
        self._journal = filenames.path_of(directory, node, filenames.SAMPLES)
        self._blocks = filenames.path_of(directory, node, filenames.BLOCKS)
        self._unreadable: list[str] = []
        self._unparsable: Counter[str] = Counter()
        self._damaged = self._lost = 0
        self._cut: str | None = None
        """Name of the file in which the line before this one was cut off; else None."""
        self._last: float | None = None
        self.files: list[str] = []
        """Names of the files that could be read."""

    @property
    def problems(self) -> list[str]:
        """What is missing, damaged or could not be read, so far."""
        problems = [*self._unreadable]
        if self._damaged:
            blocks = "1 block is" if self._damaged == 1 else f"{self._damaged} blocks are"
            lost = f"{self._lost:,} samples" if self._lost else "what it held"
            problems.append(f"{self._blocks.name}: {blocks} damaged, {lost} lost")
        for name, count in self._unparsable.items():
            lines = "1 line makes" if count == 1 else f"{count} lines make"
            problems.append(f"{name}: {lines} no sense and cannot be counted")
        return problems

    def records(self) -> Iterator[Record]:
        """Yield all records in their order. Never raises for what the files hold."""
        for piece in self.pieces():
            if isinstance(piece, Block):
                yield from self.unpacked(piece)
            else:
                yield piece

    def unpacked(self, block: Block) -> Iterator[Record]:
        """Yield the ticks of a block."""
        for raw in ticks_of(block):
            record = self._record_of(raw, self._blocks.name)
            if record is not None:
                yield record

    def pieces(self) -> Iterator[Record | Block]:
        """Yield records and whole blocks in order. Never raises for what files hold or lack."""
        for piece in self._pieces():
            self._end_cut_line(piece)
            yield piece
        self._end_cut_line(None)

    def _pieces(self) -> Iterator[Record | Block]:
        journal = self._opened(self._journal)
        if journal is None:
            yield from self._packed(None)
            return
        with journal:
            try:
                head = parse_header(journal.readline(_MOST_LINE))
                yield from self._packed(head, beside=True)
                yield from self._newest(journal, head)
            except OSError as error:
                self._unreadable.append(f"{self._journal.name} cannot be read: {error.strerror}")

    def _packed(self, head: JournalHeader | None, beside: bool = False) -> Iterator[Record | Block]:
        """The block file, as far as it counts."""
        if head is not None and not head.blocks_bytes:
            return
        if not self._blocks.exists() and head is None:
            return  # earlier versions wrote a journal alone
        name = self._blocks.name
        file = self._opened(self._blocks)
        if file is None:
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            end = size if head is None else min(size, head.blocks_bytes)
            if head is not None and size < head.blocks_bytes:
                self._unreadable.append(f"{name} is cut short: what came next is lost")
            try:
                for piece in self._pieces_of(file, end):
                    if beside and head is None:
                        self._note_last(piece)
                    yield piece
            except OSError as error:
                self._unreadable.append(f"{name} cannot be read: {error.strerror}")

    def _pieces_of(self, file: IO[bytes], end: int) -> Iterator[Record | Block]:
        torn = False
        while (at := file.tell()) < end and (line := file.readline(_MOST_LINE)):
            if self._is_endless(line, self._blocks.name):
                return
            if line.startswith(HEAD):
                block, size = _block(line, file, end)
                if block is not None:
                    yield block
                else:
                    self._damaged += 1
                    self._lost += size
                    file.seek(at + len(line))
                torn = block is None
            elif not torn or line.startswith(_BEGIN):  # what follows damage is noise
                torn = False
                record = self._read(line[: end - at], self._blocks.name)
                if record is not None:
                    yield record

    def _newest(self, journal: IO[bytes], head: JournalHeader | None) -> Iterator[Record]:
        kept = 0
        if head is None:
            journal.seek(0)
        elif self._blocks.name in self.files:
            kept = head.repeated_lines
        size = os.fstat(journal.fileno()).st_size
        at = -1
        while journal.tell() < size and (line := journal.readline(_MOST_LINE)):
            if self._is_endless(line, self._journal.name):
                return
            at += 1
            record = self._read(line, self._journal.name) if at >= kept else None
            if record is None:
                continue
            # Without a header the journal does not say which of its lines are in blocks already.
            if self._last is not None and not isinstance(record, GpuTable):
                if record.wall <= self._last:
                    continue
                self._last = None
            yield record

    def _is_endless(self, line: bytes, name: str) -> bool:
        """Whether a line is longer than any of ours: whatever follows would take for ever."""
        if len(line) < _MOST_LINE or line.endswith(b"\n"):
            return False
        self._unreadable.append(f"{name} has a line without end: what follows is not read")
        return True

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
            self._end_cut_line(None)
            if not line.startswith(_BEGIN[: len(line.rstrip(b"\n"))]):
                self._unparsable[name] += 1
            elif line.endswith(b"\n"):
                self._cut = name
            return None
        return self._record_of(raw, name)

    def _end_cut_line(self, after: Record | Block | None) -> None:
        """Count a cut line as damage, unless a start follows: then a kill cut it.

        Linux writes page by page: a kill during a write leaves what came before a page's end.
        Nobody was shown that line, and the report has the gap that follows anyway.
        """
        if self._cut is not None and not isinstance(after, Start):
            self._unparsable[self._cut] += 1
        self._cut = None

    def _record_of(self, raw: Any, name: str) -> Record | None:
        try:
            return record_of(raw)
        except (ValueError, KeyError):
            self._unparsable[name] += 1
            return None

    def _opened(self, path: Path) -> IO[bytes] | None:
        try:
            file = open_regular(path)
        except FileNotFoundError:
            self._unreadable.append(f"{path.name} is missing")
        except OSError as error:
            self._unreadable.append(f"{path.name} cannot be read: {error.strerror}")
        else:
            self.files.append(path.name)
            return file
        return None


def _block(line: bytes, file: IO[bytes], end: int) -> tuple[Block | None, int]:
    """The block after its line, and the number of its ticks, where the line says so."""
    ticks = 0
    try:
        head = parsed(line.decode(errors="replace"))
        size, ticks = int(head["bytes"]), int(head["ticks"])
        if not 0 <= size <= min(_MOST_PAYLOAD, end - file.tell() - 1):
            raise ValueError("cut off")
        payload = file.read(size + 1)
        if payload[size:] != b"\n":
            raise ValueError("no end")
        return decode_block(line, payload[:size]), ticks
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None, ticks if 0 <= ticks < 1 << 20 else 0
