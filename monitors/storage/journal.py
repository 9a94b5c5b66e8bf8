"""A node's record while it grows: new lines in the journal, older ones packed behind it.

The journal is begun anew by renaming, once what it holds lies whole in the packed file: whenever
this is killed, the journal on the disk says how many bytes of the packed file count, and the rest
is in the journal itself. So nothing is lost, and nothing counted twice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from monitors.storage import filenames, packing
from monitors.storage.formats.journal import Head, head_of
from monitors.storage.sink import AppendFile

PATIENCE_S = 5.0
"""How long the end waits for what is being packed."""
_FIRST_LINE = 1 << 12


@dataclass(frozen=True, slots=True)
class _Packed:
    blocks: int
    """The packed file, open and locked."""
    taken: int
    """Bytes of the journal that it now holds."""
    head: Head
    lines: list[bytes]


class Journal:
    """Appends lines for one node; packs them in a thread, so that no tick waits for it."""

    def __init__(self, folder: Path, node: str, most: int = packing.MOST_BYTES) -> None:
        """Open the files of `node`; raises OSError. Packs whenever `most` bytes came."""
        self._path = filenames.path_of(folder, node, filenames.SAMPLES)
        self._blocks = filenames.path_of(folder, node, filenames.BLOCKS)
        self._new = self._path.with_name(self._path.name + ".new")
        self._most = most
        self._file = AppendFile(self._path)
        self._thread: threading.Thread | None = None
        self._packed: _Packed | None = None
        self._size = self._file.size
        self._begun = 0
        self._due = most
        self.problem: str | None = None
        """Why nothing is packed any more; the journal goes on."""
        if not self._size:
            self.append(Head(0, 0).line().decode())
        elif _head(self._path) is None:
            self._take_over()

    def append(self, text: str) -> bool:
        """Write `text` now; False when not all of it could be written. Never raises."""
        self._size += len(text)
        return self._file.append(text)

    def maybe_compact(self) -> None:
        """Pack when there is enough; to be called between ticks. Never raises.

        Waits for nothing but, once in a while, for the journal that is begun anew.
        """
        if self._thread is not None:
            if self._thread.is_alive():
                return
            self._thread = None
            self._renew()
        elif self._size >= self._due and self.problem is None:
            self._thread = threading.Thread(target=self._pack, name="pack", daemon=True)
            self._thread.start()

    def settle(self) -> bool:
        """Wait for what is being packed; False where that takes too long."""
        if self._thread is not None:
            self._thread.join(PATIENCE_S)
            if self._thread.is_alive():
                return False
            self._thread = None
            self._renew()
        return True

    def close(self) -> None:
        """No more will come: pack what there is, unless it is little, and close the file."""
        if not self.settle():
            return  # the file system hangs; the journal holds all
        if self._size - self._begun > 2 * packing.KEPT_BYTES and self.problem is None:
            self._pack()
            self._renew()
        self._file.close()

    def _take_over(self) -> None:
        """What an earlier version wrote has no first line: its lines go before the journal."""
        with contextlib.suppress(OSError):
            if not self._blocks.exists():
                self._path.rename(self._blocks)
                size = self._blocks.stat().st_size
            else:
                with self._blocks.open("ab") as blocks, self._path.open("rb") as journal:
                    while piece := journal.read(1 << 20):
                        blocks.write(piece)
                    blocks.flush()
                    os.fsync(blocks.fileno())
                    size = blocks.tell()
            self._begin(Head(size, 0).line()).close()

    def _begin(self, text: bytes) -> AppendFile:
        """Begin the journal anew with `text`, in one step; gives the file that it was.

        Raises OSError with nothing changed.
        """
        try:
            with self._new.open("wb") as file:
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

    def _pack(self) -> None:
        """Write blocks after those that count. What went wrong will be tried again later."""
        self._due = self._size + self._most // 4
        blocks = -1
        try:
            taken = self._file.size
            head = _head(self._path)
            if head is None or self._path.stat().st_ino != self._file.inode:
                return  # somebody else began this journal anew
            blocks = os.open(self._blocks, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            _lock(blocks)
            begin = min(head.packed, os.fstat(blocks).st_size)
            os.ftruncate(blocks, begin)
            try:
                end, lines = packing.pack(self._path, taken, blocks, begin)
            except OSError:
                os.ftruncate(blocks, begin)
                raise
            self._packed = _Packed(blocks, taken, Head(end, len(lines)), lines)
        except OSError:
            pass
        except Exception as error:  # recording goes on, whatever becomes of the packing
            self.problem = " ".join(f"{type(error).__name__}: {error}".split())
        finally:
            if self._packed is None and blocks >= 0:
                os.close(blocks)

    def _renew(self) -> None:
        """Begin the journal anew with what is not packed; then what is packed counts."""
        packed, self._packed = self._packed, None
        if packed is None:
            return
        try:
            if self._path.stat().st_ino == self._file.inode:
                rest = self._file.read(packed.taken)
                before = self._begin(packed.head.line() + b"".join(packed.lines) + rest)
                # An earlier start that lives on may have written between the two.
                late = before.read(packed.taken + len(rest))
                before.close()
                if late:
                    self.append(late.decode(errors="replace"))
        except OSError:
            pass  # the journal goes on as it was, and still says that none of this counts
        finally:
            os.close(packed.blocks)


def _lock(file: int) -> None:
    """Raises BlockingIOError where another start packs into the same file."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # not every shared file system has locks


def _head(path: Path) -> Head | None:
    with path.open("rb") as file:
        return head_of(file.readline(_FIRST_LINE))
