"""The marks of a run, kept up with: a day of one-second steps is not to be read every second."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import Any

from hpclaunch.diagnose.progress import RECENT

Mark = dict[str, Any]
KEPT_STEPS = max(240, RECENT + 2)
"""Steps that are remembered: what the curve of the loss is drawn from."""
_MOST_OTHERS = 5000


class EventReader:
    """Reads what was appended since the last look, and remembers what progress is told from."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = self._offset = 0
        self._clear()

    def _clear(self) -> None:
        self._first: tuple[int, Mark] | None = None
        self._steps: deque[tuple[int, Mark]] = deque(maxlen=KEPT_STEPS)
        self._others: deque[tuple[int, Mark]] = deque(maxlen=_MOST_OTHERS)
        self._count = 0

    def read(self) -> list[Mark]:
        """Return the marks in their order; of the steps the first that has a loss, and the last.

        Never raises for what the file holds or lacks.
        """
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._clear()
                    self._inode, self._offset = found.st_ino, 0
                file.seek(self._offset)
                data = file.read()
        except OSError:
            data = b""
        *whole, torn = data.split(b"\n")
        self._offset += len(data) - len(torn)
        for line in whole:
            self._take(line)
        return self._kept()

    def _kept(self) -> list[Mark]:
        pairs = [*self._steps, *self._others]
        if self._first is not None and self._first not in self._steps:
            pairs.append(self._first)
        return [mark for _, mark in sorted(pairs, key=lambda pair: pair[0])]

    def _take(self, line: bytes) -> None:
        try:
            mark = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(mark, dict) or not isinstance(mark.get("event"), str):
            return
        self._count += 1
        if mark["event"] != "step":
            self._others.append((self._count, mark))
            return
        self._steps.append((self._count, mark))
        if self._first is None and isinstance(mark.get("loss"), int | float):
            self._first = (self._count, mark)
