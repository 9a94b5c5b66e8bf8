"""The events of a run, read as they are appended: never the whole file at every refresh."""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import Any

from hpclaunch.diagnose.progress import RECENT
from hpclaunch.run.events import MAX_BYTES
from hpclaunch.run.regular_file import open_regular

Event = dict[str, Any]
KEPT_STEPS = max(240, RECENT + 2)
"""Steps that are kept: the curve of the loss is drawn from them."""
_MOST_OTHERS = 5000
_PIECE = 1 << 22
"""Bytes that are read at once."""
_MOST_S = 1e9
"""No step takes more seconds."""


class EventReader:
    """Reads what was appended since the last refresh, and keeps what progress is made from."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = self._offset = 0
        self._clear()

    def _clear(self) -> None:
        self._first: tuple[int, Event] | None = None
        self._steps: deque[tuple[int, Event]] = deque(maxlen=KEPT_STEPS)
        self._others: deque[tuple[int, Event]] = deque(maxlen=_MOST_OTHERS)
        self._count = 0
        self._longest: tuple[int, Event] | None = None

    def read(self) -> list[Event]:
        """Return the events in their order; of the steps the first that has a loss, and the last.

        The longest of the others is there by its seconds alone.

        Never raises for what the file holds or lacks.
        """
        try:
            with open_regular(self._path) as file:
                found = os.fstat(file.fileno())
                if found.st_ino != self._inode or found.st_size < self._offset:
                    self._clear()
                    self._inode, self._offset = found.st_ino, 0
                file.seek(max(self._offset, found.st_size - MAX_BYTES))
                torn = b""
                while data := file.read(_PIECE):
                    *whole, torn = (torn + data).split(b"\n")
                    for line in whole:
                        self._take(line)
                    if len(torn) > _PIECE:
                        torn = b""  # no event is so long
                self._offset = file.tell() - len(torn)
        except OSError:
            pass
        return self._kept()

    def _kept(self) -> list[Event]:
        pairs = [*self._steps, *self._others]
        if self._first is not None and self._first not in self._steps:
            pairs.append(self._first)
        if self._longest is not None:
            pairs.append(self._longest)
        return [event for _, event in sorted(pairs, key=lambda pair: pair[0])]

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            return
        self._count += 1
        if event["event"] != "step":
            self._others.append((self._count, event))
            return
        if len(self._steps) == KEPT_STEPS:
            self._forget(self._steps[0])
        self._steps.append((self._count, event))
        if self._first is None and isinstance(event.get("loss"), int | float):
            self._first = (self._count, event)

    def _forget(self, oldest: tuple[int, Event]) -> None:
        """Keep the seconds of a step that is dropped, if it is the longest so far."""
        count, event = oldest
        seconds = event.get("seconds")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            return
        if not 0 < seconds < _MOST_S:  # damage
            return
        if self._longest is None or seconds > self._longest[1]["seconds"]:
            self._longest = (count, {"event": "step", "seconds": seconds})
