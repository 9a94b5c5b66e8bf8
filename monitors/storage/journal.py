"""A node's record while it grows: new lines go to the journal, older ones move to the block file.

Once the block file holds the journal's lines, a new journal takes the old one's name. Its header
says how many bytes of the block file count. So at whatever moment this is killed, nothing is lost
and nothing counted twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from monitors.regular_file import create_regular, open_regular
from monitors.storage import compaction, filenames
from monitors.storage.append_file import AppendFile
from monitors.storage.formats.journal_header import JournalHeader, parse_header

CLOSE_TIMEOUT_S = 5.0
"""How long `close` waits for a compaction that runs."""
_FIRST_LINE = 1 << 12


@dataclass(frozen=True, slots=True)
class _Compacted:
    blocks: int
    """The block file, open and locked."""
    taken: int
    """Bytes of the journal that it now holds, too."""
    header: JournalHeader
    lines: list[bytes]


class Journal:
    """Appends lines for one node; compacts them in a thread, so that no tick waits for it."""

    def __init__(self, folder: Path, node: str, most: int = compaction.MOST_BYTES) -> None:
        """Open the files of `node`; raises OSError. Compacts whenever `most` bytes were added."""
        self._path = filenames.path_of(folder, node, filenames.SAMPLES)
        self._blocks = filenames.path_of(folder, node, filenames.BLOCKS)
        self._new = self._path.with_name(self._path.name + ".new")
        self._most = most
        self._file = AppendFile(self._path)
        self._thread: threading.Thread | None = None
        self._compacted: _Compacted | None = None
        self._size = self._file.size
        self._begun = 0
        self._due = most
        self.problem: str | None = None
        """Why nothing is compacted any more; the journal goes on."""
        if not self._size:
            self.append(JournalHeader(0, 0).line().decode())
        elif _header(self._path) is None:
            self._adopt()

    def append(self, text: str) -> bool:
        """Write `text` now; return False when not all of it could be written. Never raises."""
        self._size += len(text)
        return self._file.append(text)

    def maybe_compact(self) -> None:
        """Compact when there is enough; to be called between ticks. Never raises.

        Does not wait for the thread; now and then it takes the time to begin a new journal.
        """
        if self._thread is not None:
            if self._thread.is_alive():
                return
            self._thread = None
            self._replace()
        elif self._size >= self._due and self.problem is None:
            self._thread = threading.Thread(target=self._compact, name="compact", daemon=True)
            self._thread.start()

    def wait_for_compaction(self) -> bool:
        """Wait for a compaction that runs; return False where that takes too long."""
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
            if self._thread.is_alive():
                return False
            self._thread = None
            self._replace()
        return True

    def close(self) -> None:
        """Compact what there is, unless it is little, and close the file."""
        if not self.wait_for_compaction():
            return  # the file system hangs; the journal holds all
        if self._size - self._begun > 2 * compaction.KEPT_BYTES and self.problem is None:
            self._compact()
            self._replace()
        self._file.close()

    def _adopt(self) -> None:
        """Move the lines of a journal without a header, from an earlier version, before ours."""
        with contextlib.suppress(OSError):
            if not self._blocks.exists():
                self._path.rename(self._blocks)
                size = self._blocks.stat().st_size
            else:
                end = create_regular(self._blocks, os.O_WRONLY | os.O_APPEND)
                with os.fdopen(end, "ab") as blocks, open_regular(self._path) as journal:
                    while piece := journal.read(1 << 20):
                        blocks.write(piece)
                    blocks.flush()
                    os.fsync(blocks.fileno())
                    size = blocks.tell()
            self._begin(JournalHeader(size, 0).line()).close()

    def _begin(self, text: bytes) -> AppendFile:
        """Begin a new journal with `text`, in one step; return the file of the old one.

        Raises OSError, with nothing changed.
        """
        try:
            with os.fdopen(create_regular(self._new, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh = AppendFile(self._new)
            self._new.rename(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                self._new.unlink()
            raise
        before, self._file = self._file, fresh
        self._size = self._begun = len(text)
        self._due = self._begun + self._most
        return before

    def _compact(self) -> None:
        """Write blocks after those that count. What fails is tried again later."""
        self._due = self._size + self._most // 4
        blocks = -1
        try:
            taken = self._file.size_of_whole_lines()
            header = _header(self._path)
            if header is None or self._path.stat().st_ino != self._file.inode:
                return  # another recorder has begun a new journal
            blocks = create_regular(self._blocks, os.O_RDWR)
            _lock(blocks)
            begin = min(header.blocks_bytes, os.fstat(blocks).st_size)
            os.ftruncate(blocks, begin)
            try:
                end, lines = compaction.append_blocks(self._path, taken, blocks, begin)
            except OSError:
                os.ftruncate(blocks, begin)
                raise
            self._compacted = _Compacted(blocks, taken, JournalHeader(end, len(lines)), lines)
        except OSError:
            pass
        except Exception as error:  # recording goes on, whatever becomes of the blocks
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())
        finally:
            if self._compacted is None and blocks >= 0:
                os.close(blocks)

    def _replace(self) -> None:
        """Begin a new journal with what is in no block; from then on the new blocks count."""
        compacted, self._compacted = self._compacted, None
        if compacted is None:
            return
        try:
            if self._path.stat().st_ino == self._file.inode:
                rest = self._file.read(compacted.taken)
                before = self._begin(compacted.header.line() + b"".join(compacted.lines) + rest)
                # An earlier attempt that still lives may have written between the two.
                late = before.read(compacted.taken + len(rest))
                before.close()
                if late:
                    self.append(late.decode(errors="replace"))
        except OSError:
            pass  # the journal goes on as it was; by its header the new blocks do not count
        finally:
            os.close(compacted.blocks)


def _lock(file: int) -> None:
    """Lock the block file. Raises BlockingIOError where another recorder writes to it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # not every shared file system has locks


def _header(path: Path) -> JournalHeader | None:
    with path.open("rb") as file:
        return parse_header(file.readline(_FIRST_LINE))
